"""One-time codes: the RFC's own, one step around, and recovery codes."""

from __future__ import annotations

import base64
import re

import pyotp
import pytest

from engine.people.one_time_code import (
    STEP,
    address_of,
    new_recovery_codes,
    new_secret,
    recovery_hash,
    step_of,
    typed,
)

RFC = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("now", "code"),
    [  # RFC 6238 appendix B, SHA-1; its eight digits end in the six of an app
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"),
        (2000000000, "279037"), (20000000000, "353130"),
    ],
)  # fmt: skip
def test_codes_are_those_of_the_rfc(now: int, code: str) -> None:
    assert step_of(RFC, code, now) == now // STEP


def test_a_code_is_good_one_step_before_and_after_its_own() -> None:
    secret, now = new_secret(), 1_700_000_010
    code = pyotp.TOTP(secret).at(now)
    found = [step_of(secret, code, now + steps * STEP) for steps in (-2, -1, 0, 1, 2)]
    assert found == [None, now // STEP, now // STEP, now // STEP, None]


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12345\n", "-12345"])
def test_what_is_no_code_is_of_no_step(code: str) -> None:
    assert step_of(RFC, code, 59) is None


def test_what_people_put_between_groups_does_not_count() -> None:
    assert typed(" 123 456\n") == "123456"
    assert typed("ABCD-efgh ijkl-MNOP") == "abcdefghijklmnop"
    assert recovery_hash("1", "ABCD-EFGH-IJKL-MNOP") == recovery_hash("1", "abcdefghijklmnop")
    assert recovery_hash("1", "abcdefghijklmnop") != recovery_hash("2", "abcdefghijklmnop")


def test_recovery_codes_are_ten_and_never_the_same() -> None:
    codes = [*new_recovery_codes(), *new_recovery_codes()]
    assert len(set(codes)) == 20
    assert all(re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", code) for code in codes)


def test_an_app_reads_who_and_where() -> None:
    secret = new_secret()
    assert len(base64.b32decode(secret)) == 20
    read = pyotp.parse_uri(address_of(secret, "ana@st-marys.example", "Pons St. Mary's"))
    assert (read.secret, read.name, read.issuer) == (secret, "ana@st-marys.example", "Pons St. Mary's")
