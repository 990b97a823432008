"""One-time codes: of an authenticator app (RFC 6238: SHA-1, 30 s, 6 digits) and for the day it is lost. Pure.

A code is good one step before and after its own, for clocks differ and people type; each is good once, so
what somebody has read over a shoulder opens nothing. Recovery codes are 80 random bits each, so a fast hash
says nothing of them (docs/decisions/a-secret-is-random.md).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

import pyotp

STEP = 30  # seconds
AROUND = 1  # steps before and after the present one
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10


def new_secret() -> str:
    """A secret nobody has had before: 160 bits in base32, as apps take it."""
    return pyotp.random_base32(32)


def address_of(secret: str, username: str, title: str) -> str:
    """What an app scans: otpauth://."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=title)


def step_of(secret: str, code: str, now: float) -> int | None:
    """The step that a code is of, near the present one; None where it is of none."""
    if not re.fullmatch(r"[0-9]{6}", code):
        return None
    otp, present = pyotp.TOTP(secret), int(now // STEP)
    found = None
    for step in range(present - AROUND, present + AROUND + 1):  # all of them, in constant time
        if hmac.compare_digest(otp.generate_otp(step), code):
            found = step
    return found


def typed(code: str) -> str:
    """A code without what people put between its groups."""
    return re.sub(r"[\s-]", "", code[:64]).lower()


def new_recovery_codes() -> tuple[str, ...]:
    """Ten codes as they are shown, once: `abcd-efgh-ijkl-mnop`."""
    codes = (
        base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)
    )
    return tuple("-".join(code[place : place + 4] for place in range(0, 16, 4)) for code in codes)


def recovery_hash(person_id: str, code: str) -> str:
    """What is kept of a recovery code; the same code of two people is kept differently."""
    return hashlib.sha256(f"{person_id}\n{typed(code)}".encode("utf-8", "replace")).hexdigest()
