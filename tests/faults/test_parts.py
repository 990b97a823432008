"""The small parts of the fault rig: what each must get right for the verdict to mean anything."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random

import pydicom
import pytest

from bench.faults.disk import Disk
from bench.faults.engine_process import wrong_by
from bench.faults.records import Acknowledged, Ledger, Receipt, acknowledged, receipts
from bench.faults.rig import _measure
from bench.faults.studies import Growing, data_set_digest, invent
from tests.peers.part10 import data_set_bytes


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    told = [Acknowledged("north", "1.2", f"1.2.{n}", n, "sha", "c_store") for n in range(3)]
    taken = [Receipt("his", "ID", "1.2", 5, "final", "mute")]
    for name, entries in (("told", told), ("taken", taken)):
        ledger = Ledger(tmp_path / name)
        for one in entries:
            ledger.add(one)
        ledger.close()
    assert acknowledged(tmp_path / "told") == told
    assert receipts(tmp_path / "taken") == taken
    assert receipts(tmp_path / "nothing") == []


def of_three_parts(folder: Path) -> Growing:
    return next(
        g for seed in range(100) if len((g := invent(Random(seed), "north", f"{seed}", folder)).parts) == 3
    )


def test_a_growing_study_announces_all_but_what_comes_late(tmp_path: Path) -> None:
    study = of_three_parts(tmp_path)
    instances = [one for part in study.parts for one in part]
    assert [one.number for one in instances] == list(range(len(instances)))
    for one in instances:
        dataset = pydicom.dcmread(one.path)
        assert (dataset.InstanceNumber, dataset.StudyInstanceUID) == (one.number, study.study)
        assert dataset.ImagesInAcquisition == len(study.parts[0]) + len(study.parts[1])


def test_the_digest_is_that_of_the_data_set_alone(tmp_path: Path) -> None:
    one = of_three_parts(tmp_path).parts[0][0]
    content = one.path.read_bytes()
    assert data_set_digest(content) == one.sha256
    assert data_set_digest(content[:-1]) != one.sha256
    file = pydicom.dcmread(one.path)
    file.file_meta.SourceApplicationEntityTitle = "OTHER"
    file.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    other = (tmp_path / "other.dcm").read_bytes()
    assert (other != content, data_set_digest(other)) == (True, one.sha256)
    assert data_set_bytes(other) == data_set_bytes(content)


@pytest.mark.parametrize(("parts", "status"), [(1, "preliminary"), (2, "final"), (3, "final")])
def test_the_processor_says_what_it_was_given(tmp_path: Path, parts: int, status: str) -> None:
    study = of_three_parts(tmp_path)
    series, out = tmp_path / "in" / "1", tmp_path / "out"
    series.mkdir(parents=True)
    out.mkdir()
    given = [one for part in study.parts[:parts] for one in part]
    for one in given:
        (series / one.path.name).write_bytes(one.path.read_bytes())
    command = [word.format(**{"in": tmp_path / "in", "out": out}) for word in _measure()]
    subprocess.run(command, check=True)
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == status
    assert int(result["findings"][0]["value"]) == sum(1 << one.number for one in given)


def test_a_wrong_clock_is_wrong_by_what_the_file_says(tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    wall.write_text("-3600")
    assert wrong_by(wall, lambda: 10_000.0)() == 6_400.0


def test_a_full_disk_takes_not_a_byte_and_then_takes_again(tmp_path: Path) -> None:
    with Disk(tmp_path / "disk", 2) as disk:
        with disk.full(), pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(bytes(8192))
        (disk.folder / "file").write_bytes(bytes(8192))
    assert not (tmp_path / "disk" / "file").exists()
