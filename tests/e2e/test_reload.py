"""SIGHUP, an applied table and a restart: which table runs, and what becomes of one that cannot."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select

from engine.document import read
from engine.store import table_versions
from engine.store.database import PostgresDatabase
from engine.store.tables import decisions, engines, table_changes
from tests.e2e.changing import activate, instance, is_let_in, rows, taken
from tests.e2e.engine import Engine
from tests.e2e.stow import post
from tests.peers.postgres import Cluster
from tests.peers.process import wait_until

pytestmark = pytest.mark.faults


def table(dicom_port: int, *, route: str = "first", title: str = "GUEST", **more: Any) -> dict[str, Any]:
    """A site that may call by one AE title, and one route that holds everything."""
    site = {"name": "St. Mary's", "addresses": ["127.0.0.1"], "ae_titles": [title]}
    return {
        "assembly": {"stable_after": "200ms"},
        "sites": {"st-marys": site},
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": route, "match": {"series": {"Modality": "MR"}}, "hold": "a person decides"}],
        **more,
    }


def runs(engine: Engine) -> str:
    """The version that the engine says it runs."""
    [found] = [name for name in engine.metrics() if name.startswith("pons_table_info")]
    return found.partition('"')[2].rstrip('"}')


def refusals(engine: Engine) -> list[str]:
    """Why tables were refused, as logged."""
    lines = [json.loads(line) for line in engine.log_lines()]
    return [line["reason"] for line in lines if line["event"].startswith("table refused")]


def after(engine: Engine, seen: int, count: int) -> list[str]:
    """The refusals after those that were seen, once there are so many."""
    new = refusals(engine)[seen:]
    return new if len(new) >= count else []


def test_a_table_with_something_wrong_is_refused_as_a_whole_and_every_finding_is_logged(
    engine_process: Callable[..., Engine], free_port: Callable[[], int]
) -> None:
    engine = engine_process(table)
    first = runs(engine)
    port = engine.dicom_port
    test = {"name": "t", "given": {"site": "st-marys"}, "expect": {"routes": ["first"]}}
    with socket.socket() as taken_port:
        taken_port.bind(("127.0.0.1", free_port()))
        taken_port.listen()
        extra = {"type": "c_store", "listen": f"127.0.0.1:{taken_port.getsockname()[1]}"}
        inbound = table(port)["inbound"]
        wrong: list[tuple[dict[str, Any], list[str]]] = [
            (table(port, route="a", rutes=[], title="BAD\\TITLE"), ["backslash", "'rutes'"]),
            (table(port, route="b", tests=[test]), ["no route 'first'"]),
            (table(port, title="X", tests=[test]), ["'t' fails"]),
            (table(port, route="c", title="X", inbound={**inbound, "extra": extra}), ["cannot be bound"]),
        ]
        for number, (content, reasons) in enumerate(wrong, 1):
            before = refusals(engine)
            engine.write_table(content)
            engine.signal_hup()
            refused = partial(after, engine, len(before), len(reasons))
            new = wait_until(refused, f"table {number} to be refused")
            assert isinstance(new, list)
            assert len(new) == len(reasons), new
            assert [word for word in reasons if not any(word in line for line in new)] == [], new
            assert (runs(engine), engine.healthy()) == (first, True)
            assert engine.metrics()["pons_table_refused"] == 1
            assert is_let_in("GUEST", port)
            [row] = rows(engine, select(engines))
            assert (row.table_version, row.trouble) == (first, "\n".join(new))
    engine.write_table(table(port, title="NEXT"))
    engine.signal_hup()
    wait_until(lambda: taken(engine), "the next table to be taken")
    assert is_let_in("NEXT", port)
    assert not is_let_in("GUEST", port)
    assert (runs(engine), engine.metrics()["pons_table_refused"]) == (read(engine.table).version, 0)
    assert [one.action for one in rows(engine, select(table_changes))] == ["started", "reloaded"]


def test_what_a_running_engine_cannot_change_is_named_and_taken_at_the_next_start(
    engine_process: Callable[..., Engine], free_port: Callable[[], int]
) -> None:
    engine = engine_process(table)
    first = runs(engine)
    engine._settings["http"] = f"127.0.0.1:{free_port()}"
    engine.write_table(table(engine.dicom_port))
    engine.signal_hup()
    wait_until(lambda: refusals(engine), "the table to be refused")
    assert [one.partition(" to ")[0] for one in refusals(engine)] == [
        "engine.http: needs a restart of the engine"
    ]
    assert runs(engine) == first
    engine.stop()
    engine.http_port = int(str(engine._settings["http"]).rpartition(":")[2])
    engine.url = f"http://127.0.0.1:{engine.http_port}"
    engine.start()
    assert runs(engine) == read(engine.table).version


def test_a_table_that_was_applied_survives_kill_9_and_the_file_comes_back_when_it_is_edited(
    engine_process: Callable[..., Engine],
) -> None:
    engine = engine_process(table)
    applied = activate(engine, table(engine.dicom_port, title="APPLIED"))
    engine.kill9()  # whether it has taken the table or not
    engine.start()
    assert runs(engine) == applied
    assert is_let_in("APPLIED", engine.dicom_port)
    words = [line for line in engine.log_lines() if "the table was not edited" in line]
    assert len(words) == 1
    assert applied in words[0]
    kept = engine.data / "tables" / applied.rpartition(":")[2] / "routes.yaml"
    assert kept.stat().st_mode & 0o777 == 0o600
    engine.write_table(table(engine.dicom_port, title="EDITED"))
    engine.restart()
    assert runs(engine) == read(engine.table).version
    assert is_let_in("EDITED", engine.dicom_port)


def test_a_study_is_decided_by_the_table_of_its_moment_whatever_was_taken_since(
    engine_process: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = engine_process(table)
    for number in range(3):
        if number:
            engine.write_table(table(engine.dicom_port, route=f"route {number}"))
            engine.signal_hup()
            wait_until(lambda number=number: taken(engine) == number, "the table to be taken")  # type: ignore[misc]
        file = tmp_path / f"{number}.dcm"
        instance(f"1.2.3.{number}").save_as(file, enforce_file_format=True)
        assert len(post(engine.url, [file])) == 1
        wait_until(
            lambda number=number: len(rows(engine, select(decisions))) == number + 1,  # type: ignore[misc]
            "it to be decided",
        )
    hits = [
        next(one["route"] for one in row.decision["outcomes"] if one["hit"])
        for row in rows(engine, select(decisions))
    ]
    assert hits == ["first", "route 1", "route 2"]


class Node(Engine):
    """One of several engines that run the same table: each has a port of the system's choice."""

    def answers(self, path: str) -> int:
        """The status of a GET at the port that its log names."""
        ports = [json.loads(line)["port"] for line in self.log_lines() if '"engine running"' in line]
        if not ports:
            return 0
        self.url = f"http://127.0.0.1:{ports[-1]}"
        return super().answers(path)


@pytest.fixture
def nodes(postgres: Cluster, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """Two engines with the same table on one PostgreSQL and one folder of instances."""
    address = postgres.database()
    settings = {"data": str(tmp_path / "data"), "database": address, "http": "127.0.0.1:0"}
    one, other = (Node(tmp_path / name, 0, 0, table(0), engine=settings) for name in ("one", "other"))
    try:
        one.start()
        other.start()
        yield one, other
    finally:
        for node in (one, other):
            node.stop()
    for node in (one, other):
        node.check_log()
    database = PostgresDatabase(make_url(address))
    assert database.read_now(lambda c: table_versions.engines_alive(c, 0.0)) == []
    database.close()
    postgres.drop(address)


def test_two_engines_on_one_database_take_the_table_that_one_of_them_was_told_of(
    nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    one, other = nodes
    assert runs(one) == runs(other)
    one.write_table(table(0, route="next"))
    one.signal_hup()
    version = read(one.table).version
    for node in nodes:
        wait_until(lambda node=node: runs(node) == version, "each to run it")  # type: ignore[misc]
    file = tmp_path / "a.dcm"
    instance("1.2.3").save_as(file, enforce_file_format=True)
    assert len(post(other.url, [file])) == 1
    told = wait_until(
        lambda: [one for one in other.trace("1.2.3") if one["what"] == "decided"], "it to be decided"
    )
    assert version in str(told)
    other.restart()  # its file was not edited; what was told to the first has moved on
    assert runs(other) == version
