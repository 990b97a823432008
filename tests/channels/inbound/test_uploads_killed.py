"""Who is killed at any step of an upload goes on where it was; what was told to be here is here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from channels.inbound.uploads.announced import Announced
from channels.inbound.uploads.upload import UploadState
from tests.channels.inbound.uploads_house import Desk, parts_of, rows, stream, study, zipped

PATIENCE = 60.0
STEPS = ("fsync", "rename", "unlink", "mkdir")


class Killed(BaseException):
    """The process is gone: from now on nothing reaches the disk."""


@dataclass
class Steps:
    """The changes that were made before the process ended, if it has."""

    made: list[str] = field(default_factory=list)
    dead: bool = False


@contextmanager
def killed_at(step: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """The process ends before its n-th change below a folder is made."""
    steps = Steps()

    def counted(name: str, original: Callable[..., Any], is_ours: Callable[..., bool]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not is_ours(arguments[0]):
                return original(*arguments, **named)
            if len(steps.made) >= step:
                steps.dead = True
                raise Killed
            steps.made.append(name)
            return original(*arguments, **named)

        return call

    def by_descriptor(descriptor: int) -> bool:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(str(root))

    def by_path(path: Path) -> bool:
        return str(path).startswith(str(root))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", counted("fsync", os.fsync, by_descriptor))
        for name in ("rename", "unlink", "mkdir"):
            patched.setattr(Path, name, counted(name, getattr(Path, name), by_path))
        yield steps


async def _upload(desk: Desk, order_id: str, content: bytes, acknowledged: set[int], steps: Steps) -> None:
    """As a client does it: ask what is here, send what is missing, complete."""
    uploads = desk.uploads()
    async with uploads.working():
        upload, _ = await uploads.begin(order_id, "multipart", sites=None)
        here = {one.number for one in (await uploads.show(upload.upload_id, sites=None)).parts}
        assert acknowledged <= here
        for number, part in parts_of(content, 3).items():
            if number not in here:
                await uploads.receive_part(
                    upload.upload_id, number, stream(part), Announced(len(part)), sites=None
                )
                acknowledged.add(number)
        await uploads.complete(upload.upload_id, sites=None)
        async with asyncio.timeout(PATIENCE):
            while (await uploads.settled(upload.upload_id, 0.1)).state is UploadState.TAKING:
                if steps.dead:
                    raise Killed
        assert (await uploads.show(upload.upload_id, sites=None)).upload.state is UploadState.TAKEN


async def test_who_is_killed_at_any_step_goes_on(
    house: Any, instance: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(house)
    for step in range(200):
        order = await desk.order()
        content = zipped(study(instance, 3, study=f"1.2.3.{step + 1}"))
        acknowledged: set[int] = set()
        with killed_at(step, desk.root, monkeypatch) as steps:
            try:
                await _upload(desk, order.order_id, content, acknowledged, steps)
            except Killed:
                assert steps.dead
        if steps.dead:
            await _go_on(desk, order.order_id, content, acknowledged)
        done = await desk.order_now(order.order_id)
        assert done.study_instance_uid == f"1.2.3.{step + 1}", step
        assert desk.bytes_kept() == 0, step
        if not steps.dead:
            break
    else:
        pytest.fail("no end of steps")
    assert set(STEPS) <= set(steps.made)
    assert step > 20
    assert len(house.stored) == 3 * (step + 1)
    assert list(rows(house, "select count(*) from studies")) == [(step + 1,)]
    assert list(rows(house, "select count(*) from orders")) == [(step + 1,)]
    assert house.open_sessions == 0


async def _go_on(desk: Desk, order_id: str, content: bytes, acknowledged: set[int]) -> None:
    """After the next start: what was complete is taken by itself, what was not is gone on with."""
    uploads = desk.uploads()
    async with uploads.working():
        await uploads._tender.tidy()
        latest = [one for one in uploads._shelf.ids() if one.startswith(order_id)][-1:]
        if latest:
            upload = (await uploads.show(latest[0], sites=None)).upload
            if upload.state is not UploadState.OPEN:
                assert (await uploads.settled(latest[0], PATIENCE)).state == UploadState.TAKEN
                return
    await _upload(desk, order_id, content, acknowledged, Steps())
