"""Each instance is posted once and told of as the server's answer says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channels.inbound.stow_rs import StowRsSettings
from channels.outbound.stow_forward import Settings as ForwardSettings
from channels.senders.stow_rs import SENDER
from engine.channel import Candidate, Outcome, Told
from tests.contract import instances
from tests.contract.scp import bare_server


class Heard:
    """Keeps what a sender tells."""

    def __init__(self) -> None:
        self.each: list[Told] = []
        self.bytes = 0

    def moved(self, count: int) -> None:
        self.bytes += count

    def told(self, told: Told) -> None:
        self.each.append(told)


def sender(port: int, **settings: Any) -> Any:
    return SENDER.build(
        SENDER.settings.model_validate({"url": f"http://127.0.0.1:{port}/dicomweb", **settings})
    )


@pytest.fixture
def candidates(tmp_path: Path) -> list[Candidate]:
    """Three files, looked at."""
    for number in (1, 2, 3):
        (tmp_path / str(number)).write_bytes(instances.file(f"1.2.3.4.{number}"))
    return [sender(1).look(path.name, path) for path in sorted(tmp_path.iterdir())]


def answering(status: int, document: dict[str, Any] | None) -> Callable[..., Any]:
    """A server with one answer."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length.partition(b":")[2]))
        body = json.dumps(document).encode() if document is not None else b""
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/dicom+json\r\n" % status
            + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            + body
        )
        await writer.drain()

    return converse


def item(uid: str, tag: str, reason: int) -> dict[str, Any]:
    return {
        "00081155": {"vr": "UI", "Value": [uid]},
        **({tag: {"vr": "US", "Value": [reason]}} if reason else {}),
    }


async def test_the_answer_is_told_instance_by_instance(candidates: list[Candidate]) -> None:
    document = {
        "00081199": {
            "vr": "SQ",
            "Value": [item("1.2.3.4.1", "00081196", 0), item("1.2.3.4.2", "00081196", 0xB007)],
        },
        "00081198": {"vr": "SQ", "Value": [item("1.2.3.4.3", "00081197", 0xC000)]},
    }
    heard = Heard()
    async with bare_server(answering(202, document)) as port:
        await sender(port).send(candidates, heard)

    assert [(one.candidate.name, one.outcome, one.code) for one in heard.each] == [
        ("1", Outcome.SENT, "202"),
        ("2", Outcome.WARNING, "B007"),
        ("3", Outcome.FAILED, "C000"),
    ]
    assert heard.each[2].reason == "C000 (cannot understand)"
    assert heard.bytes == sum(one.size for one in candidates)


@pytest.mark.parametrize(("status", "code"), [(400, "400"), (401, "401"), (503, "503"), (202, "202")])
async def test_an_answer_for_the_request_as_a_whole_is_told_of_all_it_carried(
    candidates: list[Candidate], status: int, code: str
) -> None:
    heard = Heard()
    async with bare_server(answering(status, None)) as port:
        await sender(port).send(candidates, heard)

    assert [(one.outcome, one.code) for one in heard.each] == [(Outcome.FAILED, code)] * 3


async def test_a_server_that_is_not_there_is_left_alone_after_three_requests(
    candidates: list[Candidate], free_port: Callable[[], int]
) -> None:
    heard = Heard()
    sending = sender(free_port())
    many = [sending.look(str(number), candidates[0].content) for number in range(450)]

    await sending.send(many, heard)

    reasons = [one.reason for one in heard.each]
    assert len(reasons) == 450
    assert sum(reason.startswith("not offered: 3 requests in a row") for reason in reasons) == 150


async def test_a_token_that_cannot_be_read_is_told_and_nothing_is_asked(
    candidates: list[Candidate], tmp_path: Path
) -> None:
    heard = Heard()
    auth = {"type": "bearer", "token": {"file": str(tmp_path / "nowhere")}}

    await sender(1, auth=auth).send(candidates, heard)

    assert {one.code for one in heard.each} == {"secret"}


def test_a_target_or_a_channel_of_the_table_is_a_server() -> None:
    forward = ForwardSettings.model_validate({"site": "a", "url": "https://pacs.example/dicomweb"})

    assert SENDER.of_target("https://pacs.example/dicomweb") == {"url": "https://pacs.example/dicomweb"}
    assert SENDER.of_target("PACS@10.0.0.1:104") is None
    assert SENDER.settings.model_validate(SENDER.of_channel(forward, "")).url == forward.url
    assert SENDER.of_channel(StowRsSettings(), "0.0.0.0:8080") == {"url": "http://127.0.0.1:8080/dicomweb"}
    assert SENDER.of_channel(object(), "") is None
