"""Whatever happens, in whatever order: the stored state of every order is the one that would be derived."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from engine.channel import Job
from engine.dead_letter import discard
from engine.errors import OrderRefused, ProcessorFailed, TryAgain
from engine.intake import DurableIntake
from engine.model import Algorithm, NewOrder, OrderQuery, Report, Submitter, uid_from
from engine.order_names import IDENTIFYING
from engine.replay_plan import Stage
from engine.spool import Spool
from engine.store import holds as hold_queries
from engine.store import lanes, order_states, replay, study_orders
from engine.store import studies as study_queries
from engine.store.database import Database
from engine.store.lanes import Settlement
from engine.store.tables import deliveries, holds, jobs, orders, studies
from engine.take_up import take_up
from tests.engine.conftest import HandClock
from tests.engine.processing_rig import Rig, writes

RIS = Submitter(kind="client", name="ris")
STEPS = 200

Step = Callable[[], Awaitable[Any]]


class Fickle:
    """A processor that succeeds, fails, or wants to be asked again, as the dice say."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def process(self, job: Job) -> Report:
        throw = self._dice.random()
        if throw < 0.2:
            raise ProcessorFailed("the dice say no")
        if throw < 0.35:
            raise TryAgain("the dice say later")
        return Report(algorithm=Algorithm(name="dice", version="6"))


class History:
    """Two sites' worth of studies, and everything that can happen to them."""

    def __init__(
        self, seed: int, rig: Rig, intake: DurableIntake, clock: HandClock, arrive: Any, instance: Any
    ):
        self.dice = random.Random(seed)
        self.rig, self.intake, self.clock = rig, intake, clock
        self.database, self.desk = rig.database, intake.orders
        self.arrive, self.instance = arrive, instance
        rig.processing.take(rig.table, {"model": Fickle(self.dice)})

    async def happen(self) -> str:
        """One thing, whichever; its name."""
        often = (self.is_decided, self.runs, self.settles)
        now_and_then = (self.arrives, self.closes, self.holds_answered, self.discards, self.sends_again)
        seldom = (
            self.routes_again,
            self.is_processed_again,
            self.is_given,
            self.is_bound,
            self.is_uploaded,
            self.is_changed,
        )
        steps: list[Step] = [*often * 12, *now_and_then * 4, *seldom * 2, self.is_cancelled]
        step = self.dice.choice(steps)
        self.clock.advance(self.dice.choice((0.5, 5, 120)))
        try:
            await step()
        except OrderRefused:
            return f"{step.__name__}, refused"
        return step.__name__

    def rows(self, table: Any, *conditions: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table).where(*conditions)).all()))

    def one_of(self, table: Any, *conditions: Any) -> Any:
        rows = self.rows(table, *conditions)
        return self.dice.choice(rows) if rows else None

    async def arrives(self) -> None:
        study, number = self.dice.choice("abc"), self.dice.randrange(40)
        modality = self.dice.choice(("MR", "MR", "CT"))
        made = self.instance(number, study=study, Modality=modality, AccessionNumber=f"A-{study}")
        await self.intake.accept(self.arrive(made))
        self.intake.leave("s-1")

    async def closes(self) -> None:
        study = self.one_of(studies, studies.c.state == "receiving")
        if study is not None:
            late, now = self.dice.choice(("rerun", "rerun", "hold", "ignore")), self.clock.now()
            await self.database.write(
                lambda c: study_queries.close_revision(c, study.id, now, "told to", on_late=late, last_at=now)
            )

    async def is_decided(self) -> None:
        await self.rig.decider.decide_closed()

    async def runs(self) -> None:
        await self.rig.run()

    async def settles(self) -> None:
        destination, now = self.dice.choice(("archive", "ris", "desk")), self.clock.now()
        outcome = self.dice.choice(("delivered", "refused", "again"))

        def work(connection: Any) -> None:
            for claimed in lanes.claim(connection, destination, "n1", now, 60.0, 9):
                again = now + 1 if outcome == "again" else None
                lanes.settle(connection, [Settlement(claimed, outcome, "x", next_at=again)], now)

        await self.database.write(work)

    async def holds_answered(self) -> None:
        held, now = self.one_of(holds, holds.c.released_at.is_(None)), self.clock.now()
        if held is not None:
            await self.database.write(lambda c: hold_queries.release(c, held.id, now))

    async def discards(self) -> None:
        dead, now = self.one_of(deliveries, deliveries.c.state == "dead"), self.clock.now()
        if dead is not None:
            await self.database.write(lambda c: discard(c, [dead.delivery_id], now, actor="me", reason="no"))

    async def sends_again(self) -> None:
        sent, now = self.one_of(deliveries, deliveries.c.state.in_(("dead", "delivered"))), self.clock.now()
        if sent is not None:
            await self.database.write(lambda c: replay.send_again(c, [sent], now, "again"))

    async def routes_again(self) -> None:
        study = self.one_of(studies, studies.c.state == "stable")
        if study is not None and not self.rows(jobs, jobs.c.study_id == study.id, jobs.c.state == "running"):
            await self.database.write(
                lambda c: study_queries.set_revision_state(c, study.id, study.revision, "closed")
            )

    async def is_processed_again(self) -> None:
        study, now = self.one_of(studies, studies.c.state == "stable"), self.clock.now()
        if study is None or self.rows(
            jobs, jobs.c.study_id == study.id, jobs.c.state.in_(("queued", "running"))
        ):
            return
        if self.database.read_now(lambda c: replay.latest_decision(c, study.id)) is not None:
            await self.database.write(lambda c: take_up(c, study, Stage.PROCESS, now))

    async def is_given(self) -> None:
        study = self.dice.choice("abcd")
        metadata = self.dice.choice(({}, {"PatientSex": "F"}, {"AccessionNumber": f"A-{study}"}))
        uid = self.dice.choice(("", uid_from("test", study)))
        await self.desk.create(
            NewOrder(site="st-marys", submitter=RIS, metadata=metadata, study_instance_uid=uid)
        )

    async def is_bound(self) -> None:
        order = self.one_of(orders, orders.c.study_id.is_(None))
        if order is not None:
            await self.desk.bind(order.order_id, uid_from("test", self.dice.choice("abcd")))

    async def is_uploaded(self) -> None:
        order = self.one_of(orders, orders.c.study_id.is_(None))
        if order is not None:
            await self.desk.uploading(order.order_id)
            if self.dice.random() < 0.5:
                await self.desk.upload_failed(order.order_id, self.dice.choice(("", "no study in it")))

    async def is_cancelled(self) -> None:
        order = self.one_of(orders)
        if order is not None:
            await self.desk.cancel(order.order_id, actor=RIS)

    async def is_changed(self) -> None:
        order = self.one_of(orders)
        if order is not None:
            await self.desk.set_metadata(order.order_id, {"PatientSex": self.dice.choice("MF")}, actor=RIS)


@pytest.fixture
async def intake(spool: Spool, database: Database, clock: HandClock) -> AsyncIterator[DurableIntake]:
    made = DurableIntake(spool, database, clock, keywords=("Modality", *IDENTIFYING))
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(4))
async def test_after_each_step_of_a_random_history_nothing_has_drifted(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Any, arrive: Any, clock: HandClock, seed: int
) -> None:
    history = History(seed, rig(writes()), intake, clock, arrive, instance)
    done: list[str] = []
    versions: dict[str, tuple[int, str]] = {}
    for _ in range(STEPS):
        done.append(await history.happen())
        now = clock.now()
        drifted = await history.database.write(lambda c, now=now: order_states.reconcile(c, now))
        assert drifted == 0, done
        for order in (await intake.orders.list(OrderQuery(limit=500))).orders:
            version, state = versions.get(order.order_id, (0, ""))
            assert order.version >= version, done
            assert order.state.value == state or order.version > version, "each change of state is a version"
            versions[order.order_id] = (order.version, order.state.value)
        unwanted = [
            study.id
            for study in history.rows(studies)
            if not history.database.read_now(lambda c, study=study: study_orders.of_study(c, study.id))
        ]
        assert unwanted == [], "every study has an order"
