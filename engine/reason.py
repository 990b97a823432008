"""Why a person does something, as it is kept on the audit trail: one line of his words. Pure."""

from __future__ import annotations

from engine.errors import PonsError

LONGEST = 500  # characters


def checked_reason(reason: str) -> str:
    """The reason as it is kept: one line of printable text; PonsError when it is none."""
    words = " ".join(reason.split())
    if not words or len(words) > LONGEST or not words.isprintable():
        raise PonsError(f"the reason must be one line of 1 to {LONGEST} printable characters")
    return words
