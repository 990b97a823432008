"""What a storage status says of an instance (PS3.4 B.2.3, PS3.7 C; PS3.18 I.2 uses the same codes).

Pure. Enters: a 16 bit status of a C-STORE response or a failure reason of a STOW-RS response.
Leaves: whether the instance is delivered, worth another try, or refused for good.
"""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What becomes of an instance after its answer."""

    DELIVERED = "delivered"
    WARNING = "delivered, with a warning to keep"
    TRY_AGAIN = "try again"
    REFUSED = "refused"


_WORDS = {
    0x0110: "processing failure",
    0x0111: "the peer holds this instance already",
    0x0117: "invalid SOP Instance UID",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
_RANGES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class", 0xC: "cannot understand"}
_REFUSED = frozenset({0x0117, 0x0122, 0x0124, 0x0211, 0x0212})


def verdict(status: int) -> Verdict:
    """Class of a status; one that the standard does not name counts as transient."""
    if status == 0x0000:
        return Verdict.DELIVERED
    if status == 0x0111 or status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116):
        return Verdict.WARNING
    if status in _REFUSED or status >> 8 == 0xA9 or status >> 12 == 0xC:
        return Verdict.REFUSED
    return Verdict.TRY_AGAIN


def code(status: int) -> str:
    """Four hexadecimal digits, as the standard prints them."""
    return f"{status:04X}"


def describe(status: int) -> str:
    """Code and meaning, for people."""
    words = _WORDS.get(status) or _RANGES.get(status >> 8) or _RANGES.get(status >> 12)
    return f"{code(status)} ({words})" if words else code(status)


def is_out_of_resources(status: int) -> bool:
    """A7xx: the peer can take nothing more, so sending on would only load it."""
    return status >> 8 == 0xA7
