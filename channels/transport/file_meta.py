"""File meta information (PS3.10 7.1): the head of a Part 10 file, written and read.

Enter: what an association knows of an instance, or the first bytes of a file. Leave: preamble,
`DICM` and group 2 in explicit VR little endian, or the UIDs that such a head announces.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_START = b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 2, 0, b"UL", 4)  # its value is the length of the rest
HEAD = 4096  # bytes; file meta without private information is far shorter


def encode_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_ae_title: str,
    called_ae_title: str,
) -> bytes:
    """What stands before a data set received by C-STORE to make it a file."""
    before = _before(sop_class_uid)
    instance = _element(0x0003, b"UI", sop_instance_uid, b"\0")
    after = _after(transfer_syntax_uid, calling_ae_title, called_ae_title)
    length = len(before) + len(instance) + len(after)
    return b"".join((_START, length.to_bytes(4, "little"), before, instance, after))


# What stands before and after the instance's UID is the same for most that an association carries.


@lru_cache(maxsize=256)
def _before(sop_class_uid: str) -> bytes:
    version = struct.pack("<HH2s2xI", 0x0002, 0x0001, b"OB", 2) + b"\x00\x01"
    return version + _element(0x0002, b"UI", sop_class_uid, b"\0")


@lru_cache(maxsize=256)
def _after(transfer_syntax_uid: str, calling_ae_title: str, called_ae_title: str) -> bytes:
    return b"".join(
        (
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
            _element(0x0016, b"AE", calling_ae_title, b" "),
            _element(0x0017, b"AE", calling_ae_title, b" "),
            _element(0x0018, b"AE", called_ae_title, b" "),
        )
    )


def _element(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def announced_uids(head: bytes) -> tuple[str, str]:
    """SOP Class and SOP Instance UID as the file meta names them; empty where it does not.

    Args:
        head: the first bytes of a file, up to `HEAD`; whatever they are, nothing is raised.
    """
    found = {0x0002: "", 0x0003: ""}
    offset = 132
    while head[128:132] == b"DICM" and offset + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, offset)
        offset += 8
        if group != 2:
            break
        if vr in (b"OB", b"UN", b"OW", b"SQ", b"UT"):
            if offset + 4 > len(head):
                break
            (length,) = struct.unpack_from("<I", head, offset)
            offset += 4
        if element in found:
            found[element] = _plain_uid(head[offset : offset + length])
        offset += length
    return found[0x0002], found[0x0003]


def _plain_uid(raw: bytes) -> str:
    text = raw.strip(b" \0")
    if 0 < len(text) <= 64 and not text.strip(b"0123456789."):
        return text.decode("ascii")
    return ""
