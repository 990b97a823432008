"""The watch over the disk: one word at each change, intake shut and opened."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engine.disk import Disk, State
from engine.errors import Busy
from engine.reserve import Reserve
from engine.spool import Spool

MB = 1024**2


class Rig:
    """A disk with as much free space as the test says."""

    def __init__(self, folder: Path) -> None:
        self.beside = 1000 * MB  # free, were there no reserve
        self.low = 0
        self.reserve = Reserve(folder / "reserve", 64 * MB)
        self.spool = Spool(folder, max_instance=1000, min_free=100 * MB, free_space=lambda _: self.free())
        self.disk = Disk(self.spool, self.reserve, 100 * MB, on_low=self._on_low)

    def free(self) -> int:
        return max(0, self.beside - (self.reserve.size if self.reserve.held else 0))

    def _on_low(self) -> None:
        self.low += 1


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_disk_that_fills_and_empties_is_told_once_at_each_change(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pons.disk")
    seen = []
    for beside in (1000, 1000, 150, 150, 66, 66, 70, 150, 1000):
        rig.beside = beside * MB
        seen.append(rig.disk.look())
    assert seen == [
        State.ROOMY,
        State.ROOMY,
        State.LOW,  # 150 without the reserve
        State.LOW,
        State.FULL,  # 2 beside the reserve: it is given up
        State.FULL,
        State.FULL,  # not enough to take it back
        State.LOW,
        State.ROOMY,
    ]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "disk below its watermark",
        "disk full",
        "disk below its watermark",
        "disk has space again",
    ]
    assert rig.low == 6
    assert rig.disk.reasons == []


def test_intake_stays_shut_while_the_reserve_is_given_up_however_low_the_watermark(rig: Rig) -> None:
    rig.disk.look()
    rig.spool._min_free = 0
    rig.beside = 65 * MB
    assert rig.disk.look() is State.FULL
    assert rig.spool.free > 0
    with pytest.raises(Busy) as refusal:
        rig.spool.land()
    assert refusal.value.storage_full
    assert "reserve" in rig.disk.reasons[0]
    rig.beside = 1000 * MB
    rig.disk.look()
    rig.spool.land().discard()


def test_a_write_that_failed_for_want_of_space_gives_the_reserve_up_at_once(rig: Rig) -> None:
    rig.disk.look()
    rig.spool.failed()
    assert rig.disk.look() is State.FULL
    assert not rig.reserve.held
