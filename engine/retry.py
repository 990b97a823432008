"""When to try again: (attempt, age, policy, what the peer said, a random number) in, a time out.

Pure. Jittered exponential backoff: full waits grow by a factor up to a cap, and each is shortened
at random by up to a half, so that many lanes do not return in step.
"""

from __future__ import annotations

from engine.settings import Retry


def next_attempt(
    policy: Retry, *, attempt: int, created_at: float, now: float, random: float, after: float | None = None
) -> float | None:
    """The time of the next attempt, or None when the delivery is given up.

    Args:
        attempt: the one that just failed, from 1.
        created_at: when the delivery was queued, seconds.
        now: seconds.
        random: uniform in [0, 1).
        after: seconds that the peer asked to wait (Retry-After); never undercut, capped by the age.
    """
    give_up_at = created_at + policy.give_up_after
    if now >= give_up_at:
        return None
    wait = min(policy.cap, policy.first * policy.factor ** min(attempt - 1, 64))
    wait *= 1 - random / 2
    if after is not None:
        wait = max(wait, after)
    # The last try comes at the age limit, not up to a cap later.
    return min(now + wait, give_up_at)
