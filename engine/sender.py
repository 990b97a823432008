"""The contract of a test sender: who `pons send` hands instances to, and what it hears of each.

A sender is found by its entry point ``pons.sender``. It is built once for a command, from settings that the
command line gives or that a channel of the table has. `look` reads the head of one content without a word to
anybody; `send` offers what was found, over as many connections as it is told, and tells of each instance what
became of it. Nothing is tried twice: whoever tests a way wants to hear what the first try met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from engine.settings import Settings


@runtime_checkable
class Openable(Protocol):
    """Content that is read forwards, such as a member of an archive."""

    @property
    def size(self) -> int:
        """Bytes, known before they are read."""
        ...

    def open(self) -> BinaryIO:
        """A stream of its own from the first byte; may be called again, and from any thread."""
        ...


class Outcome(StrEnum):
    """What became of one instance."""

    SENT = "sent"
    WARNING = "warning"  # stored, and the peer had something to say
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One instance that could be sent."""

    name: str  # as the operator knows it: a path, or an archive and a path in it
    content: Path | Openable
    sop_instance_uid: str
    size: int  # bytes
    head: Any  # what the sender itself noted of it


@dataclass(frozen=True, slots=True)
class Told:
    """What a peer said of one instance, or what kept it from saying anything."""

    candidate: Candidate
    outcome: Outcome
    code: str  # 0000, B007, C000, 200, timeout, …; empty where there is none
    reason: str = ""  # without patient data; empty where there is nothing to say


class Listener(Protocol):
    """Hears how far a sender is; called in the sender's own thread."""

    def moved(self, count: int) -> None:
        """So many bytes have left."""
        ...

    def told(self, told: Told) -> None:
        """One instance has its outcome."""
        ...


class Sender(Protocol):
    """One way of sending."""

    def look(self, name: str, content: Path | Openable) -> Candidate:
        """Read the head of a content. Blocks shortly; may be called from any thread.

        Raises ValueError, which says why it is not to be sent, or OSError where it cannot be read.
        """
        ...

    async def send(self, candidates: Sequence[Candidate], listener: Listener) -> None:
        """Offer each of them once; returns when each has its outcome.

        Where it is cancelled, what was not told has no outcome. Raises nothing that a peer could cause.
        """
        ...


@dataclass(frozen=True, slots=True)
class SenderType:
    """An installed sender; ``SENDER`` of its module, entry point group ``pons.sender``."""

    name: str
    settings: type[Settings]
    build: Callable[[Any], Sender]
    of_target: Callable[[str], Mapping[str, Any] | None]
    """Settings for a target as it is typed, None when it is not this sender's to read.

    ValueError when it is and cannot be read.
    """
    of_channel: Callable[[Any, str], Mapping[str, Any] | None]
    """Settings for the peer that a channel's settings name, given the engine's own HOST:PORT for HTTP."""
