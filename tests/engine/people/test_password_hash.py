"""Hashes of passwords: argon2id as the RFC recommends, the same work for nobody, and a few at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from engine.errors import Busy
from engine.people.password_hash import AT_ONCE, RECOMMENDED, WAITING, PasswordHash
from tests.engine.people.conftest import CHEAP, PASSWORD


class Gated(PasswordHasher):
    """Waits before it compares until it is let, and counts what it compares and how many at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self.gate, self.lock = threading.Event(), threading.Lock()
        self.compared = self.present = self.most = 0

    def verify(self, hash: Any, password: Any) -> Any:  # the library's names
        with self.lock:
            self.compared, self.present = self.compared + 1, self.present + 1
            self.most = max(self.most, self.present)
        try:
            assert self.gate.wait(60)
            return super().verify(hash, password)
        finally:
            with self.lock:
                self.present -= 1


async def test_a_hash_is_argon2id_with_the_parameters_of_the_rfc() -> None:
    kept = await PasswordHash().make(PASSWORD)
    told = extract_parameters(kept)
    assert (told.type, told.memory_cost, told.time_cost, told.parallelism) == (Type.ID, 65536, 3, 4)
    assert await PasswordHash().fits(kept, PASSWORD)
    assert not await PasswordHash().fits(kept, PASSWORD + " ")
    assert not PasswordHash().outdated(kept)
    assert PasswordHash().outdated(CHEAP.hash(PASSWORD))
    assert RECOMMENDED.hash(PASSWORD) != kept


@pytest.mark.parametrize("kept", ["", "no hash", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
@pytest.mark.parametrize("password", ["", PASSWORD, "\ud800", "nobody has this password", "x" * 10_000])
async def test_nobodys_password_fits_nothing(kept: str, password: str) -> None:
    assert not await PasswordHash(CHEAP).fits(kept, password)


async def test_an_account_that_there_is_not_costs_the_same_work() -> None:
    hasher = Gated()
    hasher.gate.set()
    hashes = PasswordHash(hasher)
    kept = await hashes.make(PASSWORD)
    for known, told in ((kept, PASSWORD), (kept, "wrong"), ("", PASSWORD), (kept, "x" * 10_000)):
        before = hasher.compared
        await hashes.fits(known, told)
        assert hasher.compared == before + 1


async def test_a_few_are_compared_at_once_and_too_many_are_asked_to_come_again() -> None:
    hasher = Gated()
    hashes = PasswordHash(hasher)
    kept = hasher.hash(PASSWORD)
    waiting = [asyncio.create_task(hashes.fits(kept, PASSWORD)) for _ in range(WAITING)]
    await asyncio.sleep(0)  # each has taken its place
    with pytest.raises(Busy, match="too many sign in at once"):
        await hashes.fits(kept, PASSWORD)
    hasher.gate.set()
    assert all(await asyncio.gather(*waiting))
    assert hasher.most <= AT_ONCE
    assert await hashes.fits(kept, PASSWORD)
