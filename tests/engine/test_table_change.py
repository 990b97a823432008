"""Another version of the table is made the running one, and the engines take it or say why not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.audit import verify
from engine.errors import PonsError
from engine.proposal import time_of
from engine.store import table_versions, trail
from engine.store.database import Database
from engine.store.table_versions import active, beat
from engine.table_change import (
    APPLIED,
    ROLLED_BACK,
    Applied,
    Order,
    Overtaken,
    carry_out,
    takers,
    the_version,
    version_before,
)
from tests.engine.proposal_house import House

TROUBLE = "127.0.0.1:104 cannot be bound: address already in use"


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.start()
    return made


def other_port(table: dict[str, Any]) -> None:
    table["outbound"]["ris"]["port"] = 2576


def order(**values: Any) -> Order:
    return Order(**{"actor": "ann", "action": APPLIED, "message": "the new port", **values})


@contextmanager
def engine(house: House, node: str, *, trouble: str = "") -> Iterator[None]:
    """An engine that takes, or refuses, whatever becomes active while it lives."""
    running = house.database.read_now(active)
    assert running is not None
    ended = threading.Event()

    def say(*told: str) -> None:
        now = time_of(house.database)
        house.database.write_now(lambda c: beat(c, node, 1.0, now, *told))

    def live() -> None:
        runs = running.version
        while not ended.wait(0.02):
            latest = house.database.read_now(active)
            assert latest is not None
            refused = trouble and latest.version != running.version
            runs = runs if refused else latest.version
            told = (latest.version, trouble) if refused else ("", "")
            say(runs, *told)

    say(running.version)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def nodes(applied: Applied) -> tuple[list[str], list[str], list[str]]:
    found = applied.takers
    taken, refused, pending = (
        [row.node for row in rows] for rows in (found.taken, found.refused, found.pending)
    )
    return taken, refused, pending


def test_a_change_is_on_record_with_who_when_and_why(house: House) -> None:
    proposal = house.propose(other_port)
    done = carry_out(house.database, proposal, order())
    assert done.is_well
    assert nodes(done) == ([], [], []), "no engine lives"
    running = house.database.read_now(active)
    assert running is not None
    assert proposal.table is not None
    assert running.version == proposal.table.version
    assert (running.change_id, running.actor, running.action, running.message, running.forced) == (
        done.change, "ann", "applied", "the new port", False,
    )  # fmt: skip
    main, files = house.database.read_now(lambda c: table_versions.files_of(c, running.version))
    assert files[main] == (house.folder / "new.yaml").read_text()
    (event,) = house.database.read_now(
        lambda c: trail.list_events(
            c, action="table applied", actor=None, subject=None, since=None, until=None, limit=9
        )
    )
    assert (event.actor, event.detail["message"]) == ("ann", "the new port")
    assert house.database.read_now(verify) is None


def test_force_is_on_record_only_where_it_was_needed(house: House) -> None:
    carry_out(house.database, house.propose(other_port), order(force=True))
    house.study(1)
    house.delivery(1, "archive", "d-1")

    def without_archive(table: dict[str, Any]) -> None:
        del table["outbound"]["archive"]
        table["routes"][0]["deliver"] = ["ris"]

    carry_out(house.database, house.propose(without_archive), order(force=True))
    told = house.database.read_now(lambda c: table_versions.history(c, 9))
    assert [change.forced for change in told] == [True, False, False]


def test_of_two_people_the_slower_is_told(house: House) -> None:
    mine, theirs = (
        house.propose(other_port),
        house.propose(lambda t: t["routes"].pop(1) and t["tests"].clear()),
    )
    carry_out(house.database, theirs, order(actor="bob"))
    with pytest.raises(Overtaken, match=r"bob made sha256:.* the running table at .* plan again"):
        carry_out(house.database, mine, order())
    running = house.database.read_now(active)
    assert running is not None
    assert running.actor == "bob"
    again = house.propose(other_port)
    assert carry_out(house.database, again, order()).is_well


def test_every_engine_that_lives_is_waited_for(house: House) -> None:
    house.database.write_now(lambda c: beat(c, "gone", 1.0, time_of(house.database) - 60, "sha256:0"))
    with engine(house, "n1"), engine(house, "n2"):
        done = carry_out(house.database, house.propose(other_port), order())
    assert nodes(done) == (["n1", "n2"], [], [])
    assert done.is_well


def test_an_engine_that_refuses_says_why(house: House) -> None:
    with engine(house, "n1"), engine(house, "n2", trouble=TROUBLE):
        done = carry_out(house.database, house.propose(other_port), order())
    assert nodes(done) == (["n1"], ["n2"], [])
    assert (done.is_well, done.back) == (False, "")
    assert done.takers.refused[0].trouble == TROUBLE
    running = house.database.read_now(active)
    assert running is not None
    assert running.change_id == done.change, "nothing is taken back unless it was asked for"


def test_where_it_was_asked_for_a_refusal_goes_back_by_itself(house: House) -> None:
    first = house.propose().running
    assert first is not None
    with engine(house, "n1", trouble=TROUBLE):
        done = carry_out(house.database, house.propose(other_port), order(auto_rollback=True))
    assert (done.is_well, done.back) == (False, first.version)
    running = house.database.read_now(active)
    assert running is not None
    assert (running.version, running.action) == (first.version, "rolled back")
    assert running.message.startswith("not every engine took sha256:")


def test_one_that_says_nothing_is_told_apart_when_the_time_is_over(house: House) -> None:
    house.database.write_now(lambda c: beat(c, "busy", 1.0, time_of(house.database), "sha256:0"))
    done = carry_out(house.database, house.propose(other_port), order(within=0.01))
    assert nodes(done) == ([], [], ["busy"])
    assert not done.is_well
    assert carry_out(house.database, house.propose(), order(within=0.0)).is_well, "nobody is waited for"


def test_the_running_table_is_not_applied_again(house: House) -> None:
    done = carry_out(house.database, house.propose(), order())
    assert (done.change, done.is_well) == (None, True)
    assert len(house.database.read_now(lambda c: table_versions.history(c, 9))) == 1


def test_going_back_leads_to_what_ran_before_or_to_what_is_named(house: House) -> None:
    first = house.propose().running
    assert first is not None
    second = house.start(other_port, action="applied")
    third = house.start(lambda t: t["outbound"]["ris"].update(port=2577), action="applied")
    database = house.database
    assert database.read_now(lambda c: version_before(c, None)) == second
    assert database.read_now(lambda c: version_before(c, first.version)) == first.version
    assert database.read_now(lambda c: the_version(c, third.removeprefix("sha256:")[:8])) == third
    with pytest.raises(PonsError, match="no version begins with zz; `pons history` lists them"):
        database.read_now(lambda c: version_before(c, "zz"))
    with pytest.raises(PonsError, match="3 versions begin with sha256:"):
        database.read_now(lambda c: version_before(c, "sha256:"))


def test_there_must_be_something_to_go_back_to(house: House, tmp_path: Path) -> None:
    with pytest.raises(PonsError, match="no other table has run here"):
        house.database.read_now(lambda c: version_before(c, None))
    house.database.write_now(lambda c: c.exec_driver_sql("DELETE FROM table_changes"))
    with pytest.raises(PonsError, match="no table has run here yet"):
        house.database.read_now(lambda c: version_before(c, None))


def test_a_rollback_is_an_order_like_any_other(house: House) -> None:
    house.start(other_port, action="applied")
    done = carry_out(house.database, house.propose(), order(action=ROLLED_BACK, message=""))
    running = house.database.read_now(active)
    assert running is not None
    assert (running.action, running.change_id) == ("rolled back", done.change)


def test_nobody_to_wait_for_is_well() -> None:
    assert takers([], "sha256:0").all_took_it
