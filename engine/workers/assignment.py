"""What a worker process is told: once, which channel it runs and on what; and as it changes, what may land.

Everything here is pickled from the engine to a process that it started itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.channel import InboundType, Settings
from engine.errors import Busy
from engine.reception import Questions


@dataclass(frozen=True, slots=True)
class State:
    """What the engine knows and a worker goes by."""

    questions: Questions
    shut_by: str = ""  # why nothing may land; empty when it may
    storage_full: bool = False
    draining: bool = False

    def refusal(self) -> Busy | None:
        """Why nothing may land, as it is raised."""
        return Busy(self.shut_by, storage_full=self.storage_full) if self.shut_by else None


@dataclass(frozen=True, slots=True)
class Premises:
    """Where the workers of an engine put what they receive, and how many of them there are."""

    workers: int
    data: Path
    max_instance: int
    min_free: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker runs."""

    name: str  # the channel's key in the table
    type: InboundType
    settings: Settings
    premises: Premises
    max_bytes_in_flight: int  # this worker's share
    state: State
    text: bool  # log lines for people
    log_level: int
