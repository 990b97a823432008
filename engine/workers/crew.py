"""One channel in several processes: what the engine opens, retires and leaves like any other way in.

Enter: a channel type and its block of the table. Leave: as many worker processes as the table says, on one
listening socket, which the engine holds as long as they do: when one dies, what the kernel has queued is
served by the others, and another one is started.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections import Counter as Tally
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.channel import InboundContext, InboundType, Intake, Settings
from engine.errors import ConfigurationError
from engine.intake import DurableIntake
from engine.log import log_form
from engine.workers.assignment import Assignment, Premises
from engine.workers.counter import state_of
from engine.workers.hand import Hand, shown_end
from engine.workers.link import LinkLost

logger = logging.getLogger("pons.workers")

LOOK = 0.25  # seconds between two looks at what the workers should know
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before another is started, as they go on dying
STEADY = 60.0  # seconds of life after which a death is the first again


class Crew:
    """An `Inbound` that `Retires` and `Measures`."""

    def __init__(
        self, type_: InboundType, settings: Settings, lent: InboundContext, premises: Premises
    ) -> None:
        self._type = type_
        self._settings = settings
        self._lent = lent
        self._premises = premises
        self._lock = threading.Lock()
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._hands: list[Hand] = []
        self._past: Tally[str] = Tally()  # what processes that have ended had counted
        self._resting = False

    @property
    def address(self) -> tuple[str, int] | None:
        """What it is bound to while it listens."""
        for bound in self._sockets.values():
            host, port = bound.getsockname()[:2]
            return host, port
        return None

    @property
    def pids(self) -> list[int]:
        """Of its processes."""
        return [hand.pid for hand in self._hands]

    @asynccontextmanager
    async def listening(self, intake: Intake) -> AsyncIterator[None]:
        """Entered: every process serves. Left: all have ended."""
        assert isinstance(intake, DurableIntake)
        try:
            await self._start_all(intake)
            watching = [asyncio.create_task(self._watch())]
            watching += [asyncio.create_task(self._keep(hand, intake)) for hand in self._hands]
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
        finally:
            self._rest()
            self._refresh()
            await self._end_all()

    async def retire(self) -> None:
        """Accept no association more; returns when every one that is open has ended."""
        self._rest()
        for done in await asyncio.gather(*(hand.retire() for hand in self._hands), return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, LinkLost):
                raise done

    def measured(self) -> dict[str, float]:
        """What the processes count, together."""
        samples = Tally(self._past)
        for hand in self._hands:
            samples.update(hand.counter.samples)
        return dict(samples)

    async def _start_all(self, intake: DurableIntake) -> None:
        hands = [self._hire(intake) for _ in range(self._premises.workers)]
        starting = [self._put_to_work(hand, intake) for hand in hands]
        for done in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done

    def _hire(self, intake: DurableIntake) -> Hand:
        hand = Hand(intake, self._lent.sites, self._bind)
        self._hands.append(hand)
        return hand

    async def _put_to_work(self, hand: Hand, intake: DurableIntake) -> None:
        text, level = log_form()
        assignment = Assignment(
            self._lent.name,
            self._type,
            self._settings,
            self._premises,
            max(1, self._lent.in_flight.limit // self._premises.workers),
            state_of(intake),
            text,
            level,
        )
        try:
            await hand.listen(assignment)
        except LinkLost:
            raise ConfigurationError(
                f"inbound.{self._lent.name}: its worker process ended as it began; its last words are above"
            ) from None
        facts = {"inbound": self._lent.name, "pid": hand.pid}
        logger.info("worker process serves", extra={"pons": facts})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self._refresh()

    def _refresh(self) -> None:
        for hand in self._hands:
            hand.counter.refresh()

    async def _keep(self, hand: Hand | None, intake: DurableIntake) -> None:
        """There is one in its place, whatever becomes of it, until the channel rests."""
        deaths = 0
        while True:
            if hand is not None:
                await hand.ended.wait()
                if asyncio.get_running_loop().time() - hand.began > STEADY:
                    deaths = 0
                await self._lose(hand)
            await asyncio.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
            if self._resting:
                return
            deaths, hand = deaths + 1, None
            try:
                hand = self._hire(intake)
                await self._put_to_work(hand, intake)
            except (ConfigurationError, OSError) as error:
                facts = {"inbound": self._lent.name, "reason": str(error)}
                logger.error("worker process does not serve", extra={"pons": facts})
                if hand is not None:
                    hand.dismiss()

    async def _lose(self, hand: Hand) -> None:
        status = await hand.bury()
        self._forget(hand)
        facts = {"inbound": self._lent.name, "pid": hand.pid, "reason": shown_end(status)}
        logger.error("worker process died", extra={"pons": facts})

    def _forget(self, hand: Hand) -> None:
        self._hands.remove(hand)
        counts = hand.counter.samples.items()
        self._past.update({name: count for name, count in counts if _is_count(name)})

    async def _end_all(self) -> None:
        try:
            leaving = [hand.leave() for hand in self._hands]
            for done in await asyncio.gather(*leaving, return_exceptions=True):
                if isinstance(done, Exception) and not isinstance(done, ConfigurationError):
                    facts = {"inbound": self._lent.name, "reason": type(done).__name__}
                    logger.error("a channel broke as it was closed", extra={"pons": facts})
        finally:
            await asyncio.gather(*(hand.bury() for hand in self._hands), return_exceptions=True)
            for hand in list(self._hands):
                self._forget(hand)

    def _bind(self, host: str, port: int) -> socket.socket:
        """In the thread of a link."""
        with self._lock:
            if self._resting:
                raise OSError(errno.ECANCELED, "the channel is closing")
            if (host, port) not in self._sockets:
                self._sockets[host, port] = self._lent.bind(host, port)
            return self._sockets[host, port]

    def _rest(self) -> None:
        """Nobody new: when the workers close theirs too, nothing listens any more."""
        with self._lock:
            self._resting = True
            for bound in self._sockets.values():
                bound.close()
            self._sockets.clear()


def _is_count(name: str) -> bool:
    """Whether a sample only ever grows; the others end with their process."""
    return name.partition("{")[0].endswith("_total")
