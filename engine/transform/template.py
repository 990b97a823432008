"""Values that are made of others: `set: {AccessionNumber: "STM-{AccessionNumber}"}`.

Enters: a value as a table writes it. Leave: its pieces, literal text and names in braces (`{{` and `}}`
are braces), or the text that it makes of a data set. There is no other syntax, and nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class Piece(NamedTuple):
    """Literal text, or the name of an attribute."""

    text: str
    is_name: bool = False


def pieces_of(value: str) -> tuple[Piece, ...]:
    """The pieces of a value; ValueError when a brace has no partner."""
    pieces = []
    for found in _PIECE.finditer(value):
        piece = found[0]
        if piece in ("{{", "}}"):
            pieces.append(Piece(piece[0]))
        elif piece in ("{", "}"):
            raise ValueError(f"a brace has no partner; a literal one is written {piece * 2}")
        elif piece.startswith("{"):
            pieces.append(Piece(found[1].strip(), is_name=True))
        else:
            pieces.append(Piece(piece))
    return tuple(pieces)


def filled(value: str, first: Callable[[str], str]) -> str | None:
    """The text that a value makes; None where an attribute that it names has no value.

    Args:
        first: gives the first value of an attribute by its name, empty where there is none.
    """
    made = [(first(piece.text) if piece.is_name else piece.text) for piece in pieces_of(value)]
    return "".join(made) if all(made) else None
