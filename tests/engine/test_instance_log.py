"""The log: what it says is durable is read again, whole entries only, and of this turn only."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import instance_log
from engine.instance_log import LIMIT, InstanceLog, entries, turn_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "log" / "process"


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_log, "SEGMENT", 10_000)
    monkeypatch.setattr(instance_log, "STEP", 4_096)


def held(folder: Path) -> dict[str, bytes]:
    """What the segments hold, the later one last."""
    return {
        name: content
        for segment in sorted(folder.iterdir(), key=turn_of)
        for name, content in entries(segment)
    }


def test_what_was_appended_is_there_and_private(folder: Path) -> None:
    log = InstanceLog(folder, lambda: None)
    assert not folder.exists(), "an engine that receives nothing has no log"
    for number in range(5):
        assert log.append(f"s/1.2/{number}", bytes([number]) * (number * 1000))
    assert held(folder) == {f"s/1.2/{number}": bytes([number]) * (number * 1000) for number in range(5)}
    assert (folder / "0").stat().st_mode & 0o777 == 0o600
    log.close()
    assert not folder.exists()


@given(cut=st.integers(0, 3_000), noise=st.binary(max_size=200))
def test_an_entry_is_whole_or_absent(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("data") / "log" / "process"
    log = InstanceLog(folder, lambda: None)
    wanted = {f"s/1.2/{number}": bytes([number]) * 900 for number in range(3)}
    for name, content in wanted.items():
        assert log.append(name, content)
    with (folder / "0").open("r+b") as segment:  # as a power cut leaves what was not synced yet
        segment.seek(cut)
        segment.write(noise)
    found = held(folder)
    assert found.items() <= wanted.items()
    entry = len(instance_log._HEAD.pack(b"", 0, 0, 0, 0)) + len("s/1.2/0") + 900
    assert len(found) >= min(3, cut // entry)
    if not noise:
        assert found == wanted


def test_segments_take_turns_and_are_settled_before_they_are_written_anew(
    folder: Path, small_segments: None
) -> None:
    settled: list[set[str]] = []
    log = InstanceLog(folder, lambda: settled.append(set(held(folder))))
    wanted = {f"s/1.2/{number}": os.urandom(2_000) for number in range(40)}
    fell_back = 0
    for name, content in wanted.items():
        fell_back += not log.append(name, content)
    assert log._settling is not None
    log._settling.join(30)
    assert len(list(folder.iterdir())) == 2
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2 * 12_288
    # Whatever is in no segment any more was there when everything was settled.
    gone = set(wanted) - set(held(folder))
    assert len(gone) - fell_back <= len(set().union(*settled))
    assert list(held(folder).values())[-1] in wanted.values()


def test_a_turn_does_not_take_up_what_an_earlier_one_left(folder: Path, small_segments: None) -> None:
    log = InstanceLog(folder, lambda: None)
    appended: list[str] = []
    number = 0
    while not appended or turn_of(folder / "0") < 3:
        number += 1
        if log.append(f"s/1.2/{number:03}", bytes(1_500)):
            appended.append(f"s/1.2/{number:03}")
        elif log._settling:
            log._settling.join()
    (first,) = [name for name, _ in entries(folder / "0")]
    assert first == appended[-1], "one entry of the third turn, and none of those that lie behind it"


def test_a_full_log_says_so_and_goes_on_once_it_is_settled(folder: Path, small_segments: None) -> None:
    go = threading.Event()
    log = InstanceLog(folder, lambda: go.wait(30) and None)
    said = [log.append(f"s/1.2/{number}", bytes(2_000)) for number in range(12)]
    assert said == [True] * 8 + [False] * 4
    go.set()
    assert log._settling is not None
    log._settling.join(30)
    assert log.append("s/1.2/last", bytes(2_000))


def test_entries_that_wait_share_a_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = InstanceLog(folder, lambda: None)
    assert log.append("s/1.2/first", b"x")
    syncs: list[int] = []
    entered, go = threading.Event(), threading.Event()
    fdatasync = os.fdatasync

    def slow(descriptor: int) -> None:
        syncs.append(descriptor)
        entered.set()
        go.wait(30)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    with ThreadPoolExecutor(9) as threads:
        one = threads.submit(log.append, "s/1.2/one", b"x")
        assert entered.wait(30)
        others = [threads.submit(log.append, f"s/1.2/{number}", b"x") for number in range(8)]
        while log._appended < 10:
            time.sleep(0.001)
        go.set()
        assert one.result(30)
        assert all(other.result(30) for other in others)
    assert len(syncs) == 2, "one for the first, one for all that came meanwhile"


def test_a_sync_that_failed_is_never_trusted_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = InstanceLog(folder, lambda: None)
    assert log.append("s/1.2/1", b"x")

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        assert not log.append("s/1.2/2", b"x")
    assert not log.append("s/1.2/3", b"x")


@pytest.mark.parametrize("settle_fails", [True, False])
def test_what_cannot_be_settled_at_the_end_stays(folder: Path, *, settle_fails: bool) -> None:
    def settle() -> None:
        if settle_fails:
            raise OSError(5, "Input/output error")

    log = InstanceLog(folder, settle)
    assert log.append("s/1.2/1", b"x")
    log.close()
    assert folder.exists() == settle_fails
    assert not log.append("s/1.2/2", b"x")


def test_an_entry_that_is_too_long_has_no_place(folder: Path) -> None:
    assert not InstanceLog(folder, lambda: None).append("s/1.2/1", bytes(LIMIT + 1))


def test_a_segment_of_something_else_holds_nothing(tmp_path: Path) -> None:
    for content in (b"", b"short", bytes(10_000), b"PONSLOG1" + bytes(100)):
        (tmp_path / "0").write_bytes(content)
        assert list(entries(tmp_path / "0")) == []
