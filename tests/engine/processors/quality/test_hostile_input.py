"""Damaged studies end in a sentence for the operator, never in a traceback or a patient's data."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from engine.errors import PonsError
from engine.processors.quality.__main__ import measure
from engine.processors.quality.protocol import load_protocol
from engine.processors.quality_control import PACKAGED_PROTOCOL
from examples.phantom import make_phantom


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_phantom(folder, slices=3, volumes=3, size=16, b0=1, patient_name="Doe^Jane")
    return folder


def damage(content: bytes, chance: random.Random) -> bytes:
    """A few bytes of the header changed, or the end lost."""
    spoilt = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 20])):
        spoilt[chance.randrange(132, len(spoilt) - 400)] = chance.choice(
            [0, 255, 0x5C, 0x2D, chance.randrange(256)]
        )
    return bytes(spoilt[: chance.randrange(len(spoilt))] if chance.random() < 0.1 else spoilt)


@pytest.mark.parametrize("seed", range(4))
def test_damage_anywhere_is_measured_or_refused(seed: int, tiny: Path, tmp_path: Path) -> None:
    protocol = load_protocol(PACKAGED_PROTOCOL)
    chance = random.Random(seed)
    intact = {path.name: path.read_bytes() for path in tiny.iterdir()}
    (tmp_path / "in").mkdir()
    measured, refused = 0, []
    for _ in range(60):
        spoilt = chance.choice(sorted(intact))
        for name, content in intact.items():
            (tmp_path / "in" / name).write_bytes(damage(content, chance) if name == spoilt else content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, as in the measuring process
            try:
                assert measure(tmp_path / "in", tmp_path, protocol, 100).findings
                measured += 1
            except PonsError as error:
                refused.append(str(error))
    assert measured > 10
    assert len(refused) > 10
    assert not [said for said in refused if "\n" in said or "Doe" in said]


def test_a_defect_is_told_by_its_place_without_the_values_it_met(tiny: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "engine.processors.quality"),
            *(str(tiny), str(tmp_path / "absent" / "Doe^Jane"), str(PACKAGED_PROTOCOL), "100"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("FileNotFoundError at ")
    assert ended.stderr.count("\n") == 1
    assert "Doe" not in ended.stderr
