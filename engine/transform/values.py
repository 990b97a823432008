"""Values made from values: pseudonyms, shifted dates.

Pure. Enter: one value as text, a key or a number of days. Leave: the new value, legal for its value
representation (PS3.5 6.2), or empty where there is none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})\.(\d{2})\.(\d{2})")  # the second: ACR-NEMA 300, PS3.5 6.2
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d*(?:\.\d{1,6})?(?:[+-]\d{4})?)")


def pseudonym(value: str, key: bytes) -> str:
    """Sixteen letters and digits that stand for a value, the same under the same key; empty stays empty.

    80 bits of HMAC-SHA-256 (RFC 2104) in base 32: legal in every textual representation, AE, CS and SH
    with their 16 characters included, and the same for one value in whichever attribute it stands.
    """
    if not value:
        return ""
    digest = hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return base64.b32encode(digest[:10]).decode("ascii")


def days_of(patient: str, key: bytes, within: int) -> int:
    """By how many days the dates of a patient move: back, by 1 to ``within``."""
    digest = hmac.new(key, b"days\0" + patient.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return -(1 + int.from_bytes(digest[:8], "big") % within)


def shifted_date(value: str, days: int) -> str:
    """A DA moved by some days; what is no date becomes empty, as it cannot be moved and may not stay."""
    match = _DA.fullmatch(value)
    if not match:
        return ""
    year, month, day = match.groups()[:3] if match[1] else match.groups()[3:]
    moved = _moved(int(year), int(month), int(day), days)
    return moved.strftime("%Y%m%d").zfill(8) if moved else ""


def shifted_moment(value: str, days: int) -> str:
    """A DT moved by some days, as exact as it was; time of day and offset stay.

    Of a year, or a year and a month, the first day moves: what it falls into is the new value.
    """
    match = _DT.fullmatch(value)
    if not match or (match[4] and match[4][0].isdigit() and not match[3]):
        return ""
    moved = _moved(int(match[1]), int(match[2] or 1), int(match[3] or 1), days)
    if moved is None:
        return ""
    length = 8 if match[3] else 6 if match[2] else 4
    return moved.strftime("%Y%m%d").zfill(8)[:length] + match[4]


def _moved(year: int, month: int, day: int, days: int) -> date | None:
    try:
        return date(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
