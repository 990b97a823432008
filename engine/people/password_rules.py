"""What a password must be: long, and not what others have tried first (NIST SP 800-63B 5.1.1.2). Pure.

Enter: a password, whose it is to be. Leaves: the password, normalised; or SignInRefused(WEAK) that says why.
No rules of composition, no change by the calendar: those make passwords that people write down.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from importlib.resources import files

from engine.person import SignInRefused, SignInRefusedReason

LONGEST = 256  # bytes: a hash takes as long as its input
_LOOKS_LIKE = str.maketrans("@4301!$5|7", "aaeoiissit")
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "azertyuiop",
)


def normalised(password: str) -> str:
    """As it is hashed: the same characters, however a keyboard composes them (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def too_long(password: str) -> bool:
    """Whether it is longer than any password that is taken."""
    return len(password) > LONGEST or len(normalised(password).encode("utf-8", "replace")) > LONGEST


def checked(password: str, username: str, fewest: int) -> str:
    """A password that may be chosen, normalised.

    Raises:
        SignInRefused: WEAK; the message says why, and repeats nothing of it.
    """
    if too_long(password):
        raise _weak(f"the password is longer than {LONGEST} bytes: choose a shorter one")
    chosen = normalised(password)
    if len(chosen) < fewest:
        raise _weak(
            f"the password has fewer than {fewest} characters: choose a longer one, for example four words"
        )
    if any(unicodedata.category(one) == "Cc" for one in chosen):
        raise _weak("the password has control characters: choose one that can be typed")
    bare = chosen.casefold()
    for name in (username, username.partition("@")[0]):
        if len(name) >= 4 and name.casefold() in bare:
            raise _weak("the password holds the username: choose one that does not")
    if _is_common(bare):
        raise _weak(
            "the password is one of those that are tried first: choose another, for example four words"
        )
    return chosen


def _is_common(bare: str) -> bool:
    """Whether it is a common one: as it is, disguised, lengthened by figures, or repeated."""
    if len(set(bare)) < 5 or _is_run(bare):
        return True
    words, ended = _common(), re.sub(r"[\W\d_]+$", "", bare)
    forms = {bare, ended, re.sub(r"^[\W\d_]+", "", ended)}
    for form in forms | {one.translate(_LOOKS_LIKE) for one in forms}:
        letters = re.sub(r"[\W\d_]+", "", form)
        if len(_repeated(form)) < len(form) or form in words or (len(letters) >= 4 and letters in words):
            return True
    return not re.sub(r"[\W\d_]+", "", bare)  # figures and signs alone


def _repeated(text: str) -> str:
    """The shortest beginning that, repeated, is all of it."""
    period = (text + text).find(text, 1)
    return text[:period] if 0 < period < len(text) else text


def _is_run(text: str) -> bool:
    """Whether it is cut from a row of the alphabet, the figures or a keyboard, either way round."""
    pieces = re.findall(r"[^\W_]+", text)
    rows = [row * 4 for row in _ROWS] + [(row * 4)[::-1] for row in _ROWS]
    return bool(pieces) and all(_of_rows(piece, rows) for piece in pieces)


def _of_rows(piece: str, rows: list[str]) -> bool:
    """Whether a text is at most three stretches of rows."""
    for _ in range(3):
        longest = max((_shared(piece, row) for row in rows), default=0)
        if longest < 3:
            return False
        piece = piece[longest:]
        if not piece:
            return True
    return False


def _shared(piece: str, row: str) -> int:
    """How much of the beginning of a text stands in a row."""
    length = len(piece)
    while length and piece[:length] not in row:
        length -= 1
    return length


@functools.cache
def _common() -> frozenset[str]:
    text = files("engine.people").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _weak(message: str) -> SignInRefused:
    return SignInRefused(SignInRefusedReason.WEAK, message)
