"""Storage commitment on associations of ours: ask a peer to commit, or report to one (PS3.4 J.3).

Enter: an open association and what it has stored, or a peer that asked us and what to tell it.
Leave: the peer's report, where it comes while we wait; None where it will come on an association of
the peer's own. The N-services are those of PS3.7 10.1.1 (N-EVENT-REPORT) and 10.1.4 (N-ACTION).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from channels.transport import command_set, commitment_data_set, dimse_status
from channels.transport.command_set import Elements
from channels.transport.commitment_data_set import PUSH_MODEL, PUSH_MODEL_INSTANCE, InvalidDataSet
from channels.transport.dimse_command import RESPONSE
from channels.transport.upper_layer import Association, Message, Peer, associate
from engine.errors import Refused, TryAgain
from engine.model import CommitmentReport

N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130

CONTEXTS = ((PUSH_MODEL, "1.2.840.10008.1.2.1"), (PUSH_MODEL, "1.2.840.10008.1.2"))
"""What an association must propose; either will do."""

_MESSAGE_ID = 0x7FFF  # no C-STORE of the same association comes to it before 32,000 instances
_UNRECOGNIZED_OPERATION = 0x0211
_REFUSED = frozenset({0x0112, 0x0117, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211, 0x0212})


def accepted(association: Association) -> tuple[int, str] | None:
    """Context id and transfer syntax for storage commitment; None when the peer does not take it."""
    for context in CONTEXTS:
        if context in association.accepted:
            return association.accepted[context], context[1]
    return None


async def request_commitment(
    association: Association,
    peer: Peer,
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    *,
    wait: float,
) -> CommitmentReport | None:
    """N-ACTION, then wait for the report on this association.

    Args:
        references: SOP Class UID and SOP Instance UID of each instance.
        wait: seconds that the report is waited for once the request was taken.

    Returns:
        The report on this transaction, or None when it did not come in time or the peer ended the
        association: it will come on another.

    Raises:
        TryAgain: no answer in ``peer.timeout`` seconds, or one that says not now.
        Refused: the peer answers that it never will.
    """
    context = accepted(association)
    assert context is not None, "ask only where the peer accepts it"
    context_id, syntax = context
    request = command_set.encode(
        {
            command_set.REQUESTED_SOP_CLASS_UID: PUSH_MODEL,
            command_set.COMMAND_FIELD: N_ACTION_RQ,
            command_set.MESSAGE_ID: _MESSAGE_ID,
            command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
            command_set.REQUESTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
            command_set.ACTION_TYPE_ID: commitment_data_set.REQUEST_STORAGE_COMMITMENT,
        }
    )
    data = await asyncio.to_thread(commitment_data_set.encode_request, transaction_uid, references, syntax)
    report: CommitmentReport | None = None
    try:
        async with asyncio.timeout(peer.timeout):
            await association.send(context_id, request, _once(data))
            while True:
                message = await association.receive_message(commitment_data_set.MAX_BYTES)
                elements = command_set.decode(message.command)
                if command_set.number(elements, command_set.COMMAND_FIELD) != N_EVENT_REPORT_RQ:
                    break
                # Some peers report before they answer the request itself.
                report = await _take_report(association, message, elements, transaction_uid) or report
    except TimeoutError as error:
        raise TryAgain(
            f"{peer} did not answer the storage commitment request within {peer.timeout:g} s",
            code="timeout",
        ) from error
    _check_answer(peer, elements)
    if report is None and wait > 0:
        report = await _await_report(association, transaction_uid, wait)
    return report


async def report_event(peer: Peer, report: CommitmentReport) -> None:
    """N-EVENT-REPORT on an association of ours, as the provider; returns when the peer has taken it.

    Raises:
        TryAgain: no association, no answer in ``peer.timeout`` seconds, or a failure.
        Refused: the peer rejects us, takes no reports, or does not know this transaction.
    """
    try:
        async with (
            asyncio.timeout(peer.timeout),
            associate(peer, CONTEXTS, roles=[PUSH_MODEL]) as association,
        ):
            context = accepted(association)
            if context is None:
                raise Refused(
                    f"{peer} does not accept storage commitment reports: it must be configured to take"
                    f" them from {peer.calling_ae_title}",
                    code="no context",
                )
            context_id, syntax = context
            event_type, data = await asyncio.to_thread(commitment_data_set.encode_report, report, syntax)
            command = command_set.encode(
                {
                    command_set.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
                    command_set.COMMAND_FIELD: N_EVENT_REPORT_RQ,
                    command_set.MESSAGE_ID: _MESSAGE_ID,
                    command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
                    command_set.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
                    command_set.EVENT_TYPE_ID: event_type,
                }
            )
            await association.send(context_id, command, _once(data))
            # the response may repeat the event type with an Event Reply (PS3.7 10.1.1.1.8)
            message = await association.receive_message(commitment_data_set.MAX_BYTES)
    except TimeoutError as error:
        raise TryAgain(
            f"{peer} did not take the storage commitment report within {peer.timeout:g} s", code="timeout"
        ) from error
    status = _status(peer, command_set.decode(message.command), N_EVENT_REPORT_RQ)
    if status != 0:
        words = f"{peer} answered the storage commitment report with {dimse_status.describe(status)}"
        raise (Refused if status in _REFUSED else TryAgain)(words, code=dimse_status.code(status))


def _check_answer(peer: Peer, elements: Elements) -> None:
    status = _status(peer, elements, N_ACTION_RQ)
    if status == 0:
        return
    words = f"{peer} answered the storage commitment request with {dimse_status.describe(status)}"
    if status in _REFUSED:
        raise Refused(
            f"{words}: enable storage commitment there for {peer.calling_ae_title},"
            " or set storage_commitment: false",
            code=dimse_status.code(status),
        )
    raise TryAgain(words, code=dimse_status.code(status))


def _status(peer: Peer, elements: Elements, request: int) -> int:
    status = command_set.number(elements, command_set.STATUS)
    if (
        command_set.number(elements, command_set.COMMAND_FIELD) != request | RESPONSE
        or command_set.number(elements, command_set.MESSAGE_ID_RESPONDED_TO) != _MESSAGE_ID
        or status is None
    ):
        raise TryAgain(f"{peer} answered another request than ours", code="protocol")
    return status


async def _await_report(
    association: Association, transaction_uid: str, wait: float
) -> CommitmentReport | None:
    """The report, if it comes here; that a peer hangs up or talks nonsense now costs only the wait."""
    try:
        async with asyncio.timeout(wait):
            while True:
                message = await association.receive_message(commitment_data_set.MAX_BYTES)
                elements = command_set.decode(message.command)
                report = await _take_report(association, message, elements, transaction_uid)
                if report is not None:
                    return report
    except (TimeoutError, TryAgain):
        return None


async def _take_report(
    association: Association, message: Message, elements: Elements, transaction_uid: str
) -> CommitmentReport | None:
    """Answer a request of the peer; the report when it is the one we wait for."""
    field = command_set.number(elements, command_set.COMMAND_FIELD) or 0
    if field & RESPONSE:
        return None
    report: CommitmentReport | None = None
    status = _UNRECOGNIZED_OPERATION
    if field == N_EVENT_REPORT_RQ:
        contexts = {number: syntax for (_, syntax), number in association.accepted.items()}
        syntax = contexts.get(message.context_id, "")
        event_type = command_set.number(elements, command_set.EVENT_TYPE_ID) or 0
        try:
            report = await asyncio.to_thread(
                commitment_data_set.decode_report, event_type, message.data_set, syntax
            )
            # A report on another transaction is not ours to keep here: it is refused for now, and the
            # peer brings it again, to our listener.
            status = 0 if report.transaction_uid == transaction_uid else 0x0110
        except InvalidDataSet as error:
            status = error.status
    answer: dict[int, int | str] = {
        command_set.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
        command_set.COMMAND_FIELD: field | RESPONSE,
        command_set.MESSAGE_ID_RESPONDED_TO: command_set.number(elements, command_set.MESSAGE_ID) or 0,
        command_set.DATA_SET_TYPE: command_set.NO_DATA_SET,
        command_set.STATUS: status,
        command_set.AFFECTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
    }
    await association.send(message.context_id, command_set.encode(answer))
    return report if status == 0 else None


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data
