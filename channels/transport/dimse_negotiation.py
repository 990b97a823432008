"""Read an association request, write the answer to it (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3).

Enter: the bytes of an A-ASSOCIATE-RQ, and which SOP classes are served. Leave: who calls whom,
the accepted presentation contexts, and the bytes of an A-ASSOCIATE-AC or -RJ. Pure; pynetdicom
encodes and decodes the PDUs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_DEFAULT_ROLES = (True, False)  # of the requestor: SCU, not SCP
_READ_HERE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED = 3, 4  # PS3.8 table 9-18


class Rejection(Enum):
    """Why an association is refused: result, source, reason (PS3.8 table 9-21)."""

    NO_REASON = (1, 1, 1)
    APPLICATION_CONTEXT = (1, 1, 2)
    CALLING_AE_TITLE = (1, 1, 3)
    CALLED_AE_TITLE = (1, 1, 7)
    PROTOCOL_VERSION = (1, 2, 2)
    LOCAL_LIMIT = (2, 3, 2)

    def encode(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        pdu = A_ASSOCIATE_RJ()
        pdu.result, pdu.source, pdu.reason_diagnostic = self.value
        return pdu.encode()


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax_uid: str


class AssociationRequest:
    """A decoded A-ASSOCIATE-RQ; ValueError when the bytes are none."""

    def __init__(self, pdu: bytes) -> None:
        _check(pdu)
        self._pdu = A_ASSOCIATE_RQ()
        try:
            self._pdu.decode(pdu)
            self.calling_ae_title = self._pdu.calling_ae_title.strip()
            self.called_ae_title = self._pdu.called_ae_title.strip()
            self._proposed = [item.to_primitive() for item in self._pdu.presentation_context]
            information = self._pdu.user_information
            self.max_pdu = (information.maximum_length or 0) if information else 0
            self._roles = {
                str(uid): (bool(role.scu_role), bool(role.scp_role))
                for uid, role in (information.role_selection if information else {}).items()
            }
        except Exception as error:  # pynetdicom raises whatever its parsing stumbles over
            raise ValueError("a malformed association request") from error

    @property
    def unacceptable(self) -> Rejection | None:
        """What rules the request out, whoever sends it."""
        if not self._pdu.protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if self._pdu.application_context_name != _APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        return None

    def accept(
        self, is_served: Callable[[str], bool], max_pdu: int, normalized: Collection[str] = ()
    ) -> tuple[dict[int, Context], bytes]:
        """The accepted contexts by id, and the A-ASSOCIATE-AC PDU.

        A context for storage is taken as proposed, with the first transfer syntax that the sender
        names: nothing is decoded here, so whatever it prefers is right.

        Args:
            normalized: served SOP classes whose data sets are read here, so that only the two
                transfer syntaxes of little endian will do, and where the peer may have either role.
        """
        contexts: dict[int, Context] = {}
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(_APPLICATION_CONTEXT)
        answer.calling_ae_title = self._pdu.calling_ae_title
        answer.called_ae_title = self._pdu.called_ae_title
        answer.result, answer.result_source = 0, 1
        for proposed in self._proposed:
            result = PresentationContext()
            context_id = proposed.context_id or 0
            result.context_id = context_id
            abstract_syntax, syntaxes = str(proposed.abstract_syntax or ""), proposed.transfer_syntax
            if abstract_syntax in normalized:
                syntaxes = [syntax for syntax in syntaxes if syntax in _READ_HERE]
            result.transfer_syntax = list(syntaxes[:1]) or [UID("1.2.840.10008.1.2")]
            if not syntaxes:
                result.result = _TRANSFER_SYNTAXES_NOT_SUPPORTED
            elif is_served(abstract_syntax):
                result.result = 0
                contexts[context_id] = Context(abstract_syntax, str(syntaxes[0]))
            else:
                result.result = _ABSTRACT_SYNTAX_NOT_SUPPORTED
            answer.presentation_context_definition_results_list.append(result)
        length = MaximumLengthNotification()
        length.maximum_length_received = max_pdu
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        answer.user_information = [length, implementation, version]
        accepted = {context.abstract_syntax for context in contexts.values()}
        for uid, proposed_roles in self._roles.items():
            # For storage the peer is SCU here, whatever else it could be (PS3.7 D.3.3.4).
            granted = proposed_roles if uid in normalized else _DEFAULT_ROLES
            if uid in accepted and any(granted):
                role = SCP_SCU_RoleSelectionNegotiation()
                role.sop_class_uid = UID(uid)
                role.scu_role, role.scp_role = granted
                answer.user_information.append(role)
        return contexts, A_ASSOCIATE_AC(answer).encode()


def _check(pdu: bytes) -> None:
    """Lengths and characters of a request: pynetdicom cuts a wrong length and logs a wrong character."""
    if not pdu[10:42].isascii():
        raise ValueError("an AE title that is not ASCII")
    for kind, value in _items(pdu[74:]):
        is_context = kind == 0x20
        names = [name for _, name in _items(value[4:])] if is_context else [value]
        if kind in (0x10, 0x20) and not all(name.isascii() for name in names):
            raise ValueError("a malformed association request: a UID that is not ASCII")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Item type and value of each item (PS3.8 9.3.2)."""
    while data:
        length = int.from_bytes(data[2:4], "big")
        if len(data) < 4 + length:
            raise ValueError("a malformed association request: an item past its end")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]
