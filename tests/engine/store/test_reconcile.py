"""After a crash: what was recorded stays, what was not goes."""

from __future__ import annotations

from collections.abc import Callable

from engine.intake import DurableIntake
from engine.spool import Spool
from engine.store.database import Database
from engine.store.reconcile import reconcile


async def test_files_without_a_record_go_and_recorded_ones_stay(
    intake: DurableIntake, database: Database, spool: Spool, instance: Callable[..., bytes], arrive: Callable
) -> None:
    for number in (1, 2):
        await intake.accept(arrive(instance(number)))
    recorded = set(spool.instances.rglob("*.dcm"))
    for study in ("1.2.3", next(iter(recorded)).parent.name):  # a folder of its own, and beside a record
        landing = spool.land()
        landing.write(instance(3))
        spool.keep(landing, "st-marys", study, "1.2.3.4")  # and the process dies before the record
    assert reconcile(database, spool) == 2
    assert set(spool.instances.rglob("*.dcm")) == recorded
    assert reconcile(database, spool) == 0
