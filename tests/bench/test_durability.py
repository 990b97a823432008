"""What is acknowledged was synced before, by the system calls of the running engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.durability.__main__ import told
from bench.durability.promise import SYNCS, Stored, examine
from bench.durability.system_calls import Call, read
from bench.durability.traced import WAYS, store
from tests.docs.blocks import ROOT, blocks

pytestmark = pytest.mark.peers

Trace = tuple[list[Call], Stored]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Trace:
    """One small instance by C-STORE."""
    return store(tmp_path_factory.mktemp("traced"), free_port, WAYS["small"])


def shape(lines: list[str]) -> list[str]:
    """The lines without their numbers."""
    return [re.sub(r"^ *[\d.]+ ms +|: [\d,]+ bytes.*$", "", line) for line in lines]


def without(calls: list[Call], left_out: Callable[[Call], bool]) -> list[Call]:
    return [call for call in calls if not left_out(call)]


@pytest.mark.parametrize("way", ["large", "tls", "stow"])
def test_all_of_an_instance_is_synced_before_its_sender_is_answered(
    way: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    calls, stored = store(tmp_path, free_port, WAYS[way])
    found = examine(calls, stored)
    assert found.broken == []
    assert sum(step.written for step in (*found.of("bytes"), *found.of("entry"))) >= stored.size
    assert found.steps[-1].what == "answer"


def test_so_is_a_small_one(small: Trace) -> None:
    found = examine(*small)
    assert found.broken == []
    assert {step.what for step in found.steps} == {"entry", "name", "record", "sync", "answer"}


def test_a_sync_that_is_left_out_is_missed(small: Trace) -> None:
    calls, stored = small
    synced = {step.target for step in examine(calls, stored).of("sync")}
    assert len(synced) >= 4  # the log, two folders at least, the database's log
    names = {str(stored.file), *(step.target for step in examine(calls, stored).of("bytes"))}
    for target in synced:
        same = names if target in names else {target}  # one file under two names
        unsynced = without(calls, lambda call, same=same: call.name in SYNCS and call.target in same)
        assert examine(unsynced, stored).broken, f"nobody missed the sync of {target}"


def test_a_folder_that_was_made_by_the_engine_is_not_forgotten(small: Trace) -> None:
    calls, stored = small
    above = str(stored.data.parent)
    found = examine(without(calls, lambda call: call.name in SYNCS and call.target == above), stored)
    assert found.broken == ["the name data was not synced before the answer"]


def test_an_answer_that_comes_too_early_is_found(small: Trace) -> None:
    calls, stored = small
    (answer,) = examine(calls, stored).of("answer")
    (record,) = examine(calls, stored).of("record")
    early = replace(answer.calls[0], began=record.calls[-1].ended, ended=record.calls[-1].ended)
    moved = [early if call is answer.calls[0] else call for call in calls]
    assert "the record's commit was not synced before the answer" in examine(moved, stored).broken


def test_bytes_that_nobody_saw_written_are_missed(small: Trace) -> None:
    calls, stored = small
    longer = replace(stored, size=2 * stored.size)
    what = f"{stored.size} of {longer.size} bytes were written before the answer"
    assert what in examine(calls, longer).broken


def test_the_trace_in_the_documentation_is_of_this_engine(small: Trace) -> None:
    """Order apart: two threads may pass each other; what is demanded of the order is tested above."""
    shown = [block.text for block in blocks(ROOT / "docs" / "durability.md") if "fsync" in block.text]
    assert len(shown) == 1
    expected = sorted(shape(told(examine(*small), small[1])))
    assert sorted(shape([line for line in shown[0].splitlines() if " ms  " in line])) == expected


def test_a_call_that_was_interrupted_by_another_is_one() -> None:
    lines = """
        7 10.000001 fsync(5</data/a> <unfinished ...>
        8 10.000002 pwrite64(6</data/b-wal>, "\\0\\0\\0\\1x\\"y", 7, 0) = 7
        7 10.000003 <... fsync resumed>) = 0
        8 10.000004 unlink("/data/c") = -1 ENOENT (No such file or directory)
        8 10.000005 sendto(9<TCP:[127.0.0.1:104->127.0.0.1:5000]>, "\\4", 1, 0, NULL, 0) = 1
        7 10.000006 openat(AT_FDCWD</srv>, "data/d", O_WRONLY|O_CREAT, 0600) = 5</srv/data/d>
    """
    written, synced, sent, opened = read(line.strip() for line in lines.splitlines())
    assert (written.target, written.content, written.result) == ("/data/b-wal", b'\0\0\0\1x"y', 7)
    assert (synced.name, synced.target) == ("fsync", "/data/a")
    assert synced.began < written.began < synced.ended
    assert sent.target == "TCP:[127.0.0.1:104->127.0.0.1:5000]"
    assert (opened.paths, opened.opened) == (["/srv/data/d"], "/srv/data/d")
