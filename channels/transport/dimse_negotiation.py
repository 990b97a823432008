"""Read an association request, write the answer to it (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3).

Enter: the bytes of an A-ASSOCIATE-RQ, and which SOP classes are served. Leave: who calls whom,
the accepted presentation contexts, and the bytes of an A-ASSOCIATE-AC or -RJ. Pure. pynetdicom's
encoding is not used: it takes a third of a millisecond for each of up to 128 contexts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_DEFAULT_ROLES = (True, False)  # of the requestor: SCU, not SCP
_IMPLICIT = "1.2.840.10008.1.2"
_READ_HERE = (_IMPLICIT, "1.2.840.10008.1.2.1")
_ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED = 3, 4  # PS3.8 table 9-18
_ASSOCIATE_AC, _ASSOCIATE_RJ = 2, 3

# Items and sub-items (PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3)
_APPLICATION_CONTEXT_ITEM, _CONTEXT_RQ, _CONTEXT_AC = 0x10, 0x20, 0x21
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX, _USER_INFORMATION = 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _CLASS_UID, _ROLES, _VERSION_NAME = 0x51, 0x52, 0x54, 0x55
_FIXED = 74  # bytes before the first item
_ITEM = struct.Struct(">BxH")


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
        return struct.pack(">BxIx3B", _ASSOCIATE_RJ, 4, *self.value)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax_uid: str


class _Proposed(NamedTuple):
    """A presentation context as it is asked for."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: list[str]


class AssociationRequest:
    """A decoded A-ASSOCIATE-RQ; ValueError when the bytes are none."""

    def __init__(self, pdu: bytes) -> None:
        if len(pdu) < _FIXED:
            raise ValueError("a malformed association request: cut short")
        self._protocol_version = int.from_bytes(pdu[6:8], "big")
        self._fixed = pdu[8:_FIXED]  # goes into the answer as it came (PS3.8 table 9-17)
        self.called_ae_title, self.calling_ae_title = _ae_title(pdu[10:26]), _ae_title(pdu[26:42])
        self.max_pdu = 0
        self._application_context = ""
        self._proposed: list[_Proposed] = []
        self._roles: dict[str, tuple[bool, bool]] = {}
        for kind, content in _items(pdu[_FIXED:]):
            if kind == _APPLICATION_CONTEXT_ITEM:
                self._application_context = _uid(content)
            elif kind == _CONTEXT_RQ:
                self._proposed.append(_proposed(content))
            elif kind == _USER_INFORMATION:
                self._read_user_information(content)
        if not self._application_context:
            raise ValueError("a malformed association request: no application context")

    def _read_user_information(self, content: bytes) -> None:
        """Items that are not for us, such as a user identity, are passed over (PS3.8 9.3.1)."""
        for kind, value in _items(content):
            if kind == _MAXIMUM_LENGTH:
                if len(value) != 4:
                    raise ValueError("a malformed association request: a maximum length that is no number")
                self.max_pdu = int.from_bytes(value, "big")
            elif kind == _ROLES:
                end = 2 + int.from_bytes(value[:2], "big")
                if len(value) != end + 2:
                    raise ValueError("a malformed association request: a role past its end")
                self._roles[_uid(value[2:end])] = bool(value[end]), bool(value[end + 1])

    @property
    def unacceptable(self) -> Rejection | None:
        """What rules the request out, whoever sends it."""
        if not self._protocol_version & 1:
            return Rejection.PROTOCOL_VERSION
        if self._application_context != _APPLICATION_CONTEXT:
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
        answers = [_item(_APPLICATION_CONTEXT_ITEM, _APPLICATION_CONTEXT.encode())]
        for context_id, abstract_syntax, syntaxes in self._proposed:
            if abstract_syntax in normalized:
                syntaxes = [syntax for syntax in syntaxes if syntax in _READ_HERE]
            if not syntaxes:
                result = _TRANSFER_SYNTAXES_NOT_SUPPORTED
            elif is_served(abstract_syntax):
                result = 0
                contexts[context_id] = Context(abstract_syntax, syntaxes[0])
            else:
                result = _ABSTRACT_SYNTAX_NOT_SUPPORTED
            answered = _item(_TRANSFER_SYNTAX, (syntaxes[0] if syntaxes else _IMPLICIT).encode())
            answers.append(_item(_CONTEXT_AC, bytes((context_id, 0, result, 0)) + answered))
        answers.append(_item(_USER_INFORMATION, self._user_information(contexts, max_pdu, normalized)))
        items = b"".join(answers)
        length = 2 + len(self._fixed) + len(items)
        return contexts, struct.pack(">BxIH", _ASSOCIATE_AC, length, 1) + self._fixed + items

    def _user_information(
        self, contexts: dict[int, Context], max_pdu: int, normalized: Collection[str]
    ) -> bytes:
        items = [
            _item(_MAXIMUM_LENGTH, max_pdu.to_bytes(4, "big")),
            _item(_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode()),
        ]
        accepted = {context.abstract_syntax for context in contexts.values()}
        for uid, proposed in self._roles.items():
            # For storage the peer is SCU here, whatever else it could be (PS3.7 D.3.3.4).
            granted = proposed if uid in normalized else _DEFAULT_ROLES
            if uid in accepted and any(granted):
                name = uid.encode()
                items.append(_item(_ROLES, len(name).to_bytes(2, "big") + name + bytes(granted)))
        items.append(_item(_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode()))
        return b"".join(items)


def _proposed(content: bytes) -> _Proposed:
    if len(content) < 4 or not content[0] & 1:
        raise ValueError("a malformed association request: a presentation context without an odd id")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, value in _items(content[4:]):
        if kind == _ABSTRACT_SYNTAX:
            abstract_syntax = _uid(value)
        elif kind == _TRANSFER_SYNTAX and (uid := _uid(value)):
            transfer_syntaxes.append(uid)
    return _Proposed(content[0], abstract_syntax, transfer_syntaxes)


def _ae_title(raw: bytes) -> str:
    """Default repertoire without backslash and control characters, spaces around it aside (PS3.5 6.2)."""
    title = raw.decode("ascii", "replace").strip(" ")
    if not title or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError("an AE title that is empty or not ASCII")
    return title


def _uid(raw: bytes) -> str:
    """Some pad it, though PS3.8 F does not; what else is wrong with a UID, nothing here depends on."""
    uid = raw.decode("ascii", "replace").strip(" \0")
    if len(uid) > 64 or not (uid.isascii() and uid.isprintable()):
        raise ValueError("a malformed association request: a UID that is none")
    return uid


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Item type and value of each item (PS3.8 9.3.2)."""
    start, end = 0, len(data)
    while start < end:
        value = start + _ITEM.size
        if value > end:
            raise ValueError("a malformed association request: an item past its end")
        kind, length = _ITEM.unpack_from(data, start)
        start = value + length
        if start > end:
            raise ValueError("a malformed association request: an item past its end")
        yield kind, data[value:start]
