"""What a rig hands to a test of the contract: a running peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Peer:
    """A running peer.

    ``attempted`` are the identifiers of everything that arrived, ``accepted`` of what the peer
    kept and said so, each in order.
    """

    block: dict[str, Any]  # its block of the table, without site, retry and timeout
    attempted: Callable[[], list[str]]
    accepted: Callable[[], list[str]]
