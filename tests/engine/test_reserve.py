"""The reserve is really allocated, given up when it is needed, and taken back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine.reserve import NEARLY_NOTHING, Reserve, should_give_up, should_take

MB = 1024**2


def test_the_space_is_allocated_and_not_merely_promised(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 2 * MB)
    assert not reserve.held
    assert reserve.take()
    assert reserve.held
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 2 * MB
    reserve.give_up()
    assert not reserve.held
    assert (tmp_path / "reserve").stat().st_blocks == 0


def test_another_process_sees_what_one_has_given_up(tmp_path: Path) -> None:
    one, other = Reserve(tmp_path / "reserve", MB), Reserve(tmp_path / "reserve", MB)
    one.take()
    assert other.held
    other.give_up()
    assert not one.held


def test_with_too_little_space_none_of_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    reserve = Reserve(tmp_path / "reserve", MB)
    assert not reserve.take()
    assert (tmp_path / "reserve").stat().st_size == 0


def test_a_reserve_of_nothing_is_always_held(tmp_path: Path) -> None:
    assert Reserve(tmp_path / "reserve", 0).held
    Reserve(tmp_path / "reserve", 0).give_up()


@pytest.mark.parametrize(
    ("free", "failed", "gives_up"),
    [
        (NEARLY_NOTHING, False, False),
        (NEARLY_NOTHING - 1, False, True),  # any write may be the one that fails
        (1 << 40, True, True),  # a quota shows only when a write fails
    ],
)
def test_when_it_is_given_up(free: int, failed: bool, gives_up: bool) -> None:
    assert should_give_up(free=free, failed=failed) is gives_up


def test_taken_back_it_leaves_more_than_would_make_it_be_given_up_again() -> None:
    size = 64 * MB
    least = next(free for free in range(size, size + 64 * MB, MB) if should_take(free=free, size=size))
    assert not should_give_up(free=least - size, failed=False)
    assert not should_take(free=size + NEARLY_NOTHING, size=size)
