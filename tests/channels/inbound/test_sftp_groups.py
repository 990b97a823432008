"""A folder of studies is one batch with an order each; what became of orders stands in `/status`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.model import NewOrder, OrderState, Submitter
from tests.channels.inbound.sftp_house import Server, serving, until

pytestmark = [pytest.mark.sftp, pytest.mark.peers]

US = Submitter(kind="channel", name="drop")


@pytest.fixture
def serve(house: Any, tmp_path: Path) -> Callable[..., Any]:
    return serving(house, tmp_path)


@pytest.fixture
def group(tmp_path: Path, instance: Callable[..., bytes]) -> Path:
    """Two studies, one as a folder, one as an archive."""
    folder = tmp_path / "trial"
    (folder / "a").mkdir(parents=True)
    for number in (1, 2):
        (folder / "a" / f"{number}.dcm").write_bytes(instance(number, study="1.2.1"))
    with zipfile.ZipFile(folder / "b.zip", "w") as packed:
        packed.writestr("1.dcm", instance(1, study="1.2.2"))
        packed.writestr("study.json", json.dumps({"accession_number": "A-2"}))
    return folder


def rows(house: Any, query: str) -> list[tuple[Any, ...]]:
    with house.database.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def statuses(server: Server) -> list[dict[str, Any]]:
    """What a client reads of every order, by its upload."""
    found = [json.loads(file.read_text()) for file in (server.root() / "status").glob("*.json")]
    return sorted(found, key=lambda one: str(one["upload"]))


def move(one: Path, other: Path) -> None:
    one.rename(other)


async def put(server: Server, folder: Path) -> None:
    name = folder.name
    done = await server.sftp(f"put -r {folder} input/{name}.part", f"rename input/{name}.part input/{name}")
    assert done.returncode == 0, done.stderr


async def test_a_folder_of_studies_is_a_batch_with_an_order_each(
    serve: Callable[..., Any], house: Any, group: Path
) -> None:
    async with serve() as server:
        await put(server, group)
        await until(lambda: server.listed() == ["trial"], "the group is filed")
        [(name, site, by)] = rows(house, "select name, site, submitter from batches")
        orders = rows(house, "select study_instance_uid, accession_number from orders order by 1")
        assert (name, site, by) == ("trial", "st-marys", "drop")
        assert orders == [("1.2.1", ""), ("1.2.2", "A-2")]
        assert rows(house, "select count(*) from orders where batch_id is null") == [(0,)]
        await until(lambda: len(statuses(server)) == 2, "each order has its status")
        assert [one["upload"] for one in statuses(server)] == ["trial/a", "trial/b.zip"]
    assert len(house.stored) == 3


async def test_what_is_refused_of_a_group_is_filed_apart_and_its_order_says_why(
    serve: Callable[..., Any], house: Any, group: Path
) -> None:
    (group / "c").mkdir()
    (group / "c" / "letter.pdf").write_bytes(b"%PDF-1.7 no study at all" * 20)
    async with serve() as server:
        await put(server, group)
        await until(lambda: server.listed() == ["trial"], "what was taken is filed")
        failed = server.root() / "input" / ".failed"
        assert sorted(one.name for one in (failed / "trial").iterdir()) == ["c"]
        assert (failed / "trial.txt").read_text().startswith("c: ")
        assert sorted(one.name for one in (server.root() / "input/.done/trial").iterdir()) == ["a", "b.zip"]
        await until(lambda: len(statuses(server)) == 3, "each order has its status")
        [told] = [one for one in statuses(server) if one["state"] == "failed"]
        assert "neither DICOM" in told["failure"]
    assert len(house.stored) == 3


async def test_a_group_that_is_landed_again_is_the_same_batch(
    serve: Callable[..., Any], house: Any, group: Path
) -> None:
    for _ in range(2):  # as a kill leaves it: moved out of reach, and not filed
        async with serve(quiet="1h") as server:
            claimed = server.root().parent / "taking" / "before"
        claimed.mkdir()
        move(group, claimed / "trial")
        async with serve() as server:
            await until(lambda: server.listed() == ["trial"], "the group is filed")
            move(server.root() / "input" / ".done" / "trial", group)
    assert rows(house, "select count(*) from batches") == [(1,)]
    assert rows(house, "select count(*) from orders") == [(2,)]


async def test_folders_of_one_study_are_no_group(
    serve: Callable[..., Any], house: Any, tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    for number in (1, 2):
        (tmp_path / "study" / f"series{number}").mkdir(parents=True)
        (tmp_path / "study" / f"series{number}" / "1.dcm").write_bytes(instance(number))
    async with serve() as server:
        await put(server, tmp_path / "study")
        await until(lambda: server.listed() == ["study"], "the study is filed")
    assert rows(house, "select count(*) from batches") == [(0,)]
    assert rows(house, "select count(*) from orders") == [(1,)]


async def test_studies_that_lie_loose_in_a_folder_are_refused(
    serve: Callable[..., Any], house: Any, group: Path, instance: Callable[..., bytes]
) -> None:
    (group / "loose.dcm").write_bytes(instance(1, study="1.2.9"))
    (group / "b.zip").unlink()
    async with serve() as server:
        await put(server, group)
        await until(lambda: server.listed(".failed") == ["trial", "trial.txt"], "it is refused")
        assert "studies" in (server.root() / "input/.failed/trial.txt").read_text()
    assert house.stored == []
    assert rows(house, "select count(*) from batches") == [(0,)]


async def test_a_status_follows_its_order_and_names_the_upload(
    serve: Callable[..., Any], house: Any, group: Path
) -> None:
    async with serve() as server:
        done = await server.sftp(f"put {group}/b.zip input/b.zip")
        assert done.returncode == 0, done.stderr
        await until(lambda: [one["upload"] for one in statuses(server)] == ["b.zip"], "it has a status")
        [told] = statuses(server)
        assert told["accession_number"] == "A-2"
        assert told["state"] != "cancelled"
        await house.intake.orders.cancel(told["order_id"], actor=US)
        await until(lambda: statuses(server)[0]["state"] == "cancelled", "it is told")
        assert statuses(server)[0]["upload"] == "b.zip"
        got = await server.sftp(f"get status/{told['order_id']}.json {group}/status.json")
        assert (got.returncode, json.loads((group / "status.json").read_text())["state"]) == (0, "cancelled")
    async with serve(status="none") as server:  # what changes while nobody follows
        again = await house.intake.orders.create(_new())
    async with serve() as server:
        await until(lambda: again.order_id in [one["order_id"] for one in statuses(server)], "it caught up")


async def test_orders_of_others_are_told_only_where_the_table_says_so(
    serve: Callable[..., Any], house: Any
) -> None:
    theirs = _new().model_copy(update={"submitter": Submitter(kind="client", name="ris")})
    other = (await house.intake.orders.create(theirs)).order_id
    ours = (await house.intake.orders.create(_new())).order_id
    async with serve() as server:
        await until(lambda: [one["order_id"] for one in statuses(server)] == [ours], "ours is told")
    (server.data / "sftp" / "drop" / "followed").unlink()
    async with serve(status="site") as server:
        await until(lambda: {one["order_id"] for one in statuses(server)} == {ours, other}, "both are told")


def _new() -> NewOrder:
    return NewOrder(site="st-marys", submitter=US, inbound="drop", metadata={"AccessionNumber": "A-3"})


async def test_the_report_of_a_group_is_there_once_all_its_orders_are_through(
    serve: Callable[..., Any], house: Any, group: Path
) -> None:
    groups = "output/groups"
    async with serve() as server:
        await put(server, group)
        await until(lambda: len(statuses(server)) == 2, "each order has its status")
        assert not (server.root() / groups).exists()
        for one in statuses(server):
            await house.intake.orders.cancel(one["order_id"], actor=US)
        await until(lambda: len(_reports(server)) == 2, "it is reported")
        assert [one.suffix for one in _reports(server)] == [".csv", ".pdf"]
        assert _reports(server)[0].name.startswith("trial-")
        text = _reports(server)[0].read_text()
        assert text.count(OrderState.CANCELLED.value) >= 2
        assert _reports(server)[1].read_bytes().startswith(b"%PDF")


def _reports(server: Server) -> list[Path]:
    return sorted((server.root() / "output" / "groups").glob("*"))
