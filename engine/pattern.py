"""Regular expressions whose time is linear in the text, whatever the pattern.

Enter: a pattern in Python's syntax and a value from a study. Leaves: whether it matches anywhere.

Python's own matcher backtracks: `(a+)+$` on forty letters takes hours, and values come from
outside. Here the pattern, parsed by Python's parser, becomes an automaton (Thompson 1968) that
looks at each character once, with the steps it has taken before remembered. What no automaton can
do is refused: backreferences, lookaround, atomic groups and possessive repeats.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_PATTERN = 256  # characters
MAX_TEXT = 4096  # characters of a value that are looked at
MAX_STATES = 1000  # states after bounded repeats are written out
MAX_REMEMBERED = 500  # steps remembered per state, and states remembered per pattern

# Python's parser and compiler of patterns; private names, the same since 3.11.
_parser: Any = importlib.import_module("re._parser")
_compiler: Any = importlib.import_module("re._compiler")

_REFUSED = {
    "GROUPREF": ("a backreference", r"\\[1-9]|\(\?P="),
    "GROUPREF_EXISTS": ("a conditional group", r"\(\?\("),
    "ASSERT": ("lookahead or lookbehind", r"\(\?<?="),
    "ASSERT_NOT": ("lookahead or lookbehind", r"\(\?<?!"),
    "ATOMIC_GROUP": ("an atomic group", r"\(\?>"),
    "POSSESSIVE_REPEAT": ("a possessive repeat", r"[*+?}]\+"),
}

_MATCH = 0
_TESTS: dict[str, Callable[[str], Any]] = {}
MAX_TESTS = 10_000  # tests of one character that are kept for all patterns


@dataclass(frozen=True, slots=True)
class _Step:
    """A state of the automaton: a test of one character, a condition between two, or a fork."""

    targets: tuple[int, ...]
    takes: Callable[[str], Any] | None = None
    holds: Callable[[str, str], bool] | None = None


@dataclass(slots=True, eq=False)
class _State:
    """All steps the automaton may be at, and the character before."""

    steps: frozenset[int]
    before: str
    next: dict[str, _State | None] = field(default_factory=dict)


class Pattern:
    """A compiled pattern; may be shared by threads."""

    def __init__(self, text: str) -> None:
        """Compile; ValueError says why a pattern cannot be used."""
        if len(text) > MAX_PATTERN:
            raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                tree = _parser.parse(text)
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        self.text = text
        self._steps: list[_Step] = [_Step(())]
        self._start = self._sequence(tree, tree.state.flags, _MATCH)
        self._first = _State(frozenset((self._start,)), "")
        self._known = {(self._first.steps, ""): self._first}

    @property
    def states(self) -> int:
        """How many states the automaton has: what one character of a text may cost at most."""
        return len(self._steps)

    def search(self, value: str) -> bool:
        """Whether the pattern matches anywhere in the first `MAX_TEXT` characters."""
        state = self._first
        for character in value[:MAX_TEXT]:
            try:
                following = state.next[character]
            except KeyError:
                following = self._advance(state, character)
            if following is None:
                return True
            state = following
        return _MATCH in self._closure(state, "")

    # ── running ────────────────────────────────────────────────────────────────────────────────

    def _advance(self, state: _State, character: str) -> _State | None:
        reached = self._closure(state, character)
        following: _State | None = None
        if _MATCH not in reached:
            steps = {self._start}
            for number in reached:
                step = self._steps[number]
                if step.takes is not None and step.takes(character):
                    steps.update(step.targets)
            following = self._state(frozenset(steps), character)
        if len(state.next) < MAX_REMEMBERED:
            state.next[character] = following
        return following

    def _state(self, steps: frozenset[int], before: str) -> _State:
        kind = "\n" if before == "\n" else "a" if _is_word(before) else "-"
        known = self._known.get((steps, kind))
        if known is None:
            known = _State(steps, kind)
            if len(self._known) < MAX_REMEMBERED:
                self._known[steps, kind] = known
        return known

    def _closure(self, state: _State, after: str) -> set[int]:
        """Every step reachable without taking a character, between ``state.before`` and ``after``."""
        reached: set[int] = set()
        waiting = list(state.steps)
        while waiting:
            number = waiting.pop()
            if number in reached:
                continue
            reached.add(number)
            step = self._steps[number]
            if step.takes is None and (step.holds is None or step.holds(state.before, after)):
                waiting.extend(step.targets)
        return reached

    # ── building, from the end of the pattern to its start ─────────────────────────────────────

    def _add(self, step: _Step) -> int:
        if len(self._steps) >= MAX_STATES:
            raise ValueError("the pattern is too large; use smaller repeat counts")
        self._steps.append(step)
        return len(self._steps) - 1

    def _fork(self, targets: Iterable[int]) -> int:
        return self._add(_Step(tuple(targets)))

    def _sequence(self, items: Iterable[Any], flags: int, following: int) -> int:
        for item in reversed(list(items)):
            following = self._item(item, flags, following)
        return following

    def _item(self, item: tuple[Any, Any], flags: int, following: int) -> int:
        name, argument = str(item[0]), item[1]
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self._add(_Step((following,), takes=_one_character(item, flags)))
        if name == "AT":
            return self._add(_Step((following,), holds=_condition(str(argument), flags)))
        if name == "BRANCH":
            return self._fork([self._sequence(one, flags, following) for one in argument[1]])
        if name == "SUBPATTERN":
            _, added, removed, body = argument
            return self._sequence(body, (flags | added) & ~removed, following)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(argument, flags, following)
        what, sign = _REFUSED.get(name, (name.lower(), ""))
        raise ValueError(
            f"{what}{_place_of(sign, self.text)} cannot be matched in linear time; write it without"
        )

    def _repeat(self, argument: Sequence[Any], flags: int, following: int) -> int:
        low, high, body = argument
        if high is _parser.MAXREPEAT:
            entry = self._fork(())
            self._steps[entry] = _Step((self._sequence(body, flags, entry), following))
        else:
            entry = following
            for _ in range(high - low):
                entry = self._fork((self._sequence(body, flags, entry), following))
        for _ in range(low):
            entry = self._sequence(body, flags, entry)
        return entry


def _place_of(sign: str, text: str) -> str:
    """` at position 5`, where a construct first stands in a pattern, outside of escapes and classes."""
    other = r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|."
    for match in re.finditer(f"(?P<sign>{sign})|{other}", text, re.DOTALL) if sign else ():
        if match["sign"]:
            return f" at position {match.start()}"
    return ""


def _one_character(item: Any, flags: int) -> Callable[[str], Any]:
    """Python's own test for one item of a pattern that takes one character; made once per kind of item."""
    key = f"{flags} {item!r}"
    known = _TESTS.get(key)
    if known is not None:
        return known
    state = _parser.State()
    state.flags = flags
    state.str = ""
    compiled: re.Pattern[str] = _compiler.compile(_parser.SubPattern(state, [item]), flags)
    if len(_TESTS) < MAX_TESTS:
        _TESTS[key] = compiled.fullmatch
    return compiled.fullmatch


def _condition(name: str, flags: int) -> Callable[[str, str], bool]:
    """A condition between the character before and the one after; "" stands for either end."""
    multiline = bool(flags & re.MULTILINE)
    if name in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        if multiline and name == "AT_BEGINNING":
            return lambda before, _: before in ("", "\n")
        return lambda before, _: before == ""
    if name in ("AT_END", "AT_END_STRING"):
        if multiline and name == "AT_END":
            return lambda _, after: after in ("", "\n")
        return lambda _, after: after == ""
    if name == "AT_BOUNDARY":
        return lambda before, after: _is_word(before) != _is_word(after)
    return lambda before, after: _is_word(before) == _is_word(after)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
