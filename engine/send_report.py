"""What became of instances that were sent on request: outcomes in, figures and sentences out. Pure.

Failures are counted by their code, so that ten thousand of one kind are one line; the first few names of
each stand below it. Names are those of files; nothing here has seen what is in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.sender import Outcome, Told

_NAMES = 5  # shown for each kind of failure


@dataclass(slots=True)
class _Kind:
    """Instances that met the same."""

    reason: str
    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _NAMES:
            self.names.append(name)


class SendReport:
    """Grows as a sender tells."""

    def __init__(self, target: str) -> None:
        self.interrupted = False
        self._target = target
        self._wanted = 0
        self._bytes = 0  # of what is stored
        self._outcomes: Counter[Outcome] = Counter()
        self._kinds: dict[tuple[Outcome, str], _Kind] = {}
        self._skipped: dict[str, _Kind] = {}
        self._instances: list[dict[str, Any]] = []

    def wanted(self, count: int) -> None:
        """So many are to be sent."""
        self._wanted = count

    def skipped(self, name: str, reason: str) -> None:
        """One is not to be sent."""
        self._skipped.setdefault(reason, _Kind(reason)).add(name)

    def told(self, told: Told) -> None:
        """One has its outcome."""
        self._outcomes[told.outcome] += 1
        if told.outcome is not Outcome.FAILED:
            self._bytes += told.candidate.size
        if told.outcome is not Outcome.SENT:
            kind = self._kinds.setdefault((told.outcome, told.code), _Kind(told.reason))
            kind.add(told.candidate.name)
        self._instances.append(
            {
                "file": told.candidate.name,
                "sop_instance_uid": told.candidate.sop_instance_uid,
                "outcome": told.outcome.value,
                "code": told.code,
                "reason": told.reason,
            }
        )

    @property
    def is_good(self) -> bool:
        """Whether there was something to send and all of it is stored."""
        return 0 < self._wanted == self._stored and not self.interrupted

    @property
    def _stored(self) -> int:
        return self._outcomes[Outcome.SENT] + self._outcomes[Outcome.WARNING]

    def as_json(self, seconds: float) -> dict[str, Any]:
        """For programs."""
        return {
            "target": self._target,
            "instances": self._wanted,
            "sent": self._outcomes[Outcome.SENT],
            "warnings": self._outcomes[Outcome.WARNING],
            "failed": self._outcomes[Outcome.FAILED],
            "not_offered": self._wanted - sum(self._outcomes.values()),
            "skipped": {reason: kind.count for reason, kind in self._skipped.items()},
            "interrupted": self.interrupted,
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
            "MB/s": round(self._rate(seconds), 1),
            "reasons": [
                {"outcome": outcome.value, "code": code, "reason": kind.reason, "count": kind.count}
                for (outcome, code), kind in self._kinds.items()
            ],
            "each": self._instances,
        }

    def lines(self, seconds: float) -> Iterator[str]:
        """For people."""
        megabytes = self._bytes / 1e6
        yield (
            f"{self._stored} of {self._wanted} instances stored at {self._target}:"
            f" {megabytes:,.1f} MB in {seconds:,.1f} s, {self._rate(seconds):,.1f} MB/s"
        )
        for (outcome, _), kind in sorted(self._kinds.items(), key=lambda one: one[0][0] is Outcome.FAILED):
            word = "failed" if outcome is Outcome.FAILED else "with a warning"
            yield from _told(f"{kind.count} {word}: {kind.reason}", kind)
        for reason, kind in self._skipped.items():
            yield from _told(f"{kind.count} skipped: {reason}", kind)
        if self.interrupted:
            yield f"  interrupted: {self._wanted - sum(self._outcomes.values())} not answered or not offered"

    def _rate(self, seconds: float) -> float:
        return self._bytes / 1e6 / seconds if seconds > 0 else 0.0


def _told(headline: str, kind: _Kind) -> Iterator[str]:
    yield f"  {headline}"
    for name in kind.names:
        yield f"    {name}"
    if kind.count > len(kind.names):
        yield f"    and {kind.count - len(kind.names)} more"
