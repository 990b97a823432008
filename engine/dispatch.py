"""Claim, render once, deliver, settle: how queued deliveries leave the house.

Enter: due lanes. Leave: acknowledged, retried or dead deliveries, each attempt on record. Every
destination has its own slots, so one that is slow or dead costs the others nothing; a delivery
that waits is a row, not a task. The bytes are rendered at the first claim, when it is known what
this destination has acknowledged before, and kept; every later attempt sends exactly those.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from engine.channel import Commits, Outbound, OutboundType
from engine.clock import Clock, at
from engine.commitment import ask_again
from engine.config import Declared
from engine.decide import Decider
from engine.errors import Refused, TryAgain
from engine.model import (
    Acknowledged,
    Acknowledgement,
    Delivery,
    DeliveryId,
    History,
    Part,
    Payload,
    Result,
    ResultStatus,
    Study,
    uid_from,
)
from engine.retry import next_attempt
from engine.spool import fsync_folder, write_durably
from engine.store import commitments, deliveries, lanes, work
from engine.store.database import Database
from engine.store.lanes import Claim, Settlement
from engine.stored_result import stored_result
from engine.transform import copy_instances

logger = logging.getLogger("pons.dispatch")

GRACE = 5.0  # seconds beyond a channel's own timeout before the engine cuts the attempt off
IDLE = 2.0  # seconds between looks when nothing wakes us
ASKING = 60.0  # seconds beside twice the timeout that a channel has to ask for a storage commitment


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured way out and the channel built for it."""

    declared: Declared[OutboundType]
    channel: Outbound


class Dispatch:
    """Delivers what is due, one runner a destination."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decider: Decider,
        destinations: dict[str, Destination],
        *,
        data: Path,
        node: str,
        lease: float = 60.0,
    ) -> None:
        """
        Args:
            lease: seconds an attempt stays ours unless renewed, which it is while it is under way.
        """
        self._database = database
        self._clock = clock
        self._decider = decider
        self._destinations = destinations
        self._lease = lease
        self._data = data.absolute()
        self._payloads = self._data / "payloads"
        self._payloads.mkdir(mode=0o700, exist_ok=True)
        self._node = node
        self._wakes = {name: asyncio.Event() for name in destinations}
        self._draining = False
        self._drained = asyncio.Event()

    def wake(self) -> None:
        """A delivery may have been queued or a lane come free."""
        for event in self._wakes.values():
            event.set()

    def drain(self) -> None:
        """Claim nothing more; `run` ends when what is under way has ended."""
        self._draining = True
        self._drained.set()
        self.wake()

    async def run(self) -> None:
        """Deliver until drained or cancelled."""
        async with asyncio.TaskGroup() as runners:
            for name, destination in self._destinations.items():
                runners.create_task(self._run_destination(name, destination))
            if any(self._patience_for_report(each) is not None for each in self._destinations.values()):
                ages = {
                    name: each.declared.settings.retry.give_up_after
                    for name, each in self._destinations.items()
                }
                runners.create_task(ask_again(self._database, self._clock, ages, self._drained, self.wake))

    async def _run_destination(self, name: str, destination: Destination) -> None:
        free_slots = destination.declared.settings.concurrency
        under_way: set[asyncio.Task[None]] = set()
        wake = self._wakes[name]
        try:
            while not self._draining:
                free = free_slots - len(under_way)
                claims: list[Claim] = []
                if free > 0:
                    claims = await self._claim(name, free)
                for claimed in claims:
                    task = asyncio.create_task(self._attempt(destination, claimed))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    task.add_done_callback(lambda _: wake.set())
                if not claims:
                    await self._pause(name, wake)
        finally:
            if not self._draining:
                for task in under_way:
                    task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _claim(self, name: str, free: int) -> list[Claim]:
        now = self._clock.now()
        try:
            due = await self._database.read(lambda c: deliveries.next_due(c, [name]))
            if due is None or due > now:
                return []
            return await self._database.write(
                lambda c: lanes.claim(c, name, self._node, now, self._lease, free)
            )
        except Exception:
            logger.exception("claiming failed; trying again", extra={"pons": {"destination": name}})
            return []

    async def _pause(self, name: str, wake: asyncio.Event) -> None:
        due = await self._database.read(lambda c: deliveries.next_due(c, [name]))
        wait = IDLE if due is None else min(IDLE, max(0.01, due - self._clock.now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await wake.wait()
        wake.clear()

    async def _attempt(self, destination: Destination, claimed: Claim) -> None:
        name = destination.declared.name
        head = claimed.delivery
        where = {"destination": name, "delivery": head.delivery_id, "attempt": claimed.attempt}
        keeper = asyncio.create_task(self._keep_lease(claimed))
        try:
            payload = await self._payload(destination, claimed)
            if not payload.parts:  # a retraction where nothing had arrived: told, and on record
                await self._delivered(claimed, Acknowledgement("", "nothing to send"))
                logger.info("nothing to send", extra={"pons": where})
                return
            delivery = Delivery(
                delivery_id=DeliveryId(head.delivery_id),
                destination=name,
                order_key=head.order_key,
                attempt=claimed.attempt,
                created_at=at(head.created_at),
                transaction_uid=await self._transaction(destination, claimed),
                stored=frozenset(head.stored or ()),
            )
            # A channel keeps its own time; this is for one that does not. Parts may be answered one by one.
            patience = destination.declared.settings.timeout * max(1, len(payload.parts)) + GRACE
            if delivery.transaction_uid:
                patience += 2 * destination.declared.settings.timeout + ASKING
            async with asyncio.timeout(patience):
                answer = await destination.channel.deliver(payload, delivery)
        except asyncio.CancelledError:
            await self._database.write(lambda c: lanes.release(c, claimed, self._clock.now()))
            raise
        except Refused as error:
            await self._settle(claimed, "refused", code=error.code, detail=str(error), stored=error.stored)
            logger.error("delivery refused", extra={"pons": {**where, "code": error.code}})
        except TryAgain as error:
            await self._again(destination, claimed, error)
        except TimeoutError:
            await self._again(destination, claimed, TryAgain("no answer in time", code="timeout"))
        except Exception as error:
            logger.exception("a channel raised outside its contract", extra={"pons": where})
            failure = TryAgain(type(error).__name__, code="defect", uncertain=True)
            await self._again(destination, claimed, failure)
        else:
            if answer.awaits_report or answer.report is not None:
                await self._stored(claimed, answer, payload)
                logger.info("stored, commitment asked for", extra={"pons": {**where, "code": answer.code}})
            else:
                await self._delivered(claimed, answer)
                logger.info("delivered", extra={"pons": {**where, "code": answer.code}})
        finally:
            keeper.cancel()

    async def _keep_lease(self, claimed: Claim) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            due = self._clock.now() + self._lease
            await self._database.write(partial(lanes.extend, claimed=claimed, due_at=due))

    async def _transaction(self, destination: Destination, claimed: Claim) -> str:
        """The transaction UID of this attempt's storage commitment, recorded; empty where none is asked."""
        patience = self._patience_for_report(destination)
        if patience is None:
            return ""
        delivery_id, attempt = claimed.delivery.delivery_id, claimed.attempt
        uid = uid_from(delivery_id, "storage commitment", str(attempt))
        now = self._clock.now()
        await self._database.write(
            lambda c: commitments.register(c, uid, delivery_id, attempt, now, now + patience)
        )
        return uid

    def _patience_for_report(self, destination: Destination) -> float | None:
        channel = destination.channel
        return channel.commitment_timeout if isinstance(channel, Commits) else None

    async def _stored(self, claimed: Claim, answer: Acknowledgement, payload: Payload) -> None:
        """The peer has everything and was asked to commit; its report may have come already."""
        stored = tuple(part.identifier for part in payload.parts)
        now = self._clock.now()
        settlement = Settlement(
            claimed, "stored", answer.code, answer.detail[:2000], answer.warning[:2000], stored=stored
        )
        site = self._destinations[claimed.delivery.destination].declared.settings.site

        def settle(connection: Connection) -> None:
            ours = lanes.settle(connection, [settlement], now)
            if answer.report is not None:
                commitments.apply(connection, site, answer.report, now)
            elif ours:
                commitments.settle_reported(connection, claimed.delivery.delivery_id, now)

        await self._database.write(settle)
        self.wake()

    async def _delivered(self, claimed: Claim, answer: Acknowledgement) -> None:
        await self._settle(
            claimed, "delivered", code=answer.code, detail=answer.detail, warning=answer.warning
        )
        self.wake()  # `after:` may have been waiting for this

    async def _again(self, destination: Destination, claimed: Claim, error: TryAgain) -> None:
        next_at = next_attempt(
            destination.declared.settings.retry,
            attempt=claimed.attempt,
            created_at=claimed.delivery.age_from,
            now=self._clock.now(),
            random=random.random(),  # noqa: S311 jitter, not a secret
            after=error.after,
        )
        detail = str(error)
        if next_at is None:
            detail = f"gave up after {claimed.attempt} attempts: {detail}"
        outcome = "unknown" if error.uncertain else "again"
        await self._settle(claimed, outcome, code=error.code, detail=detail, next_at=next_at)
        logger.warning(
            "delivery failed" if next_at is None else "delivery will be tried again",
            extra={
                "pons": {
                    "destination": destination.declared.name,
                    "delivery": claimed.delivery.delivery_id,
                    "attempt": claimed.attempt,
                    "code": error.code,
                }
            },
        )

    async def _settle(
        self,
        claimed: Claim,
        outcome: str,
        *,
        code: str,
        detail: str,
        warning: str = "",
        next_at: float | None = None,
        stored: tuple[str, ...] = (),
    ) -> None:
        settlement = Settlement(claimed, outcome, code, detail[:2000], warning[:2000], next_at)
        now = self._clock.now()
        delivery_id = claimed.delivery.delivery_id
        asked = self._patience_for_report(self._destinations[claimed.delivery.destination]) is not None

        def settle(connection: Connection) -> None:
            if not lanes.settle(connection, [settlement], now):
                return
            if stored:
                commitments.keep_stored(connection, delivery_id, stored)
            if asked:  # a report on an earlier attempt may have come while this one was under way
                commitments.settle_reported(connection, delivery_id, now)

        await self._database.write(settle)

    async def _payload(self, destination: Destination, claimed: Claim) -> Payload:
        head = claimed.delivery
        if head.payload is None:
            subject, history = await self._subject(destination, head)
            manifest = await asyncio.to_thread(self._render, destination, head.delivery_id, subject, history)
            await self._database.write(lambda c: deliveries.keep_payload(c, head.delivery_id, manifest))
        else:
            manifest = head.payload
        return Payload(parts=tuple(self._part(entry) for entry in manifest))

    async def _subject(self, destination: Destination, head: Any) -> tuple[Result | Study, History]:
        earlier = await self._database.read(lambda c: deliveries.held_by(c, head.destination, head.lineage))
        told = [row for row in earlier if row.result_id is not None]
        reports = [row for row in told if row.status != ResultStatus.FAILED]
        standing = None
        if reports and reports[-1].status != ResultStatus.RETRACTED:
            held = reports[-1].result_id
            document = await self._database.read(lambda c: work.result_document(c, held))
            standing = stored_result(document, self._data)
        history = History(
            delivery_id=DeliveryId(head.delivery_id),
            rendered_at=at(self._clock.now()),
            acknowledged=tuple(_acknowledged(row) for row in told),
            standing=standing,
        )
        if head.result_id is not None:
            document = await self._database.read(lambda c: work.result_document(c, head.result_id))
            return stored_result(document, self._data), history
        study = await self._decider.facts(head.study_id, head.study_revision)
        if head.transform:
            folder = self._payloads / head.delivery_id / "edited"
            edited = await asyncio.to_thread(copy_instances, study.stored, folder, head.transform)
            study = replace(study, stored=edited)
        return study, history

    def _render(
        self, destination: Destination, delivery_id: str, subject: Result | Study, history: History
    ) -> list[dict[str, Any]]:
        payload = destination.channel.render(subject, history)
        folder = self._payloads / delivery_id
        manifest = []
        for number, part in enumerate(payload.parts):
            if isinstance(part.content, bytes):
                folder.mkdir(mode=0o700, exist_ok=True)
                path = folder / f"{number}.part"
                write_durably(path, part.content)
            else:
                path = part.content.absolute()
            manifest.append(
                {
                    "identifier": part.identifier,
                    "media_type": part.media_type,
                    "path": str(path.relative_to(self._data)),
                    "facts": dict(part.facts),
                }
            )
        fsync_folder(self._payloads)
        return manifest

    def _part(self, entry: dict[str, Any]) -> Part:
        path = self._data / entry["path"]
        large = entry["media_type"] == "application/dicom"  # stays on disk, is streamed from there
        return Part(
            identifier=entry["identifier"],
            media_type=entry["media_type"],
            content=path if large else path.read_bytes(),
            facts=entry["facts"],
        )


def _acknowledged(row: Any) -> Acknowledged:
    parts = row.payload or []
    return Acknowledged(
        delivery_id=DeliveryId(row.delivery_id),
        status=ResultStatus(row.status),
        revision=row.study_revision,
        identifiers=tuple(part["identifier"] for part in parts),
        sop_class_uids=tuple(part["facts"].get("sop_class_uid", "") for part in parts),
        series_instance_uids=tuple(part["facts"].get("series_instance_uid", "") for part in parts),
        certain=bool(row.certain),
    )
