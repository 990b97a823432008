"""What a replay would do: from which stage, and of every delivery or study, what happens or why nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PURGED = "its instances were removed by retention"


class Stage(StrEnum):
    """Where it begins again; everything after that follows by itself."""

    ASSEMBLE = "assemble"  # a new revision from every instance
    ROUTE = "route"  # the latest revision, by the table of now
    PROCESS = "process"  # the latest revision, as it was decided
    DELIVER = "deliver"  # the same bytes under the same identifiers


@dataclass(frozen=True, slots=True)
class Step:
    """One delivery or study of a plan: what happens to it, or why nothing does."""

    id: str  # of the delivery; of a study, its Study Instance UID
    site: str
    study: str
    destination: str  # empty for a study
    state: str
    effect: str = ""
    left_out: str = ""
    row: Any = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay would do."""

    stage: Stage
    to: str | None
    steps: tuple[Step, ...]

    @property
    def going(self) -> tuple[Step, ...]:
        """What something happens to."""
        return tuple(step for step in self.steps if not step.left_out)

    @property
    def left_out(self) -> tuple[Step, ...]:
        """What nothing happens to."""
        return tuple(step for step in self.steps if step.left_out)

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """Destination, state, how many of them go: the shape of a mistake shows here."""
        found = Counter((self.to or step.destination, step.state) for step in self.going)
        return [(destination, state, count) for (destination, state), count in sorted(found.items())]
