"""Decide what happens to a stable study: (study facts, table) in, a decision with reasons out.

Pure. The types below are the contract; see the routing grammar in docs/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Sending:
    """One `deliver:` entry of a route that fired."""

    to: str  # key of the destination
    after: tuple[str, ...] = ()  # destinations that must have acknowledged the same result first
    when_status: tuple[str, ...] = ()  # result statuses that are sent; empty: all


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """What one route said of one study, hit or miss, and why."""

    route: str
    position: str  # "routes.yaml:31:5"
    hit: bool
    why: str  # one sentence for people, without patient data beyond what the table itself names
    shadow: bool = False
    process: str | None = None
    series: tuple[str, ...] = ()  # Series Instance UIDs that go to the processor
    transform: tuple[dict[str, Any], ...] = ()
    deliver: tuple[Sending, ...] = ()
    hold: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The recorded outcome of matching one study revision against one version of the table."""

    table_version: str
    outcomes: tuple[RouteOutcome, ...]

    @property
    def hits(self) -> tuple[RouteOutcome, ...]:
        """The routes that fired, in file order."""
        return tuple(outcome for outcome in self.outcomes if outcome.hit)

    @property
    def verdict(self) -> Literal["routed", "held"]:
        """`held` when no route fired or every route that fired holds."""
        return "routed" if any(outcome.hold is None for outcome in self.hits) else "held"
