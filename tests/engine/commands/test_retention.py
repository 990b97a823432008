"""`pons retention`: what would go, and of each study that stays, why."""

from __future__ import annotations

import json

from sqlalchemy import update

from engine.store.database import SqliteDatabase
from engine.store.tables import deliveries, holds, studies
from tests.engine.commands.desk_house import TABLE, House


def policy(house: House, retention: str) -> None:
    (house.folder / "routes.yaml").write_text(TABLE + f"retention: {retention}\n")


def settle(house: House, *, dead: bool) -> None:
    """Answer the hold, and discard the dead letters unless they stay."""
    database = SqliteDatabase(house.folder / "data" / "pons.sqlite")
    database.write_now(lambda c: c.execute(update(holds).values(released_at=1_700_000_100.0)))
    if not dead:
        database.write_now(
            lambda c: c.execute(
                update(deliveries).where(deliveries.c.state == "dead").values(state="discarded")
            )
        )
    database.close()


def rows(house: House, *options: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(house.run("retention", "--json", *options))
    return found


def test_each_study_that_stays_says_why_and_what_is_finished_and_old_goes(house: House) -> None:
    assert rows(house)[0]["stays because"] == "a hold waits for a person"
    settle(house, dead=True)
    assert rows(house)[0]["stays because"] == "a dead letter is to be replayed or discarded first"
    settle(house, dead=False)
    assert rows(house)[0]["stays because"] == "the table has no retention.keep"
    policy(house, "{keep: 30d}")
    [row] = rows(house, "--going")
    assert (row["study"], row["goes"], row["stays because"]) == ("1.2.3", True, "")
    policy(house, "{keep: 36500d}")
    assert "days to go" in str(rows(house)[0]["stays because"])
    assert house.run("retention", "--going") == "nothing would be removed\n"


def test_looking_removes_nothing(house: House) -> None:
    settle(house, dead=False)
    policy(house, "{keep: 1s, history: 1s}")
    house.run("retention")
    database = SqliteDatabase(house.folder / "data" / "pons.sqlite")
    assert database.read_now(lambda c: c.execute(studies.select()).one()).purged_at is None
    database.close()
