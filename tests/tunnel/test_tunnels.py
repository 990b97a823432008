"""Real tunnels: a hospital reaches what it may, is who its tunnel says, and nobody else gets near."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from tests.e2e.studies import small_study
from tests.peers.process import wait_until
from tests.tunnel.rig import Rig

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]


def test_a_hospital_stores_and_gets_its_report_and_its_message_back_inside(
    hospitals: Rig, real_study: Path, tmp_path: Path
) -> None:
    files = small_study(real_study, tmp_path / "study")
    statuses = hospitals.storescu("a", files)
    assert set(statuses.values()) == {"Success"}
    home = hospitals.folder / "site-a"
    wait_until(lambda: list((home / "his").glob("*.hl7")), "an ORU at site a", 90)
    wait_until(lambda: list((home / "pacs").glob("SR*")), "an SR at site a", 60)
    assert not list((hospitals.folder / "site-b").glob("his/*.hl7")), "nothing of a's at b"
    report = pydicom.dcmread(next((home / "pacs").glob("SR*")))
    assert pydicom.dcmread(files[0]).StudyInstanceUID == report.StudyInstanceUID
    wait_until(
        lambda: hospitals.deliveries() == {"a-pacs": ["delivered"], "a-his": ["delivered"]}, "both", 30
    )
