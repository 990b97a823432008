"""Another table in the place of the running one, by somebody who is not at the machine.

Enter: files of the running version as somebody has edited them. Leave: what `pons plan` says and a difference
line by line; and the change, as `pons apply` makes it. One thing more speaks against a table here than there:
who has no account on the machine must not run programs on it, nor read its files (`at_the_machine`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from engine.errors import ConfigurationError, PonsError
from engine.kept_table import lay_out
from engine.operations import routes
from engine.operations_model import OperationRefused, OperationRefusedReason
from engine.plan_story import story
from engine.proposal import Place, Proposal, propose, time_of
from engine.store import table_versions
from engine.store.database import Database
from engine.table import Table
from engine.table_change import APPLIED, Order, Overtaken, carry_out
from engine.table_history import KeptVersion, difference_in_lines, kept_version
from engine.table_model import TableApplied, TableChange, TableProposal, ToldLine

LARGEST = 4 << 20  # characters of all files
WAIT = 15.0  # seconds that the engines have before the answer
NOT_FOUND, INVALID = OperationRefusedReason.NOT_FOUND, OperationRefusedReason.INVALID


def versions(connection: Connection, limit: int) -> list[TableChange]:
    """Every change of the running table, the latest first."""
    return [routes.change_of(one) for one in table_versions.history(connection, limit)]


def files(connection: Connection, version: str) -> dict[str, str]:
    """The files of a version, the table's own first."""
    kept = _kept(connection, version)
    return {name: kept.files[name] for name in kept.names}


def compare(connection: Connection, old: str, new: str) -> list[ToldLine]:
    """The difference of two versions."""
    return _toned(difference_in_lines(_kept(connection, old), _kept(connection, new)))


def _kept(connection: Connection, version: str | None) -> KeptVersion:
    try:
        return kept_version(connection, version)
    except PonsError as error:
        raise OperationRefused(NOT_FOUND, str(error).partition("; `pons")[0]) from None


# ── plan and apply ──────────────────────────────────────────────────────────────────────────────


def proposed(database: Database, place: Place, edits: Mapping[str, str], studies: int) -> TableProposal:
    """What the running table with these files would change; blocks, for seconds where the table is large."""
    with _laid_out(database, edits) as (path, before, after):
        one = propose(place, database, path, studies, named=Path())
    return TableProposal(
        running=routes.change_of(one.running) if one.running is not None else None,
        version=one.table.version if one.table is not None else "",
        lines=tuple(ToldLine(line.text, line.tone.value) for line in story(one)),
        difference=tuple(_toned(difference_in_lines(before, after))),
        objections=() if one.is_running else tuple(_objections(one, place, force=False)),
        forceable=one.table is not None and not _objections(one, place, force=True),
    )


def applied(
    database: Database,
    place: Place,
    edits: Mapping[str, str],
    *,
    expect: int | None,
    actor: str,
    message: str,
    force: bool,
) -> TableApplied:
    """Make it the running table, and wait for the engines to take it; blocks."""
    with _laid_out(database, edits) as (path, _, _):
        one = propose(place, database, path, 0, named=Path())
        if (one.running.change_id if one.running is not None else None) != expect:
            since = "another table was made the running one since this was planned"
            said = f"{since}; nothing was changed, plan again"
            raise OperationRefused(OperationRefusedReason.CHANGED, said)
        objections = [] if one.is_running else _objections(one, place, force=force)
        if objections:
            raise OperationRefused(OperationRefusedReason.REFUSED, "; ".join(objections))
        assert one.table is not None
        try:
            done = carry_out(database, one, Order(actor, APPLIED, message, force, within=WAIT))
        except Overtaken as error:
            raise OperationRefused(OperationRefusedReason.CHANGED, str(error)) from None
    now = time_of(database)
    lively = database.read_now(lambda c: routes.engines(c, now))
    return TableApplied(one.table.version, done.change, lively, done.is_well)


@contextlib.contextmanager
def _laid_out(
    database: Database, edits: Mapping[str, str]
) -> Iterator[tuple[Path, KeptVersion, KeptVersion]]:
    """The edited table as files while entered; the running version and the edited one."""
    if sum(map(len, edits.values())) > LARGEST:
        raise OperationRefused(INVALID, f"a table of more than {LARGEST >> 20} MB is for `pons apply`")
    before = database.read_now(lambda c: _kept(c, None))
    edited = {name: _lines_of_a_file(text) for name, text in edits.items()}
    after = KeptVersion("proposed", before.main, {**before.files, **edited})
    with tempfile.TemporaryDirectory(prefix="pons-") as folder:
        try:
            path = lay_out(Path(folder) / "table", after.main, after.files)
        except (ConfigurationError, OSError, ValueError):
            raise OperationRefused(INVALID, "a file's name must stay below the table's folder") from None
        yield path, before, after


def _lines_of_a_file(text: str) -> str:
    """A browser's text ends its lines as MIME does; a file here does not."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain if plain.endswith("\n") else plain + "\n"


def _objections(one: Proposal, place: Place, *, force: bool) -> list[str]:
    found = one.objections(force=force)
    if one.table is not None:
        found += at_the_machine(one.before.table, one.table, one.before.data, one.after.data, place)
    return found


def at_the_machine(
    before: Table | None, after: Table, was: Mapping[str, Any], now: Mapping[str, Any], place: Place
) -> list[str]:
    """What of a new table only somebody with an account on the machine may bring about, and how.

    Args:
        was: the running table as it is written; ``now`` the new one.
    """
    found = []
    for name, declared in after.processors.items():
        runs = getattr(declared.settings, "command", None)
        earlier = before.processors.get(name) if before is not None else None
        if runs and (earlier is None or getattr(earlier.settings, "command", None) != runs):
            found.append(f"processor {name} would run another program of the engine's machine")
    folder, data = place.base.resolve(), place.engine.data.resolve()
    for name in sorted(set(_secret_files(now)) - set(_secret_files(was))):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder) or path.is_relative_to(data):
            found.append(f"{name} would be read as a secret, and does not lie beside the table")
    return [f"{one}: apply this with `pons apply` on that machine" for one in found]


def _secret_files(written: Any) -> Iterator[str]:
    """Every `{file: path}` that stands where a secret may."""
    if isinstance(written, Mapping):
        if set(written) == {"file"} and isinstance(written["file"], str):
            yield written["file"]
        for one in written.values():
            yield from _secret_files(one)
    elif isinstance(written, Sequence) and not isinstance(written, str):
        for one in written:
            yield from _secret_files(one)


def _toned(lines: Iterator[str]) -> list[ToldLine]:
    tones = {"+": "added", "-": "removed", "@": "aside"}
    return [
        ToldLine(line, "aside" if line.startswith(("+++", "---")) else tones.get(line[:1], "plain"))
        for line in lines
    ]
