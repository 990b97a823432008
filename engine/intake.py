"""The engine's own intake: every way in of this process ends here, and what worker processes have taken in.

Enter: arrivals, and instances that a worker has made durable. Leave: both recorded. `accept` returns after
the bytes and their name are durable and the record is committed (see `engine.reception`); when it raises,
nothing of the arrival is kept.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace

from engine import part10
from engine.channel import CommitmentDesk
from engine.clock import Clock
from engine.commitment import Commitments
from engine.errors import Busy
from engine.open_sessions import OpenSessions
from engine.orders import REPLACE_WITHIN, Orders
from engine.reception import Questions, Reception
from engine.recorder import Recorder
from engine.spool import Spool
from engine.store.database import Database
from engine.store.recording import NewInstance, Recorded
from engine.strangers import Knock, Strangers


class DurableIntake(Reception):
    """The engine's `Intake`: what inbound channels are given."""

    def __init__(
        self,
        spool: Spool,
        database: Database,
        clock: Clock,
        *,
        keywords: Iterable[str] = (),
        keep_versions: bool = True,
        available: Callable[[], bool] = lambda: True,
        node: str = "engine",
        lease: float = 60.0,
        replace_within: float = REPLACE_WITHIN,
    ) -> None:
        """
        Args:
            node: this process among those that share the database.
            lease: seconds that a study stays held open for a process that has fallen silent.
            available: whether the database answers; from any thread.
            keywords: attributes that routing may ask for; recorded with each instance.
            replace_within: seconds in which a study that is given again replaces the earlier order.
            keep_versions: keep a second version of a SOP Instance (True) or refuse it.
        """
        super().__init__(spool, Questions(tuple(sorted(keywords))))
        self.sessions = OpenSessions(database, clock, node=node, lease=lease)
        self.commitments: CommitmentDesk = Commitments(database, spool, clock)
        self.orders = Orders(database, clock, replace_within)
        self.strangers = Strangers(database, clock)
        self._recorder = Recorder(spool, database, clock, self.sessions, keep_versions=keep_versions)
        self._available = available
        self._draining = False
        self.refused: Counter[str] = Counter()
        """How many arrivals were refused since this process began, by reason; see `refuse`."""
        self._lock = threading.Lock()  # of the counts: every association counts in its own thread

    def take(self, keywords: Iterable[str], *, keep_versions: bool) -> None:
        """Another table's questions and rule, from the next arrival on."""
        self.questions = Questions(tuple(sorted(keywords)), self.questions.number + 1)
        self._recorder.keep_versions = keep_versions

    def turned_away(
        self, inbound: str, unknown: str, remote_address: str, calling_ae_title: str, called_ae_title: str
    ) -> None:
        """A peer was rejected for what it is; see `engine.channel.Intake.turned_away`."""
        self.strangers.note(Knock(inbound, unknown, remote_address, calling_ae_title, called_ae_title))

    def shut_by(self) -> Busy | None:
        """Why nothing may land at this moment."""
        if self._draining:
            return Busy("the engine is shutting down")
        if not self._available():
            return Busy("the database does not answer")
        if self._spool.shut or self._spool.below_watermark:
            return Busy("the disk is below its watermark", storage_full=True)
        return None

    @property
    def draining(self) -> bool:
        """Whether the engine is shutting down."""
        return self._draining

    @property
    def is_open(self) -> bool:
        """Whether a landing would be opened now."""
        return self.shut_by() is None

    def begin_to_record(self, session: str, new: NewInstance, answered: int) -> Future[Recorded]:
        """Have one instance recorded; what another table asked is read again for this one."""
        now = self.questions
        if answered != now.number:
            with contextlib.suppress(OSError):  # the file went at this moment: the recorder finds that out
                header = part10.inspect(self._spool.path(new.path), now.keywords)
                new = replace(new, attributes=header.attributes)
        return self._recorder.record(session, new)

    def doubt(self, paths: Iterable[str]) -> None:
        """These were kept, or were about to be, by a process that has ended: they go unless recorded."""
        self._recorder.doubt(paths)

    def disk_full(self) -> None:
        """A write of another process has failed for want of space."""
        self._spool.failed()

    def settle(self, home: str) -> None:
        """A process has ended (its `Spool.home`): what it kept is safe, what it was receiving goes."""
        self._spool.settle(home)
        self._spool.collect_leftovers()

    def refuse(self, reason: str) -> None:
        """Count an arrival that was refused."""
        with self._lock:
            self.refused[reason] += 1

    def leave(self, session: str) -> None:
        """The association or request is over."""
        self.sessions.leave(session)

    def drain(self) -> None:
        """Refuse new landings; what has landed may still be accepted."""
        self._draining = True

    async def run(self) -> None:
        """Remove what was made durable and then could not be recorded, until cancelled."""
        await self._recorder.run(self._available)
