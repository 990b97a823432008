"""What a requestor says to open an association, and what it is answered (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3.3).

Pure. Enter: titles, presentation contexts, roles and a window to propose, or the body of an answer. Leave:
the bytes of an A-ASSOCIATE-RQ, or what was agreed, or why not. pynetdicom encodes and decodes the PDUs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

MAX_CONTEXTS = 128  # context ids are the odd numbers 1 to 255 (PS3.8 9.3.2.2)

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_REMEMBERED = 64  # requests and answers: a destination has the same again and again, and they take 2 ms
_OUR_MAX_PDU = 16382  # what we ask of the peer; it only ever sends short responses

_REJECT_REASONS = {  # PS3.8 table 9-21: (source, reason)
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an A-ASSOCIATE-AC grants."""

    transfer_syntaxes: dict[int, str]  # of each accepted context
    longest: int  # PDU that the peer takes, 0 for any
    denied: frozenset[str]  # SOP Classes of which we may not be the provider
    window: int  # requests that may be under way at once


@dataclass(frozen=True, slots=True)
class Rejection:
    """What an A-ASSOCIATE-RJ says."""

    code: str
    why: str
    is_permanent: bool


@lru_cache(maxsize=_REMEMBERED)
def encode_request(
    calling_ae_title: str,
    called_ae_title: str,
    contexts: tuple[tuple[str, str], ...],
    roles: tuple[str, ...],
    window: int,
) -> bytes:
    """A-ASSOCIATE-RQ.

    Args:
        contexts: abstract and transfer syntax of each, numbered 1, 3, 5 … in this order.
        roles: SOP Classes of which we want to be the provider.
        window: requests that we would have under way at once; 1 proposes nothing, as that is the default.
    """
    from pydicom.uid import UID
    from pynetdicom import build_context  # late: it takes 200 ms
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import (
        A_ASSOCIATE,
        AsynchronousOperationsWindowNegotiation,
        ImplementationClassUIDNotification,
        ImplementationVersionNameNotification,
        MaximumLengthNotification,
        SCP_SCU_RoleSelectionNegotiation,
    )

    if not 0 < len(contexts) <= MAX_CONTEXTS:
        raise ValueError(f"{len(contexts)} presentation contexts do not fit one association")
    request = A_ASSOCIATE()
    request.application_context_name = UID(_APPLICATION_CONTEXT)
    request.calling_ae_title = calling_ae_title
    request.called_ae_title = called_ae_title
    definitions = []
    for number, (abstract_syntax, transfer_syntax) in zip(range(1, 256, 2), contexts, strict=False):
        context = build_context(abstract_syntax, transfer_syntax)
        context.context_id = number
        definitions.append(context)
    request.presentation_context_definition_list = definitions
    longest, implementation, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    longest.maximum_length_received = _OUR_MAX_PDU
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request.user_information = [longest, implementation, version]
    if window > 1:
        operations = AsynchronousOperationsWindowNegotiation()
        operations.maximum_number_operations_invoked = window
        operations.maximum_number_operations_performed = 1
        request.user_information.append(operations)
    for sop_class_uid in roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = UID(sop_class_uid), False, True
        request.user_information.append(role)
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


@lru_cache(maxsize=_REMEMBERED)
def decode_accept(body: bytes, window: int) -> Agreement:
    """What the body of an A-ASSOCIATE-AC grants; ValueError when it cannot be read.

    Args:
        window: the one that was proposed.
    """
    from pynetdicom.pdu import A_ASSOCIATE_AC  # late: it takes 200 ms

    pdu = A_ASSOCIATE_AC()
    try:
        pdu.decode(struct.pack(">BBL", 2, 0, len(body)) + body)
        results = {
            number: str(item.transfer_syntax)
            for item in pdu.presentation_context
            if (number := item.presentation_context_id) is not None and item.result_reason == 0
        }
        told = pdu.user_information
        longest = told.maximum_length if told else 0
        # No answer to our proposal leaves the default roles; many peers forget it and mean yes.
        denied = frozenset(
            str(uid) for uid, role in (told.role_selection if told else {}).items() if not role.scp_role
        )
        # No answer to the window means one request at a time (PS3.7 D.3.3.3); 0 is any number.
        operations = told.async_ops_window if told else None
        granted = operations.maximum_number_operations_invoked if operations else 1
    except Exception as error:  # whatever a codec makes of hostile bytes is the peer's fault
        raise ValueError("an A-ASSOCIATE-AC PDU that cannot be read") from error
    return Agreement(results, longest or 0, denied, min(granted or window, window))


def decode_rejection(body: bytes) -> Rejection:
    """What the body of an A-ASSOCIATE-RJ says; ValueError when it is malformed."""
    if len(body) != 4:
        raise ValueError("a malformed A-ASSOCIATE-RJ PDU")
    _, result, source, reason = body
    why = _REJECT_REASONS.get((source, reason), f"reason {reason}")
    return Rejection(f"rejected {result}/{source}/{reason}", why, is_permanent=result != 2)
