"""How long somebody who guesses has to wait (NIST SP 800-63B 5.2.2). Pure: counts, a policy, a clock in.

A try is charged before it is looked at, so that a hundred at once are not a hundred tries; one that turns out
right is given back. When too many count at once, nothing more is looked at for a while: each lock lasts twice
as long as the one before, up to a longest one, and after a quiet day they begin anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.people_section import LockOutSettings

FORGOTTEN = 86400.0  # seconds after the last lock until the next is the first again


@dataclass(frozen=True, slots=True)
class Tries:
    """What counts against one account or one address."""

    failures: tuple[float, ...] = ()  # when
    locks: int = 0  # how often it was locked lately
    locked_at: float = 0.0
    locked_until: float = 0.0

    @property
    def any(self) -> bool:
        """Whether anything counts."""
        return bool(self.failures or self.locks)


NONE = Tries()


def wait(tries: Tries, now: float) -> float:
    """Seconds until a try is looked at; 0 where it is at once."""
    return max(0.0, tries.locked_until - now)


def charged(tries: Tries, now: float, most: int, policy: LockOutSettings) -> Tries:
    """With one try more, that is looked at now; the last that may fail locks."""
    tries = current(tries, now, policy)
    failures = (*tries.failures, now)
    if len(failures) < most:
        return replace(tries, failures=failures)
    lasts = min(policy.first * 2.0 ** min(tries.locks, 40), policy.longest)
    return Tries(failures, tries.locks + 1, now, now + lasts)


def given_back(tries: Tries, at: float) -> Tries:
    """Without the try that was charged at a time: it was right. If it has locked, it has not."""
    if at not in tries.failures:
        return tries
    place = tries.failures.index(at)
    left = replace(tries, failures=tries.failures[:place] + tries.failures[place + 1 :])
    if tries.locks and tries.locked_at == at:
        return replace(left, locks=tries.locks - 1, locked_at=0.0, locked_until=0.0)
    return left


def current(tries: Tries, now: float, policy: LockOutSettings) -> Tries:
    """Without what counts no more: failures that are old, or that a lock was served for."""
    served = tries.locked_until if tries.locked_until <= now else 0.0
    failures = tuple(at for at in tries.failures if at > now - policy.within and at >= served)
    locks = tries.locks if now < tries.locked_until + FORGOTTEN else 0
    return replace(tries, failures=failures, locks=locks)


def until(tries: Tries, policy: LockOutSettings) -> float:
    """When none of it counts any more."""
    served = tries.locked_until + FORGOTTEN if tries.locks else 0.0
    return max([served, *(at + policy.within for at in tries.failures)])
