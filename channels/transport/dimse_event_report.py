"""What an acceptor tells its peer on the peer's own association: N-EVENT-REPORT (PS3.7 10.1.1).

Enter: events to report, and the peer's answers. Leave: the messages, one at a time, each between two
messages of the peer; for each event the status it was answered with. Lives in the association's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from channels.transport import dimse_command
from channels.transport.dimse_command import Command
from channels.transport.dimse_pdu import PduSocket

_SENT_AT_ONCE = 1 << 16  # bytes that a socket takes though its peer does not read just now


@dataclass(frozen=True, slots=True)
class EventReport:
    """One event.

    ``answered`` is called once: with the status of the peer's answer, or with None when the
    association ended before it came.
    """

    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    information: bytes  # in the context's transfer syntax
    answered: Callable[[int | None], None]


class EventReports:
    """The events of one association."""

    def __init__(self, pdus: PduSocket, courtesy: float) -> None:
        """
        Args:
            courtesy: seconds that an event waits at least: many peers release their association as
                soon as they have their answer, and would read our message where they await another.
        """
        self._pdus = pdus
        self._courtesy = courtesy
        self._queue: deque[tuple[float, EventReport]] = deque()
        self._unanswered: EventReport | None = None  # one at a time (PS3.7 D.3.3.3)
        self._message_id = 0

    def add(self, report: EventReport) -> None:
        """Report this event when its time has come."""
        self._queue.append((time.monotonic() + self._courtesy, report))

    @property
    def next_in(self) -> float | None:
        """Seconds until the next event is due; None when nothing is to be sent."""
        if not self._queue or self._unanswered is not None:
            return None
        return max(0.0, self._queue[0][0] - time.monotonic())

    def send(self, peer_max_pdu: int, *, idle: bool) -> None:
        """Send the next event, if it may go now.

        Args:
            idle: nothing came from the peer until the event was due. A peer that is sending may not
                read before it has sent all, so what its socket might not take at once waits for this.
        """
        due_in = self.next_in
        if due_in is None or not (idle or due_in == 0):
            return
        report = self._queue[0][1]
        if not idle and len(report.information) > _SENT_AT_ONCE:
            return
        self._queue.popleft()
        self._unanswered = report
        self._message_id = self._message_id % 0xFFFF + 1
        command = dimse_command.encode_event_report(
            self._message_id, report.sop_class_uid, report.sop_instance_uid, report.event_type
        )
        self._pdus.send_message(report.context_id, command, peer_max_pdu, report.information)

    def hear(self, response: Command) -> None:
        """An answer of the peer; one to nothing that we asked is of no account."""
        report = self._unanswered
        if report is None or response.responds_to != self._message_id:
            return
        self._unanswered = None
        report.answered(response.status)

    def end(self) -> None:
        """The association is over: nothing will be answered any more."""
        left = [report for _, report in self._queue]
        if self._unanswered is not None:
            left.insert(0, self._unanswered)
        self._queue.clear()
        self._unanswered = None
        for report in left:
            report.answered(None)
