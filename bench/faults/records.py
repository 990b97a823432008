"""What the rig remembers: what was acknowledged to a sender, what a receiver took, each line synced.

A record is a line of JSON, on the disk before anybody is answered because of it. The judge reads
nothing else of the run.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An instance that the engine said it has."""

    site: str
    study: str
    sop_instance_uid: str
    number: int  # InstanceNumber, the bit it has in a result's mask
    sha256: str  # of the data set, as it was sent
    way: str  # c_store | stow_rs


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receiver had in full, whatever it answered."""

    destination: str
    identifier: str  # MSH-10, webhook-id, SOP Instance UID
    study: str
    mask: int  # one bit an instance that the result speaks of; of a forwarded instance its own
    status: str  # preliminary | final | corrected; "instance" for a forwarded one
    answer: str  # what the receiver did then


class Ledger:
    """An append-only file of one kind of record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def add(self, record: Acknowledged | Receipt) -> None:
        """Write and sync; the order of the calls is the order of the lines."""
        line = json.dumps(asdict(record)).encode() + b"\n"
        with self._lock:
            os.write(self._file, line)
            os.fdatasync(self._file)

    def close(self) -> None:
        """No more is added."""
        os.close(self._file)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def acknowledged(path: Path) -> list[Acknowledged]:
    """Read back what senders were told, in order."""
    return [Acknowledged(**line) for line in _lines(path)]


def receipts(path: Path) -> list[Receipt]:
    """Read back what receivers took, in order."""
    return [Receipt(**line) for line in _lines(path)]
