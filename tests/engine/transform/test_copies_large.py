"""What is large goes from file to file: the same bytes, and never in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from engine.transform.copies import LARGE, write_edited
from engine.transform.steps import edits_of

MEGABYTE = 1 << 20
PIXELS = bytes(range(256)) * (LARGE // 256 + 4)
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    DeflatedExplicitVRLittleEndian,
]


def write(path: Path, syntax: UID, pixels: bytes = PIXELS) -> None:
    """An object with something behind its pixels, and with large values before them."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = "Größe^Anna"
    dataset.StudyDate = "20260131"
    dataset.private_block(0x0009, "ACME", create=True).add_new(0x01, "OB", PIXELS)
    dataset.BitsAllocated = 8
    if syntax.is_encapsulated:
        dataset.PixelData = encapsulate([pixels, pixels])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.add_new(0x7FE00010, "OB" if syntax == ExplicitVRLittleEndian else "OW", pixels)
    dataset.private_block(0x7FE1, "ACME", create=True).add_new(0x02, "LO", "behind the pixels")
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 16)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, dataset, enforce_file_format=True)


def edit(source: Path, target: Path, *steps: dict[str, Any]) -> None:
    write_edited(source, target, edits_of(steps, Path()))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_transfer_syntax_keeps_its_pixels_and_what_stands_behind_them(
    tmp_path: Path, syntax: UID
) -> None:
    source, target = tmp_path / "o.dcm", tmp_path / "c.dcm"
    write(source, syntax)
    edit(source, target, {"set": {"StudyDate": "20260201"}})
    before, after = dcmread(source), dcmread(target)
    changed = {tag for tag in before.keys() if before.get_item(tag).value != after.get_item(tag).value}  # noqa: SIM118
    assert changed == {0x00080020}
    assert before.file_meta == after.file_meta
    same = source.read_bytes().replace(b"20260131", b"20260201")
    if syntax != DeflatedExplicitVRLittleEndian:
        assert target.read_bytes() == same, "nothing else is written in another way"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_transfer_syntax_can_turn_into_utf_8_and_lose_what_is_private(
    tmp_path: Path, syntax: UID
) -> None:
    source, target = tmp_path / "o.dcm", tmp_path / "c.dcm"
    write(source, syntax)
    edit(source, target, {"set": {"StudyDescription": "頭部"}}, {"remove": ["private"]})
    before, after = dcmread(source), dcmread(target)
    assert after.SpecificCharacterSet == "ISO_IR 192"
    assert (str(after.PatientName), after.StudyDescription) == ("Größe^Anna", "頭部")
    assert after.get_item("PixelData").value == before.get_item("PixelData").value
    gone = before.keys() - after.keys()
    assert gone == {0x00090010, 0x00091001, 0x7FE10010, 0x7FE11002}


RUN = """
import resource, sys
from pathlib import Path
from engine.study_context import tolerate_sloppy_values
from engine.transform.copies import write_edited
from engine.transform.steps import edits_of
tolerate_sloppy_values()
steps = [{"set": {"StudyDescription": "Größe"}}, {"shift_dates": {"by": -1}}, {"remove": ["private"]}]
edits = edits_of(steps, Path())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_edited(Path(sys.argv[1]), Path(sys.argv[2]), edits)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def grown(arguments: Sequence[str]) -> int:
    """The megabytes by which a fresh process grows while it makes one copy."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_a_copy_of_a_huge_object_takes_no_memory_for_its_pixels(tmp_path: Path) -> None:
    source, target = tmp_path / "o.dcm", tmp_path / "c.dcm"
    write(source, ExplicitVRLittleEndian, b"")
    size = 200 * MEGABYTE
    content = source.read_bytes()
    head, tail = content.split(b"\xe0\x7f\x10\x00OB\0\0" + b"\0" * 4)
    with source.open("wb") as out:
        out.write(head + b"\xe0\x7f\x10\x00OB\0\0" + size.to_bytes(4, "little"))
        out.seek(size, 1)  # a hole in the file: pixels that are all zero
        out.write(tail)
    assert grown([str(source), str(target)]) < 40
    assert target.stat().st_size > size
