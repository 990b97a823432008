"""Which connections may be open without an association, before it or after it (PS3.8 9.1).

Enter: connections as they come and their remote addresses. Leave: the one that must go for another. Nobody
is kept out by connections that ask for nothing: past a limit for each address, and one for all, the
oldest of the address that has the most goes. Pure; its owner holds the lock.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Connections(Generic[T]):
    """Connections without an association, oldest first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.most_of_one = max(1, most // 2)
        """Of one remote address."""
        self._addresses: dict[T, str] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, connection: T, address: str) -> T | None:
        """One more; returns another that is no longer among them and has to be closed, if there is one."""
        self._addresses[connection] = address
        self._count[address] += 1
        if self._count[address] > self.most_of_one:
            return self._oldest_of(address)
        if len(self._addresses) > self.most:
            return self._oldest_of(max(self._count, key=self._count.__getitem__))
        return None

    def discard(self, connection: T) -> None:
        """It has an association now, or is closed; harmless when it is not here."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]

    def _oldest_of(self, address: str) -> T:
        oldest = next(one for one, its in self._addresses.items() if its == address)
        self.discard(oldest)
        return oldest
