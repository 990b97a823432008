"""Passwords as they are kept: argon2id (RFC 9106), and the same work for an account that there is not.

One hash takes a noticeable part of a second and 64 MB, so only a few are made at once, in threads; whoever
comes when too many wait is asked to come again: a flood of sign-ins must not starve what carries studies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engine.errors import Busy
from engine.people.password_rules import normalised, too_long

T = TypeVar("T")

AT_ONCE = 2
WAITING = 64  # sign-ins that wait for their turn

# RFC 9106 4, the second recommended option: 64 MiB, three passes, four lanes.
RECOMMENDED = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)


class PasswordHash:
    """Makes and compares hashes, on one event loop."""

    def __init__(self, hasher: PasswordHasher = RECOMMENDED) -> None:
        """
        Args:
            hasher: with which parameters; what was hashed with others is told by `outdated`.
        """
        self._hasher = hasher
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._present = 0
        self._nobodys: str | None = None

    async def make(self, password: str) -> str:
        """What is kept of a password; Busy when too many wait."""
        return await self._in_turn(lambda: self._hasher.hash(_bytes(password)))

    async def fits(self, kept: str, password: str) -> bool:
        """Whether a password is the one that was kept; an empty one is nobody's, and takes as long."""
        return await self._in_turn(lambda: self._fits(kept, password))

    def outdated(self, kept: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(kept)

    def _fits(self, kept: str, password: str) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash("nobody has this password")
        known = bool(kept) and not too_long(password)
        told = _bytes(password) if known else b"and nobody tries it"
        try:
            self._hasher.verify(kept if known else self._nobodys, told)
        except (VerificationError, InvalidHashError):
            return False
        return known

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._present >= WAITING:
            raise Busy("too many sign in at once; try again in a moment")
        self._present += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._present -= 1


def _bytes(password: str) -> bytes:
    return normalised(password).encode("utf-8", "surrogatepass")
