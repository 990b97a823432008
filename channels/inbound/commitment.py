"""Storage commitment on associations that peers open (PS3.4 J.3).

Enter: the N-ACTION of a site that asks whether its instances are safe, the N-EVENT-REPORT of a peer
that we have asked. Leave: both in the engine's desk, answered only when they are durable there; and
the report, on the association that asked, while the requester keeps it open.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar

from channels.inbound.commitment_reports import CommitmentReports
from channels.transport import commitment_data_set, dimse_command
from channels.transport.commitment_data_set import PUSH_MODEL, PUSH_MODEL_INSTANCE, InvalidDataSet
from channels.transport.dimse_command import Command
from channels.transport.dimse_event_report import EventReport
from channels.transport.dimse_negotiation import Context
from channels.transport.dimse_scp import Association, Status
from engine.channel import CommitmentDesk, CommitmentRequest
from engine.errors import Busy, DatabaseUnavailable

logger = logging.getLogger("pons.commitment")

PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.18 and others, as 10.1.1.1.8 and 10.1.4.1.10 list them
NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_SOP_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213

_HOLD = 10.0  # seconds in which the association that asked claims its report, before it is anybody's

T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine on the engine's loop and waits for it, from the thread of an association."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """CancelledError when the engine does not wait any more."""
        ...


class Commitment:
    """The N-services of one listener; called from the threads of its associations."""

    def __init__(self, inbound: str, desk: CommitmentDesk, reports: CommitmentReports, run: Run) -> None:
        self._inbound = inbound
        self._desk = desk
        self._reports = reports
        self._run = run
        self._reading = threading.Lock()  # a long list takes a hundred times its bytes while it is read

    def perform(
        self,
        association: Association,
        site: str,
        context_id: int,
        context: Context,
        command: Command,
        data: bytes,
    ) -> Status:
        """One N-ACTION-RQ or N-EVENT-REPORT-RQ of a peer of this site."""
        if command.sop_class_uid != PUSH_MODEL:
            return Status(NO_SUCH_SOP_CLASS, "SOP class is not that of the presentation context")
        if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
            return Status(NO_SUCH_SOP_INSTANCE, "not the Storage Commitment Push Model SOP Instance")
        try:
            if command.field == dimse_command.N_ACTION_RQ:
                return self._asked(association, site, context_id, context, command, data)
            return self._told(association, site, context, command, data)
        except InvalidDataSet as error:
            return Status(error.status, str(error))
        except (Busy, DatabaseUnavailable) as error:
            return Status(RESOURCE_LIMITATION, str(error))
        except CancelledError:
            return Status(RESOURCE_LIMITATION, "the engine is shutting down")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            facts = {"inbound": self._inbound, "error": type(error).__name__}
            logger.error(
                "defect: storage commitment",
                extra={"pons": {**facts, "where": f"{where.filename}:{where.lineno}"}},
            )
            return Status(PROCESSING_FAILURE, "internal error, see the engine's log")

    def _asked(
        self,
        association: Association,
        site: str,
        context_id: int,
        context: Context,
        command: Command,
        data: bytes,
    ) -> Status:
        if command.type_id != commitment_data_set.REQUEST_STORAGE_COMMITMENT:
            return Status(NO_SUCH_ACTION, "only action type 1, Request Storage Commitment")
        with self._reading:
            uid, references = commitment_data_set.decode_request(data, context.transfer_syntax_uid)
        here = self._reports.goes_on_its_own_association(site, association.calling_ae_title)
        request = CommitmentRequest(
            site=site,
            inbound=self._inbound,
            calling_ae_title=association.calling_ae_title,
            called_ae_title=association.called_ae_title,
            transaction_uid=uid,
            references=references,
        )
        self._run(self._desk.requested(request, hold=_HOLD if here else 0.0))
        if not here:
            return Status(0x0000, then=self._reports.wake)
        return Status(0x0000, then=lambda: self._report_here(association, site, context_id, context, uid))

    def _report_here(
        self, association: Association, site: str, context_id: int, context: Context, transaction_uid: str
    ) -> None:
        """After the answer: the report on the association that asked."""
        try:
            owed = self._run(self._desk.claim(site, transaction_uid))
        except (DatabaseUnavailable, CancelledError):
            return  # it comes due by itself
        if owed is None:
            return
        event_type, information = commitment_data_set.encode_report(owed.report, context.transfer_syntax_uid)
        association.reports.add(
            EventReport(
                context_id,
                PUSH_MODEL,
                PUSH_MODEL_INSTANCE,
                event_type,
                information,
                answered=lambda status: self._reports.answered(owed, status),
            )
        )

    def _told(
        self, association: Association, site: str, context: Context, command: Command, data: bytes
    ) -> Status:
        with self._reading:
            report = commitment_data_set.decode_report(command.type_id, data, context.transfer_syntax_uid)
        if self._run(self._desk.reported(site, report)):
            return Status(0x0000)
        logger.warning(
            "storage commitment report on no transaction of ours",
            extra={
                "pons": {
                    "inbound": self._inbound,
                    "site": site,
                    "calling_ae_title": association.calling_ae_title,
                    "transaction_uid": report.transaction_uid,
                }
            },
        )
        return Status(INVALID_ARGUMENT_VALUE, "no such transaction")
