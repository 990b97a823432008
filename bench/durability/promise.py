"""Whether everything was durable before the answer, read from the system calls alone.

Enter: the calls of an engine since its start, the file that an instance came to lie in, and where its sender
was connected. Leave: the steps that matter, in order, and what was not durable when the first byte of the
answer was written. Demanded is the promise. Either every byte of the file was synced after it was written,
and every name on the way to it in its folder after it was made; or both are in an entry of the instance log
(`engine.instance_log`), that entry was synced after it was written, and every name on the way to the log was.
And the database's log was synced up to the commit of the transaction with the SOP Instance UID (SQLite's
WAL format, sqlite.org/fileformat2.html 4.1: a frame whose second word is not 0 ends a transaction).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.durability.system_calls import Call

OPENS = {"open", "openat", "creat"}
MAKES_A_FOLDER = {"mkdir", "mkdirat"}
RENAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range"}
SENDS = {"write", "writev", "sendto", "sendmsg"}
SYNCS = {"fsync", "fdatasync"}
FRAME_HEADER = 24  # bytes
_WRITTEN = ("bytes", "entry", "record", "answer")


@dataclass(frozen=True, slots=True)
class Stored:
    """One instance that was acknowledged."""

    file: Path  # where it lies
    size: int
    sop_instance_uid: str
    data: Path  # the data folder
    port: int  # where its sender was connected to


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, with its calls."""

    what: str  # "bytes", "name", "entry", "record", "sync" or "answer"
    target: str
    calls: tuple[Call, ...]
    source: str = ""  # where a rename came from

    @property
    def began(self) -> int:
        return self.calls[0].began

    @property
    def written(self) -> int:
        """Bytes."""
        return sum(call.result for call in self.calls) if self.what in _WRITTEN else 0


@dataclass
class Finding:
    """What was done until the answer, and what had not been done by then."""

    steps: list[Step] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def of(self, what: str) -> list[Step]:
        """The steps of one kind."""
        return [step for step in self.steps if step.what == what]


def examine(calls: Sequence[Call], stored: Stored) -> Finding:
    """The verdict on one instance."""
    names = _names_of_the_file(calls, stored.file)
    written = [call for call in calls if call.name in WRITES and _written_to(call) in names]
    if not written:
        return Finding(broken=["no write of the instance was seen"])
    answer = _answer(calls, stored.port, written[0])
    if answer is None:
        return Finding(broken=["no answer was seen"])
    before = [call for call in calls if call.ended < answer.began]
    found = Finding([Step("answer", "", (answer,))])
    entry = _entry(before, stored)
    if entry is not None:
        _logged(before, entry, found)
        file = Path(entry.target)
        _names(before, {entry.target}, file, stored, found, first=written[0])
    else:
        _bytes(before, names, stored, found)
        _names(before, names, stored.file, stored, found, first=written[0])
    _record(before, stored, found, after=written[0])
    found.steps = merged(sorted(found.steps, key=lambda step: step.began))
    return found


def merged(steps: Iterable[Step]) -> list[Step]:
    """Steps of one kind at the same place, one after the other, are one."""
    found: list[Step] = []
    for step in steps:
        last = found[-1] if found else None
        if last and step.written and (last.what, last.target) == (step.what, step.target):
            found[-1] = Step(step.what, step.target, last.calls + step.calls)
        else:
            found.append(step)
    return found


def _names_of_the_file(calls: Sequence[Call], file: Path) -> set[str]:
    """All the names it ever had: whatever was renamed or linked to it, and so on backwards."""
    names = {str(file)}
    for call in reversed(calls):
        if call.name in RENAMES and call.paths[-1] in names:
            names.add(call.paths[0])
    return names


def _written_to(call: Call) -> str:
    """Where the bytes went: of two descriptors, those of `splice` and `copy_file_range` name it second."""
    if call.name in ("splice", "copy_file_range"):
        return call.arguments.split("<")[2].partition(">")[0]
    return call.target


def _answer(calls: Sequence[Call], port: int, after: Call) -> Call | None:
    """The first bytes on the sender's connection since the instance began to be written."""
    for call in calls:
        to_sender = call.target.startswith("TCP") and f":{port}->" in call.target
        if call.name in SENDS and to_sender and call.began > after.began:
            return call
    return None


def _synced_after(before: Sequence[Call], path: str, call: Call) -> Call | None:
    """The first sync of a path that began when the call had returned."""
    for one in before:
        if one.name in SYNCS and one.target == path and one.began > call.ended:
            return one
    return None


def _bytes(before: Sequence[Call], names: set[str], stored: Stored, found: Finding) -> None:
    written = [call for call in before if call.name in WRITES and _written_to(call) in names]
    found.steps += [Step("bytes", _written_to(call), (call,)) for call in written]
    if (seen := sum(call.result for call in written)) < stored.size:
        found.broken.append(f"{seen} of {stored.size} bytes were written before the answer")
    syncs = [call for call in before if call.name in SYNCS and call.target in names]
    found.steps += [Step("sync", call.target, (call,)) for call in syncs]
    if not any(sync.began > max(call.ended for call in written) for sync in syncs):
        found.broken.append("the bytes were not synced before the answer")


def _entry(before: Sequence[Call], stored: Stored) -> Call | None:
    """The entry of the log that holds the whole instance and says where it lies."""
    name = str(stored.file.relative_to(stored.data / "instances")).encode()
    log = f"{stored.data / 'log'}/"
    for call in before:
        if call.name in WRITES and call.target.startswith(log) and name in call.content:
            return call if call.result > stored.size else None
    return None


def _logged(before: Sequence[Call], entry: Call, found: Finding) -> None:
    found.steps.append(Step("entry", entry.target, (entry,)))
    sync = _synced_after(before, entry.target, entry)
    if sync is None:
        found.broken.append("the entry of the log was not synced before the answer")
    else:
        found.steps.append(Step("sync", entry.target, (sync,)))


def _names(
    before: Sequence[Call], names: set[str], file: Path, stored: Stored, found: Finding, *, first: Call
) -> None:
    """Each name that the engine made on the way to the file, and to its database, is in a synced folder."""
    folders = {str(one) for one in file.parents}
    database = {str(stored.data / "pons.sqlite"), str(stored.data / "pons.sqlite-wal")}
    seen: set[str] = set()
    for call in before:
        path, source = "", ""
        if call.name in MAKES_A_FOLDER and call.paths[-1] in folders:
            path = call.paths[-1]
        elif call.name in RENAMES and call.paths[-1] == str(file):
            path, source = call.paths[-1], call.paths[0]
        elif call.name in OPENS and "O_CREAT" in call.arguments and call.opened in database | names:
            path = call.opened
        if not path or path in seen:
            continue
        seen.add(path)
        shown = call.began >= first.began or path in names
        if shown:
            found.steps.append(Step("name", path, (call,), source))
        if path in names and path != str(file):
            continue  # it goes by another name in the end
        sync = _synced_after(before, str(Path(path).parent), call)
        if sync is None:
            found.broken.append(f"the name {_below(path, stored)} was not synced before the answer")
        elif shown:
            found.steps.append(Step("sync", sync.target, (sync,)))
    if str(file) not in seen:
        found.broken.append("the file was not given its name before the answer")


def _below(path: str, stored: Stored) -> str:
    return str(Path(path).relative_to(stored.data.parent))


def _record(before: Sequence[Call], stored: Stored, found: Finding, *, after: Call) -> None:
    log = str(stored.data / "pons.sqlite-wal")
    frames = [one for one in before if one.name in WRITES and one.target == log and one.began > after.began]
    uid = stored.sop_instance_uid.encode()
    row = next((number for number, call in enumerate(frames) if uid in call.content), None)
    if row is None:
        found.broken.append("the record was not written before the answer")
        return
    headers = [number for number, call in enumerate(frames) if call.result == FRAME_HEADER]
    starts = [number for number in headers if number < row]
    ends = [number for number in headers if number >= row - 1 and any(frames[number].content[4:8])]
    if not starts or not ends:
        found.broken.append("the record was not committed before the answer")
        return
    begun = max((number for number in starts if any(frames[number].content[4:8])), default=-2) + 2
    transaction = frames[min(begun, row - 1) : ends[0] + 2]
    found.steps.append(Step("record", log, tuple(transaction)))
    sync = _synced_after(before, log, transaction[-1])
    if sync is None:
        found.broken.append("the record's commit was not synced before the answer")
    else:
        found.steps.append(Step("sync", log, (sync,)))
