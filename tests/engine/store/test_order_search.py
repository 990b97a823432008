"""What is searched for among orders is found: all of it, in the order of the list, page by page."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, text

from bench.api import rows as many
from engine.model import OrderQuery, OrderState, Submitter
from engine.store import order_entries, orders
from engine.store.database import Database
from engine.store.tables import batches
from engine.store.tables import orders as table

SITES = ("st-marys", "st-lukes", "harbour")
COUNT = 400


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[Database, list[dict[str, Any]]]:
    """Orders with few names among them, several at the same moment, some in batches."""
    monkeypatch.setattr(orders, "WINDOW", 20)
    dice = random.Random(8)
    groups = [
        {
            "batch_id": f"b-{number}", "site": SITES[number % 3], "submitter_kind": "client",
            "submitter": "trial", "name": f"week {number}", "created_at": 1000.0 + number * 20,
        }
        for number in range(9)
    ]  # fmt: skip
    made = []
    for number in range(COUNT):
        group = dice.choice(groups) if dice.random() < 0.3 else None
        made.append({
            "order_id": f"o-{number:04d}", "site": group["site"] if group else dice.choice(SITES),
            "submitter_kind": "client", "submitter": dice.choice(("ris", "his")),
            "batch_id": group["batch_id"] if group else None,
            "study_instance_uid": f"1.2.{dice.randrange(4)}.{number}",
            "accession_number": dice.choice(("", "A", "a", "A1", "A12", "A2", "B1", "Ä1", "A_1", "A%")),
            "patient_id": f"P{dice.randrange(30)}",
            "state": dice.choice(("delivered", "delivered", "failed", "held")),
            "overrides": {}, "created_at": 1000.0 + dice.randrange(200), "updated_at": 5000.0 + number,
        })  # fmt: skip

    def write(connection: Any) -> None:
        connection.execute(insert(batches), groups)
        connection.execute(insert(table), made)

    database.write_now(write)
    return database, [{**one, "seq": number} for number, one in enumerate(made, 1)]


def listed(database: Database, **asked: Any) -> list[str]:
    """Every page of an answer, in pieces of seven."""
    query, found = OrderQuery(limit=7, **asked), list[str]()
    while True:
        page, following = database.read_now(lambda c, q=query: orders.page(c, q))  # type: ignore[misc]
        found += [row.order_id for row in page]
        if following is None:
            return found
        query = query.model_copy(update={"after": following})


def expected(made: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> list[str]:
    ordered = sorted(made, key=lambda one: (one["created_at"], one["seq"]), reverse=True)
    return [one["order_id"] for one in ordered if holds(one)]


def begins(beginning: str, sites: tuple[str, ...] | None, states: tuple[OrderState, ...]) -> Any:
    return lambda one: (
        any(one[name].startswith(beginning) for name in NAMES)
        and (sites is None or one["site"] in sites)
        and (not states or one["state"] in states)
    )


def is_called(whole: str) -> Any:
    return lambda one: any(one[name] == whole for name in (*NAMES, "order_id", "batch_id"))


NAMES = ("accession_number", "patient_id", "study_instance_uid")


BEGINNINGS = ("A", "A1", "a", "Ä", "A_", "A%", "P", "P2", "1.2", "1.2.3", "1.2.3.1", "x")
SCOPES = (None, SITES[:1], SITES[:2], ("nowhere",))
STATES = ((), (OrderState.HELD, OrderState.FAILED))


def test_a_beginning_finds_every_order_of_that_beginning(
    filled: tuple[Database, list[dict[str, Any]]],
) -> None:
    database, made = filled
    for beginning, sites, states in product(BEGINNINGS, SCOPES, STATES):
        wanted = expected(made, begins(beginning, sites, states))
        assert listed(database, search=f"{beginning}*", sites=sites, states=states) == wanted


def test_a_whole_name_finds_what_is_called_so_and_nothing_else(
    filled: tuple[Database, list[dict[str, Any]]],
) -> None:
    database, made = filled
    for whole in ("A", "A1", "P2", "1.2.3.7", "o-0007", "b-3", "A*A"):
        assert listed(database, search=whole) == expected(made, is_called(whole))
    assert listed(database, search="") == listed(database, search=" ") == []


def test_a_search_keeps_to_the_other_filters(filled: tuple[Database, list[dict[str, Any]]]) -> None:
    database, made = filled
    his = Submitter(kind="client", name="his")
    assert listed(database, search="A*", submitter=his, since=at(1050), until=at(1100)) == expected(
        made,
        lambda one: (
            one["accession_number"].startswith("A")
            and one["submitter"] == "his"
            and 1050 <= one["created_at"] < 1100
        ),
    )


def test_orders_alone_and_batches_are_one_list(filled: tuple[Database, list[dict[str, Any]]]) -> None:
    database, made = filled
    check_entries(database, made, None)
    check_entries(database, made, SITES[:1])


def check_entries(database: Database, made: list[dict[str, Any]], sites: tuple[str, ...] | None) -> None:
    query, after, found = OrderQuery(limit=7, alone=True, sites=sites), None, list[Any]()
    while True:
        page, after = database.read_now(lambda c, a=after: order_entries.page(c, query, a))  # type: ignore[misc]
        found += page
        if after is None:
            break
    names = [getattr(row, "order_id", row.batch_id) for row in found]
    alone = expected(made, lambda one: one["batch_id"] is None and (sites is None or one["site"] in sites))
    assert [name for name in names if name.startswith("o-")] == alone
    groups = [f"b-{number}" for number in range(9)][::-1]
    assert [name for name in names if name.startswith("b-")] == [
        name for name in groups if sites is None or SITES[int(name[2:]) % 3] in sites
    ]
    assert [row.created_at for row in found] == sorted((row.created_at for row in found), reverse=True)


def test_what_changed_is_told_from_a_time_on(filled: tuple[Database, list[dict[str, Any]]]) -> None:
    database, made = filled
    told = database.read_now(lambda c: orders.changed_since(c, 5390.0, 100))
    assert [row.order_id for row in told] == [one["order_id"] for one in made[390:]]
    assert len(database.read_now(lambda c: orders.changed_since(c, 0.0, 25))) == 25


def test_a_name_is_looked_up_in_its_index(sqlite_database: Database) -> None:
    """A guard of the plan, not of the time: no step of a search walks the whole table."""
    many.fill(sqlite_database, 4000)
    said: list[str] = []

    def explained(connection: Any) -> None:
        real = connection.execute

        def execute(statement: Any, *given: Any) -> Any:
            compiled = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
            said.extend(row[3] for row in real(text("EXPLAIN QUERY PLAN " + compiled.replace(":", r"\:"))))
            return real(statement, *given)

        connection.execute = execute
        for number in (3, 3999):
            for search in (many.accession_number(number), f"{many.study_uid(number)[:-2]}*", "none*"):
                orders.page(connection, OrderQuery(search=search, sites=(many.site(number),)))
                orders.page(connection, OrderQuery(search=search))
            orders.page(connection, OrderQuery(alone=True))
        assert any("ix_orders_accession_number" in step for step in said)
        assert any("ix_orders_alone" in step for step in said)
        assert [step for step in said if step == "SCAN orders"] == []
        said.clear()
        orders.page(
            connection, OrderQuery(alone=True, sites=(many.site(0),))
        )  # which has none but in batches
        assert not any("ix_orders_site" in step for step in said), "each of its rows would be read"

        assert any("ix_orders_alone" in step for step in said)

    sqlite_database.read_now(explained)


def test_the_rows_that_are_measured_are_found_by_their_names(database: Database) -> None:
    many.fill(database, 500)
    for number in (0, 41, 499):
        for name in (many.order_id(number), many.accession_number(number), many.study_uid(number)):
            assert listed(database, search=name) == [many.order_id(number)]
        assert many.order_id(number) in listed(database, search=many.patient_id(number))
