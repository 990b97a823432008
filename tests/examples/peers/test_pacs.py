"""The example PACS, spoken to by DCMTK and by pynetdicom."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from examples.demo.senders import held_reactor

Peer = Callable[..., tuple[int, Path]]
PRIVATE_SOP_CLASS = "1.3.12.2.1107.5.9.1"  # Siemens CSA Non-Image Storage


def a_file(path: Path, sop_class_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance = FileDataset(path, Dataset(), file_meta=meta, preamble=b"\0" * 128)
    instance.SOPClassUID = meta.MediaStorageSOPClassUID
    instance.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    instance.StudyInstanceUID = generate_uid()
    instance.SeriesInstanceUID = generate_uid()
    instance.PatientID = "P1"
    instance.save_as(path, enforce_file_format=True)
    return instance


@pytest.mark.peers
def test_what_storescu_sends_is_filed_under_its_sop_instance_uid(start_peer: Peer, tmp_path: Path) -> None:
    port, folder = start_peer("pacs", "--ae-title", "DEMO_PACS")
    sent = a_file(tmp_path / "a.dcm", "1.2.840.10008.5.1.4.1.1.4")
    command = ["storescu", "-aec", "DEMO_PACS", "127.0.0.1", str(port), str(tmp_path / "a.dcm")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert [path.name for path in folder.iterdir()] == [f"{sent.SOPInstanceUID}.dcm"]
    assert pydicom.dcmread(folder / f"{sent.SOPInstanceUID}.dcm") == sent


def test_a_private_sop_class_is_stored_like_any_other(start_peer: Peer, tmp_path: Path) -> None:
    port, folder = start_peer("pacs", "--ae-title", "DEMO_PACS")
    sent = a_file(tmp_path / "a.dcm", PRIVATE_SOP_CLASS)
    scu = AE()
    scu.add_requested_context(PRIVATE_SOP_CLASS, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", port, ae_title="DEMO_PACS")
    assert association.is_established
    with held_reactor(association):
        assert association.send_c_store(sent).Status == 0x0000
    association.release()
    assert (folder / f"{sent.SOPInstanceUID}.dcm").is_file()


@pytest.mark.peers
def test_an_echo_is_answered_and_another_title_is_turned_away(start_peer: Peer) -> None:
    port, _ = start_peer("pacs", "--ae-title", "DEMO_PACS")
    echo = ["echoscu", "127.0.0.1", str(port), "-aec"]
    assert subprocess.run([*echo, "DEMO_PACS"], timeout=60).returncode == 0
    assert subprocess.run([*echo, "SOMEONE"], timeout=60, stderr=subprocess.DEVNULL).returncode != 0
