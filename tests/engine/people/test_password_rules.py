"""What may be a password: long enough, and not what is tried first; nothing else is asked of it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.people.password_rules import LONGEST, checked
from engine.person import SignInRefused, SignInRefusedReason


@pytest.mark.parametrize(
    "password",
    [
        "violet harbour sings loudly",
        "nur kleinbuchstaben hier",
        "日本語のパスワードは長い文です",
        "Xk9 mmQ!2 vv7",
        "password manager, tall giraffe",
        "    spaces count    too",
        "👩‍⚕️ treats seven giraffes",
    ],
)
def test_what_is_long_and_not_common_is_taken(password: str) -> None:
    assert checked(password, "ana", 12)


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("", "fewer than 12 characters"),
        ("elevenchars", "fewer than 12 characters"),
        ("x" * (LONGEST + 1), "longer than 256 bytes"),
        ("é" * 129, "longer than 256 bytes"),
        ("ﷺ" * 60, "longer than 256 bytes"),  # 18 characters each, once normalised
        ("violet harbour\x00sings", "control characters"),
        ("violet anasilva sings", "holds the username"),
        ("VIOLET ANASILVA SINGS", "holds the username"),
        ("passwordpassword", "tried first"),
        ("Password12345!", "tried first"),
        ("P@ssw0rd123456", "tried first"),
        ("w3lc0me!!!2026", "tried first"),
        ("123456789012", "tried first"),
        ("098765432109", "tried first"),
        ("qwertyuiop123", "tried first"),
        ("1234qwerASDF", "tried first"),
        ("abcdefghijklmnop", "tried first"),
        ("aaaaaaaaaaaa", "tried first"),
        ("abababababab", "tried first"),
        ("giraffegiraffe", "tried first"),
        ("31415926535897", "tried first"),
        ("correcthorsebatterystaple", "tried first"),
        ("!!!radiology2026!!!", "tried first"),
    ],
)
def test_what_is_short_long_or_tried_first_is_refused(password: str, says: str) -> None:
    with pytest.raises(SignInRefused) as refusal:
        checked(password, "anasilva@st-marys.example", 12)
    assert refusal.value.reason is SignInRefusedReason.WEAK
    assert says in str(refusal.value)
    if len(password) > 8:
        assert password not in str(refusal.value)


def test_a_short_username_may_be_part_of_a_word() -> None:
    assert checked("banana boats anatomy", "ana", 12)


def test_however_a_keyboard_composes_it_it_is_the_same() -> None:
    composed, combining = "café in the old harbour", "cafe\u0301 in the old harbour"
    assert checked(combining, "ana", 12) == checked(composed, "ana", 12) == composed


@given(st.text(max_size=300), st.text(max_size=20))
def test_whatever_is_typed_is_taken_or_refused(password: str, username: str) -> None:
    with contextlib.suppress(SignInRefused):
        chosen = checked(password, username, 12)
        assert len(chosen) >= 12
        assert checked(chosen, username, 12) == chosen
