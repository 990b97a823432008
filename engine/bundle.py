"""Deliveries that leave as one: what is due at one moment for a destination that sends things together.

Enter: claimed deliveries of one destination. Leave: bundles, each sent once, whose members all get the one
answer. A bundle that is tried again has the members that it had, so that whoever received it recognises it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.channel import Gathers
from engine.clock import at
from engine.model import Acknowledgement, Delivery, Payload
from engine.store import bundles, scheduled
from engine.store.lanes import Claim

INCOMPLETE = "waits for the rest of its bundle"


class Bundle:
    """Some deliveries under way together; lives on the event loop."""

    def __init__(self, bundle_id: str, members: int) -> None:
        self.bundle_id = bundle_id
        self.chance = random.random()  # noqa: S311 jitter: all members come again at one moment
        self._awaited = members  # that are not here yet
        self._items: list[tuple[Payload, Delivery]] = []
        self._complete = asyncio.Event()
        self._sending: asyncio.Task[Acknowledgement] | None = None
        self._waiting = 0
        self._ended_at: float | None = None

    @contextlib.contextmanager
    def seat(self) -> Iterator[Seat]:
        """The place of one member, for as long as its attempt takes: the others do not wait longer for it."""
        seat = Seat(self)
        try:
            yield seat
        finally:
            seat.leave()

    def ended_at(self, now: float) -> float:
        """When its sending ended, for every member the same."""
        if self._ended_at is None:
            self._ended_at = now
        return self._ended_at

    def is_first(self, delivery_id: str) -> bool:
        """Whether this member speaks for all: what one message says of a peer counts once."""
        return bool(self._items) and self._items[0][1].delivery_id == delivery_id

    def arrive(self, item: tuple[Payload, Delivery] | None) -> None:
        """One member is ready, or will never be."""
        if item is not None:
            self._items.append(item)
        self._awaited -= 1
        if not self._awaited:
            self._items.sort(key=lambda one: (one[1].created_at, one[1].delivery_id))
            self._complete.set()

    async def complete(self) -> None:
        """Returns when every member is ready, or will never be."""
        await self._complete.wait()

    async def send(self, channel: Gathers) -> Acknowledgement:
        """Send it, once for all who ask; given up when nobody waits for it any more."""
        if self._sending is None:
            self._sending = asyncio.create_task(channel.deliver_together(self._items, self.bundle_id))
        self._waiting += 1
        try:
            return await asyncio.shield(self._sending)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._sending.done():
                self._sending.cancel()


@dataclass(slots=True)
class Seat:
    """The place of one member."""

    bundle: Bundle
    taken: bool = False

    def take(self, payload: Payload, delivery: Delivery) -> None:
        """The member is ready."""
        self.taken = True
        self.bundle.arrive((payload, delivery))

    def leave(self) -> None:
        """Harmless after `take`."""
        if not self.taken:
            self.taken = True
            self.bundle.arrive(None)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Claims and the bundles they are members of, by delivery."""

    claims: Sequence[Claim]
    bundles: Mapping[str, Bundle]


def gather(
    connection: Connection,
    claims: Sequence[Claim],
    channel: Gathers,
    now: float,
    zone: ZoneInfo,
    *,
    one: bool,
) -> Gathered:
    """Put claims into bundles, in the transaction that claimed them.

    What is not due by the channel's schedule waits for its next moment; so does what belongs to a bundle of
    which not every member could be claimed.

    Args:
        one: at most one bundle may go: it is to show whether the destination is back.
    """
    going = [claim for claim in claims if not _postponed(connection, claim, channel, now, zone)]
    known = bundles.of(connection, going)
    by_bundle: dict[str, list[Claim]] = {}
    fresh: list[Claim] = []
    for claim in going:
        bundle_id = known.get(claim.delivery.delivery_id)
        (by_bundle.setdefault(bundle_id, []) if bundle_id else fresh).append(claim)
    for bundle_id, members in list(by_bundle.items()):
        if bundles.size(connection, bundle_id) > len(members):
            _wait(connection, by_bundle.pop(bundle_id), now)
    if fresh and not (one and by_bundle):
        bundle_id = str(uuid.uuid4())
        bundles.form(connection, bundle_id, fresh, now)
        by_bundle[bundle_id] = fresh
    elif fresh:
        _wait(connection, fresh, now)
    for bundle_id in list(by_bundle)[1:] if one else ():
        _wait(connection, by_bundle.pop(bundle_id), now)
    made = {bundle_id: Bundle(bundle_id, len(members)) for bundle_id, members in by_bundle.items()}
    return Gathered(
        [claim for members in by_bundle.values() for claim in members],
        {
            claim.delivery.delivery_id: made[bundle_id]
            for bundle_id, members in by_bundle.items()
            for claim in members
        },
    )


def _postponed(connection: Connection, claim: Claim, channel: Gathers, now: float, zone: ZoneInfo) -> bool:
    """Whether it waits for the channel's next moment: it comes out of its lane once, and then goes."""
    if claim.delivery.not_before is not None:
        return False
    due = channel.next_moment(at(now), zone)
    if due is None:
        return False
    local = due.astimezone(zone).isoformat(timespec="minutes")
    scheduled.postpone(connection, claim, due.timestamp(), f"goes out with others at {local}", now)
    return True


def _wait(connection: Connection, claims: Sequence[Claim], now: float) -> None:
    for claim in claims:
        scheduled.postpone(connection, claim, now, INCOMPLETE, now)
