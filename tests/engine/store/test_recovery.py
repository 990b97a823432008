"""After a power cut: all that was acknowledged is there, whatever the file system had not written."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from engine.intake import DurableIntake
from engine.model import Arrival
from engine.spool import Spool
from engine.store.database import Database
from engine.store.reconcile import reconcile
from engine.store.recovery import recover
from engine.store.tables import instances as instance_rows

LOSSES: dict[str, Callable[[Path, random.Random], object]] = {
    "nothing": lambda _file, _chance: None,
    "the name": lambda file, _chance: file.unlink(),
    "the bytes": lambda file, _chance: os.truncate(file, 0),
    "the end": lambda file, chance: os.truncate(file, chance.randrange(file.stat().st_size)),
    "all but the length": lambda file, _chance: file.write_bytes(bytes(file.stat().st_size)),
}


def recorded(database: Database) -> list[str]:
    """The paths of all instances on record."""
    return list(database.read_now(lambda c: c.execute(select(instance_rows.c.path)).scalars().all()))


@pytest.fixture
def after_a_cut(spool: Spool) -> Iterator[Callable[[], Spool]]:
    """A function that ends the process without a word, and gives the spool of the next one."""
    made: list[Spool] = []

    def cut() -> Spool:
        os.close(spool._landing_lock)  # what the kernel does for a process that is gone
        spool._landing_lock = -1
        made.append(Spool(spool.instances.parent, max_instance=10_000_000, min_free=0))
        return made[-1]

    yield cut
    for one in made:
        one.close()


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_file_system_lost_is_put_back(
    seed: int,
    intake: DurableIntake,
    database: Database,
    instance: Callable[..., bytes],
    arrive: Callable[..., Arrival],
    after_a_cut: Callable[[], Spool],
    spool: Spool,
) -> None:
    chance = random.Random(seed)
    contents = [instance(number, study=str(number % 3)) for number in range(20)]
    await asyncio.gather(*(intake.accept(arrive(content)) for content in contents))
    before = {path: spool.path(path).read_bytes() for path in recorded(database)}
    assert sorted(before.values()) == sorted(contents)
    lost = 0
    for path in before:
        loss = chance.choice(list(LOSSES))
        LOSSES[loss](spool.path(path), chance)
        lost += loss != "nothing"
    if chance.random() < 0.5:
        shutil.rmtree(spool.path(next(iter(before))).parent)
    following = after_a_cut()
    assert recover(database, following) >= lost
    assert {path: following.path(path).read_bytes() for path in before} == before
    assert reconcile(database, following) == 0
    assert following.collect_leftovers() == 0
    assert recover(database, following) == 0, "the log is gone"


async def test_what_has_no_row_stays_away(
    intake: DurableIntake,
    database: Database,
    instance: Callable[..., bytes],
    arrive: Callable[..., Arrival],
    after_a_cut: Callable[[], Spool],
    spool: Spool,
) -> None:
    await intake.accept(arrive(instance()))
    (path,) = recorded(database)
    database.write_now(lambda c: c.execute(delete(instance_rows)))  # retention was here
    spool.path(path).unlink()
    following = after_a_cut()
    assert recover(database, following) == 0
    assert not following.path(path).exists()


async def test_the_log_of_a_living_process_is_left_alone(
    intake: DurableIntake,
    database: Database,
    instance: Callable[..., bytes],
    arrive: Callable[..., Arrival],
    spool: Spool,
) -> None:
    await intake.accept(arrive(instance()))
    other = Spool(spool.instances.parent, max_instance=10_000_000, min_free=0)
    (path,) = recorded(database)
    spool.path(path).unlink()
    assert recover(database, other) == 0
    assert len(list((spool.instances.parent / "log").iterdir())) == 1
    other.close()
