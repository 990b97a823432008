"""Regular expressions in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.pattern import MAX_TEXT, Pattern

ROWS: list[tuple[str, str, bool]] = [
    ("dti", "EP2D_DTI_64", False),  # case matters unless said
    ("(?i)dti", "EP2D_DTI_64", True),
    ("(?i)dti|diff", "ep2d_diff", True),
    ("^dti$", "dti", True),
    ("^dti$", "dti 2", False),
    (r"\bdti\b", "ax dti 64", True),
    (r"\bdti\b", "axdti", False),
    (r"\Bti\b", "dti", True),
    (r"b\s*=\s*[0-9]{3,4}\b", "dwi b = 1000 tra", True),
    (r"b\s*=\s*[0-9]{3,4}\b", "dwi b = 10 tra", False),
    ("(?i:T1)w", "t1w", True),
    ("(?i:T1)w", "t1W", False),
    (r"^\d{2,}?x$", "123x", True),
    (r"\AAx\Z", "Ax", True),
    ("(?m)^two$", "one\ntwo\nthree", True),
    ("a.c", "a\nc", False),
    ("(?s)a.c", "a\nc", True),
    ("[^0-9]", "123", False),
    ("(?i)größe", "GRÖSSE GRÖßE", True),
    ("(?x) d t i  # spaced", "dti", True),
    ("", "anything", True),
    ("((a?)*)*b", "aaab", True),  # loops of nothing end
]


@pytest.mark.parametrize(("pattern", "text", "matches"), ROWS)
def test_a_pattern_matches_anywhere_as_python_would(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).search(text) is matches
    assert (re.search(pattern, text) is not None) is matches


REFUSED: list[tuple[str, str]] = [
    (r"(a)\1", "a backreference at position 3"),
    (r"(?P<n>[(?=])\\(?P=n)", "a backreference at position 14"),
    ("(a)(?(1)b|c)", "a conditional group at position 3"),
    (r"[\1](?=a)", "lookahead or lookbehind at position 4"),
    ("(?<!a)b", "lookahead or lookbehind at position 0"),
    (r"\+a++", "a possessive repeat at position 3"),
    ("(?>a)", "an atomic group at position 0"),
    ("(dti", "not a regular expression"),
    ("a" * 257, "at most 256 characters"),
    ("(a{99}){99}", "too large"),
    ("[[a]", "not a regular expression"),  # ambiguous: a warning of Python's
    ("(" * 200 + ")" * 56, "not a regular expression"),
]


@pytest.mark.parametrize(("pattern", "reason"), REFUSED)
def test_what_cannot_be_linear_is_refused_with_its_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "^(a*)*$", "a?" * 30 + "a" * 30 + "$", "(.*a){12}$"]
)
def test_patterns_that_take_python_for_ever_end_at_once(pattern: str) -> None:
    started = time.process_time()
    assert not Pattern(pattern).search("a" * 29 + "b")
    assert not Pattern(pattern).search("a" * (MAX_TEXT - 1) + "b")
    assert time.process_time() - started < 10  # Python's own matcher: longer than a lifetime


def test_only_the_first_part_of_a_very_long_value_is_looked_at() -> None:
    assert Pattern("b").search("a" * (MAX_TEXT - 1) + "b")
    assert not Pattern("b").search("a" * MAX_TEXT + "b")


def test_many_different_characters_do_not_fill_the_memory() -> None:
    pattern = Pattern("(?i)x$")
    text = "".join(chr(0x4E00 + number) for number in range(MAX_TEXT - 1)) + "X"
    assert pattern.search(text)
    assert pattern.search(text)


ATOMS = st.sampled_from(
    ["a", "b", "A", ".", "[ab]", "[^a]", r"\w", r"\d", r"\b", r"\B", "^", "$", "ß", "_", "-"]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    pattern=PATTERNS,
    flags=st.sampled_from(["", "(?i)", "(?s)", "(?m)"]),
    text=st.text("aAbBs1-_ ß\n", min_size=1, max_size=8).filter(lambda text: not text.endswith("\n")),
)
def test_it_says_what_python_says(pattern: str, flags: str, text: str) -> None:
    whole = flags + pattern
    assert Pattern(whole).search(text) is (re.search(whole, text) is not None)
