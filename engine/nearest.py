"""The name that somebody probably meant.

Enter: a word and the names there are. Leaves: the nearest of them, or none. Pure. Of many names only those
are compared that share telling pairs of letters with the word: a table whose thousand sites are all
misspelt is answered in a moment, too.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterator, Sequence
from functools import lru_cache

FEW = 200  # names that are simply all compared
COMMON = 8  # a pair of letters that more than one of so many names has tells nothing
COMPARED = 30  # of many names, those that share most
ALIKE = 0.6  # ratio of `difflib` from which two words count as near


def nearest(word: str, names: Sequence[str]) -> str | None:
    """The nearest name, case included where that helps."""
    if len(names) > FEW:
        return _vocabulary(tuple(names)).nearest(word)
    return _closest(word, names)


def _closest(word: str, names: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(word, names, n=1, cutoff=ALIKE)
    if near:
        return near[0]
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=ALIKE)
    return folded[near[0]] if near else None


@lru_cache(maxsize=16)
def _vocabulary(names: tuple[str, ...]) -> _Vocabulary:
    return _Vocabulary(names)


class _Vocabulary:
    """Many names, found by the pairs of letters in them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._having: dict[str, list[str]] = {}
        for name in names:
            for pair in set(_pairs(name)):
                self._having.setdefault(pair, []).append(name)
        self._most = max(50, len(names) // COMMON)
        self._found: dict[str, str | None] = {}

    def nearest(self, word: str) -> str | None:
        if word not in self._found:
            self._found[word] = self._search(word)
        return self._found[word]

    def _search(self, word: str) -> str | None:
        shared: dict[str, float] = {}
        for pair in sorted(set(_pairs(word))):
            having = self._having.get(pair, ())
            if len(having) <= self._most:
                for name in having:  # a rare pair tells more
                    shared[name] = shared.get(name, 0.0) + 1 / (10 + len(having))
        return _closest(word, heapq.nlargest(COMPARED, shared, key=lambda name: shared[name]))


def _pairs(word: str) -> Iterator[str]:
    text = f"^{word.lower()}$"
    # Next to each other, and over one letter: so that a wrong letter spoils less.
    for index in range(len(text) - 1):
        yield text[index : index + 2]
    for index in range(len(text) - 2):
        yield f"{text[index]}.{text[index + 2]}"
