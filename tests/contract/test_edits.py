"""What a route withholds from a destination is in nothing that any way out says of a result."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from channels.content import pdf
from engine.model import DeliveryId, History, Part
from engine.transform import edit_result
from tests.contract.house import PATIENT, House
from tests.contract.rigs import RIGS
from tests.peers.process import binary

AT = datetime(2026, 1, 2, 12, tzinfo=UTC)
STEPS: list[dict[str, Any]] = [
    {"remove": ["PatientName", "PatientBirthDate"]},
    {"set": {"StudyDescription": "withheld"}},
    {"map": {"AccessionNumber": {"table": {"ACC-99": "RIS-1"}, "otherwise": "remove"}}},
]
WITHHELD = [word for word in PATIENT if word != "P-4711"]
# These pass a study, or the files of a processor, on as they are.
RENDERING = sorted(set(RIGS) - {"dicom_forward", "stow_forward", "dicom_objects"})


def text_of(part: Part) -> str:
    """What a part says, but for what is in pictures and compressed pages."""
    return part.read().decode("utf-8", "replace")


def words_of(page: bytes) -> str:
    """The text of a PDF."""
    command = [binary("pdftotext", "poppler-utils"), "-", "-"]
    return subprocess.run(command, input=page, capture_output=True, check=True, timeout=60).stdout.decode()


@pytest.mark.parametrize("kind", RENDERING)
async def test_a_destination_is_told_no_more_than_its_edits_leave(kind: str, tmp_path: Path) -> None:
    async with RIGS[kind]([], tmp_path) as peer:
        house = House(tmp_path, peer.block, "10s")
        try:
            result = house.result(await house.study())
            history = History(DeliveryId("d-1"), AT)
            before = "".join(map(text_of, house.channel.render(result, history).parts))
            told = edit_result(result, STEPS)
            after = "".join(map(text_of, house.channel.render(told, history).parts))
        finally:
            house.close()
    assert [word for word in WITHHELD if word in before]
    assert [word for word in WITHHELD if word in after] == []
    assert ("P-4711" in after, "RIS-1" in after) == (True, True)


async def test_a_page_says_no_more_than_its_edits_leave(tmp_path: Path) -> None:
    async with RIGS["webhook"]([], tmp_path) as peer:
        house = House(tmp_path, peer.block, "10s")
        try:
            told = edit_result(house.result(await house.study()), STEPS)
        finally:
            house.close()
    page = words_of(pdf.render_pdf(told, AT))
    assert [word for word in WITHHELD if word in page] == []
    assert ("P-4711" in page, "RIS-1" in page) == (True, True)
