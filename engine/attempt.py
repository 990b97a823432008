"""One attempt to deliver: render, send, keep the lease, write down what it came to.

Enter: a claim. Leave: a settled delivery, the attempt on record, and what it says of the destination
(see `engine.breaker`), in one transaction. While the database is away an answer is kept until it can be
written; whether it still counts, the fence says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.breaker import CLOSED, OPEN, Circuit, Evidence
from engine.bundle import Bundle, Seat
from engine.channel import Commits, Gathers, Outbound, OutboundType
from engine.clock import Clock, at
from engine.config import Declared
from engine.errors import DatabaseUnavailable, Refused, TryAgain
from engine.model import Acknowledgement, Delivery, DeliveryId, Payload, uid_from
from engine.pause import pause
from engine.rendering import Rendering
from engine.retry import next_attempt
from engine.spool import is_full
from engine.store import commitments, deliveries, destinations, lanes
from engine.store.database import Database
from engine.store.lanes import Claim, Settlement

logger = logging.getLogger("pons.dispatch")

GRACE = 5.0  # seconds beyond a channel's own timeout before the engine cuts the attempt off
ASKING = 60.0  # seconds beside twice the timeout that a channel has to ask for a storage commitment
AWAY = 2.0  # seconds at least until the next attempt when the database was away before the peer was asked
RETRY_WRITE = 0.5  # seconds between tries to write down an answer while the database is away
_OURS = {
    "defect",
    "disk",
    "empty",
    "file",
    "framing",
    "lease",
    "transform",
    "object",
}  # failures that say nothing of the peer
_UTC = ZoneInfo("UTC")

Also = Callable[[Connection, bool, float], None]  # more to write with a settlement: is it ours, and now


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured way out, the channel built for it, and the time zone of its site."""

    declared: Declared[OutboundType]
    channel: Outbound
    zone: ZoneInfo = _UTC

    @property
    def patience_for_report(self) -> float | None:
        """Seconds to wait for the peer's word that it committed; None when it is not asked."""
        return self.channel.commitment_timeout if isinstance(self.channel, Commits) else None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One claimed delivery of ours."""

    destination: Destination
    claimed: Claim
    probe: bool  # the one delivery that a half open circuit lets through
    until: float  # when the lease of the claim ends, by the event loop's clock
    bundle: Bundle | None = None  # that it goes out with

    @property
    def name(self) -> str:
        """Of its destination."""
        return self.destination.declared.name

    @property
    def where(self) -> dict[str, object]:
        """Fields of every log line about it."""
        delivery = self.claimed.delivery.delivery_id
        return {"destination": self.name, "delivery": delivery, "attempt": self.claimed.attempt}


class Attempts:
    """Makes attempts, any number at once."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rendering: Rendering,
        *,
        lease: float,
        on_acknowledged: Callable[[], None],
    ) -> None:
        """
        Args:
            lease: seconds that a claim stays ours unless renewed, which it is while it is under way.
            on_acknowledged: called when another destination may have waited for an acknowledgement.
        """
        self._database = database
        self._clock = clock
        self._rendering = rendering
        self._lease = lease
        self._on_acknowledged = on_acknowledged
        self._noted: dict[str, float] = {}  # when an acknowledgement was last noted, by destination
        self.unwritten = 0  # answers that could not be written down yet

    async def make(self, ours: UnderWay) -> None:
        """One attempt, settled on return; cancelled, it is given back."""
        # Who was frozen past the lease must not send when it wakes: another may have sent this, and what
        # comes after it. A timer that is due ends the attempt before anything that came for it is looked at.
        fence = asyncio.timeout_at(ours.until)
        keeper = asyncio.create_task(self._keep_lease(ours, fence))
        seats = ours.bundle.seat() if ours.bundle is not None else contextlib.nullcontext()
        try:
            async with fence:
                with seats as seat:
                    payload, answer = await self._deliver(ours, seat)
        except asyncio.CancelledError:
            await self._release(ours)
            raise
        except Refused as error:
            await self._refused(ours, error)
        except TryAgain as error:
            await self._again(ours, error)
        except TimeoutError:
            if fence.expired():
                why = "ended with its lease, which could not be renewed in time"
                await self._again(ours, TryAgain(why, code="lease", uncertain=True))
            else:
                await self._again(ours, TryAgain("no answer in time", code="timeout"))
        except DatabaseUnavailable as error:  # before the peer was asked
            await self._again(ours, TryAgain(str(error), code="defect", after=AWAY))
        except Exception as error:
            if is_full(error):  # there is no room for what is to be sent
                await self._again(ours, TryAgain("no space is left on our disk", code="disk", after=AWAY))
                return
            logger.exception("a channel raised outside its contract", extra={"pons": ours.where})
            await self._again(ours, TryAgain(type(error).__name__, code="defect", uncertain=True))
        else:
            if not payload.parts:
                await self._delivered(ours, answer, Evidence.NONE)
            elif answer.awaits_report or answer.report is not None:
                await self._stored(ours, answer, payload)
            else:
                await self._delivered(ours, answer, Evidence.ANSWERED)
        finally:
            keeper.cancel()

    async def _deliver(self, ours: UnderWay, seat: Seat | None) -> tuple[Payload, Acknowledgement]:
        destination, head = ours.destination, ours.claimed.delivery
        payload = await self._rendering.payload(destination.channel, head)
        if not payload.parts:  # a retraction where nothing had arrived: told, and on record
            return payload, Acknowledgement("", "nothing to send")
        delivery = Delivery(
            delivery_id=DeliveryId(head.delivery_id),
            destination=ours.name,
            order_key=head.order_key,
            attempt=ours.claimed.attempt,
            created_at=at(head.created_at),
            transaction_uid=await self._transaction(destination, ours.claimed),
            stored=frozenset(head.stored or ()),
        )
        if seat is not None:
            seat.take(payload, delivery)
            await seat.bundle.complete()
        # A channel keeps its own time; this is for one that does not. Parts may be answered one by one.
        timeout = destination.declared.settings.timeout
        patience = timeout * max(1, len(payload.parts)) + GRACE
        if delivery.transaction_uid:
            patience += 2 * timeout + ASKING
        async with asyncio.timeout(patience):
            if seat is not None:
                assert isinstance(destination.channel, Gathers)
                return payload, await seat.bundle.send(destination.channel)
            return payload, await destination.channel.deliver(payload, delivery)

    async def _keep_lease(self, ours: UnderWay, fence: asyncio.Timeout) -> None:
        def extend(connection: Connection) -> bool:
            due_at = self._clock.now() + self._lease
            is_ours = lanes.extend(connection, ours.claimed, due_at)
            if is_ours and ours.probe:
                destinations.extend_probe(connection, ours.name, due_at)
            return is_ours

        pause_for = self._lease / 3
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause_for)
            asked_at = loop.time()
            try:
                if await self._database.write(extend) and not fence.expired():
                    fence.reschedule(asked_at + self._lease)
                pause_for = self._lease / 3
            except DatabaseUnavailable:  # should it stay away, the fence protects
                pause_for = min(RETRY_WRITE, self._lease / 3)

    async def _release(self, ours: UnderWay) -> None:
        """Give it back: we are told to stop."""

        def release(connection: Connection) -> None:
            now = self._clock.now()
            lanes.release(connection, ours.claimed, now)
            self._judge(connection, ours, Evidence.NONE, now)

        try:
            await self._database.write(release)
        except DatabaseUnavailable:  # it comes due when its lease ends
            logger.warning("not given back: the database is away", extra={"pons": ours.where})

    async def _transaction(self, destination: Destination, claimed: Claim) -> str:
        """The transaction UID of this attempt's storage commitment, recorded; empty where none is asked."""
        patience = destination.patience_for_report
        if patience is None:
            return ""
        delivery_id, attempt = claimed.delivery.delivery_id, claimed.attempt
        uid = uid_from(delivery_id, "storage commitment", str(attempt))
        now = self._clock.now()
        await self._database.write(
            lambda c: commitments.register(c, uid, delivery_id, attempt, now, now + patience)
        )
        return uid

    async def _stored(self, ours: UnderWay, answer: Acknowledgement, payload: Payload) -> None:
        """The peer has everything and was asked to commit; its report may have come already."""
        settlement = Settlement(
            ours.claimed,
            "stored",
            answer.code,
            answer.detail[:2000],
            answer.warning[:2000],
            stored=tuple(part.identifier for part in payload.parts),
        )
        site, delivery_id = ours.destination.declared.settings.site, ours.claimed.delivery.delivery_id

        def report(connection: Connection, is_ours: bool, now: float) -> None:
            if answer.report is not None:
                commitments.apply(connection, site, answer.report, now)
            elif is_ours:
                commitments.settle_reported(connection, delivery_id, now)

        await self._settle(ours, settlement, Evidence.ANSWERED, report)
        logger.info("stored, commitment asked for", extra={"pons": {**ours.where, "code": answer.code}})

    async def _delivered(self, ours: UnderWay, answer: Acknowledgement, evidence: Evidence) -> None:
        detail, warning = answer.detail[:2000], answer.warning[:2000]
        settlement = Settlement(ours.claimed, "delivered", answer.code, detail, warning)
        await self._settle(ours, settlement, evidence, self._reported(ours))
        words = "delivered" if evidence is Evidence.ANSWERED else "nothing to send"
        logger.info(words, extra={"pons": {**ours.where, "code": answer.code}})

    async def _refused(self, ours: UnderWay, error: Refused) -> None:
        settlement = Settlement(ours.claimed, "refused", error.code, str(error)[:2000])
        report = self._reported(ours, error.stored)

        def also(connection: Connection, is_ours: bool, now: float) -> None:
            report(connection, is_ours, now)
            if error.pause:
                pause(connection, ours.name, actor="engine", reason=str(error), now=now)

        await self._settle(ours, settlement, _evidence(error), also)
        logger.error("delivery refused", extra={"pons": {**ours.where, "code": error.code}})
        if error.pause:
            extra = {"pons": {"destination": ours.name, "reason": str(error)}}
            logger.error("destination paused until it is resumed", extra=extra)

    async def _again(self, ours: UnderWay, error: TryAgain) -> None:
        retry, bundle = ours.destination.declared.settings.retry, ours.bundle
        now = self._clock.now()
        next_at = next_attempt(
            retry,
            attempt=ours.claimed.attempt,
            created_at=ours.claimed.delivery.age_from,
            now=now if bundle is None else bundle.ended_at(now),
            random=random.random() if bundle is None else bundle.chance,  # noqa: S311 jitter, not a secret
            after=error.after,
        )
        detail = str(error)
        if next_at is None:
            detail = f"gave up after {ours.claimed.attempt} attempts: {detail}"
        elif error.of_payload and await self._turned_down(ours, error.code) >= retry.turned_down:
            next_at, detail = None, f"turned down {retry.turned_down} times: {detail}"
        outcome = "unknown" if error.uncertain else "again"
        settlement = Settlement(ours.claimed, outcome, error.code, detail[:2000], next_at=next_at)
        await self._settle(ours, settlement, _evidence(error), self._reported(ours))
        words = "delivery failed" if next_at is None else "delivery will be tried again"
        logger.warning(words, extra={"pons": {**ours.where, "code": error.code}})

    async def _turned_down(self, ours: UnderWay, code: str) -> int:
        """How often the peer has answered this delivery so since it was queued or replayed, now included."""
        head = ours.claimed.delivery
        try:
            before = await self._database.read(
                lambda c: deliveries.answers(c, head.delivery_id, "again", code, head.age_from)
            )
        except DatabaseUnavailable:  # the next time will do
            return 0
        return before + 1

    def _reported(self, ours: UnderWay, stored: tuple[str, ...] = ()) -> Also:
        """What else an answer means where the peer is asked to commit to what it stores."""
        delivery_id = ours.claimed.delivery.delivery_id
        asked = ours.destination.patience_for_report is not None

        def also(connection: Connection, is_ours: bool, now: float) -> None:
            if is_ours and stored:
                commitments.keep_stored(connection, delivery_id, stored)
            if is_ours and asked:  # a report on an earlier attempt may have come while this one was under way
                commitments.settle_reported(connection, delivery_id, now)

        return also

    async def _settle(
        self,
        ours: UnderWay,
        settlement: Settlement,
        evidence: Evidence,
        also: Also,
    ) -> None:
        """Write down what an attempt came to, however long that takes; the fence protects meanwhile."""
        now = self._clock.now()
        took = settlement.outcome in ("delivered", "stored")
        note = took and now - self._noted.get(ours.name, 0.0) >= destinations.NOTED

        def settle(connection: Connection) -> tuple[bool, tuple[Circuit, Circuit] | None]:
            others = deliveries.is_awaited(connection, ours.claimed.delivery.study_id)
            is_ours = bool(lanes.settle(connection, [settlement], now))
            also(connection, is_ours, now)
            if note:
                destinations.acknowledged(connection, ours.name, now)
            return others, self._judge(connection, ours, evidence, now) if is_ours else None

        others, change = await self._written(ours, settle)
        if note:
            self._noted[ours.name] = now
        if took and others:
            self._on_acknowledged()  # `after:` may have been waiting for this
        _tell(ours.name, change)

    async def _written(
        self, ours: UnderWay, work: Callable[[Connection], tuple[bool, tuple[Circuit, Circuit] | None]]
    ) -> tuple[bool, tuple[Circuit, Circuit] | None]:
        waiting = False
        try:
            while True:
                try:
                    return await self._database.write(work)
                except DatabaseUnavailable as error:
                    if not waiting:
                        waiting = True
                        self.unwritten += 1
                        extra = {"pons": {**ours.where, "reason": str(error)}}
                        logger.error("an answer waits for the database", extra=extra)
                await asyncio.sleep(RETRY_WRITE)
        finally:
            self.unwritten -= waiting

    def _judge(
        self, connection: Connection, ours: UnderWay, evidence: Evidence, now: float
    ) -> tuple[Circuit, Circuit] | None:
        if ours.bundle is not None and not ours.bundle.is_first(ours.claimed.delivery.delivery_id):
            return None  # one message says one thing of its destination
        policy = ours.destination.declared.settings.breaker
        return destinations.judge(connection, ours.name, policy, evidence, now, probe=ours.probe)


def _evidence(error: Refused | TryAgain) -> Evidence:
    """What a failure says of the destination."""
    if error.code in _OURS:
        return Evidence.NONE
    if isinstance(error, Refused) or error.of_payload:
        return Evidence.ANSWERED
    return Evidence.FAILED


def _tell(name: str, change: tuple[Circuit, Circuit] | None) -> None:
    if change is None:
        return
    before, after = change
    if after.state == OPEN and before.state == CLOSED:
        extra = {"pons": {"destination": name, "count": after.failures}}
        logger.error("destination down: nothing goes out but a probe", extra=extra)
    elif after.state == CLOSED and before.state != CLOSED:
        logger.info("destination up: what waited goes out", extra={"pons": {"destination": name}})
