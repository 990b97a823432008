"""A PACS on pynetdicom that stores, and commits as it is told (PS3.4 J.3).

Its report comes on the association it was asked on, or on one of its own when it knows where to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dsutils import decode
from pynetdicom.transport import ThreadedAssociationServer

from tests.contract.scp import STORAGE, VERIFICATION

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass(frozen=True)
class Asked:
    """One N-ACTION request."""

    transaction_uid: str
    references: list[tuple[str, str]]
    association: int  # the number of the one it came on


class CommitmentScp:
    """``plan`` says what becomes of each request, in order; after it *commit*.

    *commit* reports success; *deny UID* reports 0112 for an instance and success for the others,
    *deny* for all; *silent* never reports; *late* reports when `report_late` is called; four
    hexadecimal digits answer the N-ACTION with that status; *abort* aborts instead of answering it.
    """

    def __init__(
        self,
        plan: Sequence[str] = (),
        *,
        report_to: tuple[str, int] | None = None,
        commits: bool = True,
        stores: bool = True,
        apart: bool = False,
        port: int = 0,
    ) -> None:
        """
        Args:
            report_to: AE title and port to report to on a new association; else on the same one.
            commits: whether storage commitment is accepted at all.
            apart: commitment only on associations that propose nothing else.
        """
        self.stored: list[str] = []  # in the order they came, repetitions too
        self.asked: list[Asked] = []
        self.answers: list[int] = []  # the statuses that our reports were answered with
        self.reported = threading.Semaphore(0)
        self.associations = 0
        self.plan = list(plan)
        self._report_to = report_to
        self._numbers: dict[int, int] = {}
        self._due: dict[str, tuple[Dataset, int]] = {}
        self._threads: list[threading.Thread] = []
        self._apart = apart
        entity = AE("PEER")
        entity.add_supported_context(VERIFICATION)
        for sop_class in STORAGE if stores else ():
            entity.add_supported_context(sop_class)
        if commits:
            entity.add_supported_context(PUSH_MODEL)
        self._server = entity.make_server(
            ("127.0.0.1", port),
            server_class=ThreadedAssociationServer,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self._action),
                (evt.EVT_DIMSE_SENT, self._sent),
            ],
        )
        entity._servers.append(self._server)  # where its shutdown looks for itself
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        for thread in self._threads:
            thread.join(10)

    def wait_reported(self) -> None:
        """Until one more report was answered."""
        assert self.reported.acquire(timeout=30), "no report was answered"

    def report_late(self) -> None:
        """Send the report of the oldest request that is *late*, on a new association."""
        for data_set, event_type in list(self._due.values()):
            self._report_anew(data_set, event_type)

    def _requested(self, event: evt.Event) -> None:
        self.associations += 1
        self._numbers[id(event.assoc)] = self.associations
        proposed = [context.abstract_syntax for context in event.assoc.requestor.requested_contexts]
        if self._apart and any(uid != PUSH_MODEL for uid in proposed):
            event.assoc.acceptor.supported_contexts = [
                context
                for context in event.assoc.acceptor.supported_contexts
                if context.abstract_syntax != PUSH_MODEL
            ]

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def _action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        information = decode(
            event.request.ActionInformation,
            event.context.transfer_syntax.is_implicit_VR,
            event.context.transfer_syntax.is_little_endian,
        )
        references = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        ]
        transaction_uid = str(information.TransactionUID)
        self.asked.append(Asked(transaction_uid, references, self._numbers[id(event.assoc)]))
        what, _, uid = (self.plan.pop(0) if self.plan else "commit").partition(" ")
        if what == "abort":
            event.assoc.abort()
            return 0, None
        if what not in ("commit", "deny", "silent", "late"):
            return int(what, 16), None
        report, event_type = self._report(transaction_uid, references, what, uid)
        if what == "late":
            self._due[transaction_uid] = report, event_type
        elif what != "silent" and self._report_to:
            self._start(self._report_anew, report, event_type)
        elif what != "silent":
            event.assoc.report_due = report, event_type
        return 0, None

    def _report(
        self, transaction_uid: str, references: list[tuple[str, str]], what: str, denied: str
    ) -> tuple[Dataset, int]:
        report = Dataset()
        report.TransactionUID = transaction_uid
        committed, failed = [], []
        for sop_class_uid, sop_instance_uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
            if what == "deny" and denied in ("", sop_instance_uid):
                item.FailureReason = 0x0112
                failed.append(item)
            else:
                committed.append(item)
        if committed:
            report.ReferencedSOPSequence = committed
        if failed:
            report.FailedSOPSequence = failed
        return report, 2 if failed else 1

    def _sent(self, event: evt.Event) -> None:
        due = getattr(event.assoc, "report_due", None)
        if due is not None and type(event.message).__name__ == "N_ACTION_RSP":
            del event.assoc.report_due
            self._start(self._report_here, event.assoc, *due)

    def _start(self, send: object, *arguments: object) -> None:
        thread = threading.Thread(target=send, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _report_here(self, association: evt.Association, report: Dataset, event_type: int) -> None:
        self._send(association, report, event_type)

    def _report_anew(self, report: Dataset, event_type: int) -> None:
        assert self._report_to is not None
        title, port = self._report_to
        entity = AE("PEER")
        entity.add_requested_context(PUSH_MODEL)
        association = entity.associate(
            "127.0.0.1", port, ae_title=title, ext_neg=[build_role(PUSH_MODEL, scp_role=True)]
        )
        if not association.is_established:
            self.answers.append(-1)
            self.reported.release()
            return
        self._send(association, report, event_type)
        association.release()

    def _send(self, association: evt.Association, report: Dataset, event_type: int) -> None:
        status, _ = association.send_n_event_report(report, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        self.answers.append(int(status.Status) if "Status" in status else -1)
        self.reported.release()


@contextmanager
def committing(scp: CommitmentScp) -> Iterator[CommitmentScp]:
    """Stop it, whatever happens."""
    try:
        yield scp
    finally:
        scp.stop()
