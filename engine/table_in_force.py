"""Which table an engine runs, for who has no part in its database: the service that keeps the tunnels.

Enter: each table that an engine takes, beside the file that it was given. Leave: a note in the data folder,
and for the path of a table the one in force. While the file is as the engine last read it, that is the
version that was applied since; a file that was edited is what its editor means to come next.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from engine.config import load
from engine.spool import write_durably
from engine.table import Table


def note_of(data: Path) -> Path:
    """Where the note lies below a data folder."""
    return data / "tables" / "running.json"


def write_note(data: Path, *, given: str, running: Table) -> None:
    """Tell which table runs.

    Args:
        given: the version of the engine's file when it read it last.
    """
    note = note_of(data)
    note.parent.mkdir(mode=0o700, exist_ok=True)
    facts = {"given": given, "running": running.version, "main": running.path.name}
    write_durably(note, json.dumps(facts).encode())


def table_in_force(path: Path) -> Table:
    """The table that the engine of this file runs; the file itself where there is none, or it was edited.

    Raises:
        ConfigurationError: it cannot be read; lists every finding.
    """
    table = load(path, surroundings=False)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # never run, or by somebody else
        facts = json.loads(note_of(table.engine.data).read_text())
        kept = note_of(table.engine.data).parent / str(facts["running"]).rpartition(":")[2] / facts["main"]
        if facts["given"] == table.version != facts["running"] and kept.is_file():
            return load(kept, surroundings=False, base=table.base)
    return table
