"""Senders nobody here wrote ask the engine whether what they sent is safe, and hear it (PS3.4 J)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study
from tests.peers import dcmjs, dcmtk
from tests.peers.dcmjs import ReportListener
from tests.peers.orthanc import Orthanc
from tests.peers.process import accepts_connections, wait_until

pytestmark = pytest.mark.peers

NOWHERE = ("1.2.840.10008.5.1.4.1.1.4", "2.25.404")


def table(dicom_port: int, report_to: dict[str, int]) -> dict[str, Any]:
    """Two sites at one address, told apart by their AE titles; nothing is routed."""
    peers = [
        {"site": "st-marys", "ae_title": title, "host": "127.0.0.1", "port": port}
        for title, port in report_to.items()
    ]
    return {
        "assembly": {"stable_after": "10m"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "ae_titles": ["STORESCU", "STM_PACS", "STM_CT"],
                "addresses": ["127.0.0.1"],
            },
            "st-lukes": {"name": "St. Luke's", "ae_titles": ["STL_CT"], "addresses": ["127.0.0.1"]},
        },
        "inbound": {
            "pacs": {
                "type": "c_store",
                "listen": f"127.0.0.1:{dicom_port}",
                "ae_title": "PONS",
                "commitment": {"report_to": peers, "timeout": "10s"},
            }
        },
        "routes": [{"name": "all", "otherwise": True, "hold": "not the subject here"}],
    }


def references(files: list[Path]) -> list[tuple[str, str]]:
    read = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    return [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in read]


def uids(files: list[Path]) -> list[str]:
    return sorted(uid for _, uid in references(files))


def store(engine: Engine, files: list[Path], calling: str = "STORESCU") -> None:
    sent = dcmtk.storescu(engine.dicom_port, files, calling=calling)
    assert set(sent.statuses.values()) == {"Success"}, sent.output


@pytest.fixture
def files(real_study_of_dcmtk: Path, tmp_path: Path) -> list[Path]:
    return small_study(real_study_of_dcmtk, tmp_path / "study", instances=4)


@pytest.fixture
def start(engine_process: Callable[..., Engine]) -> Callable[..., Engine]:
    def begin(**report_to: int) -> Engine:
        return engine_process(lambda port: table(port, report_to), patient_data=PERSON.words)

    return begin


def test_orthanc_asks_and_is_called_back(
    start: Callable[..., Engine],
    orthanc: Callable[..., Orthanc],
    free_port: Callable[[], int],
    files: list[Path],
) -> None:
    back = free_port()
    engine = start(STM_PACS=back)
    pacs = orthanc("STM_PACS", modalities={"pons": ("PONS", engine.dicom_port)}, dicom_port=back)
    stored = pacs.upload(files)
    assert pacs.store("pons", stored)["State"] == "Success"

    whole = pacs.commitment(pacs.request_commitment("pons", references(files)))
    assert whole["Status"] == "Success"
    assert sorted(one["SOPInstanceUID"] for one in whole["Success"]) == uids(files)

    engine.instance_files()[0].unlink()  # a disk that lost a file
    partly = pacs.commitment(pacs.request_commitment("pons", [*references(files), NOWHERE]))
    assert partly["Status"] == "Failure"
    assert len(partly["Success"]) == len(files) - 1
    reasons = {one["SOPInstanceUID"]: one["FailureReason"] for one in partly["Failures"]}
    assert reasons.pop(NOWHERE[1]) == 0x0112
    assert list(reasons.values()) == [0x0110]


def test_dcmjs_dimse_is_told_on_the_association_that_it_keeps_open(
    start: Callable[..., Engine], files: list[Path]
) -> None:
    engine = start()
    store(engine, files)
    heard = dcmjs.request_commitment(
        engine.dicom_port, generate_uid(), [*references(files), NOWHERE], calling="STM_CT", linger=4
    )
    assert heard[0] == {"status": 0}
    assert heard[1]["event"] == 2
    assert sorted(heard[1]["committed"]) == uids(files)
    assert heard[1]["failed"] == [[NOWHERE[1], 0x0112]]
    assert len(heard) == 2


def test_dcmjs_dimse_is_called_back_when_it_has_hung_up(
    start: Callable[..., Engine],
    report_listener: Callable[[int], ReportListener],
    free_port: Callable[[], int],
    files: list[Path],
) -> None:
    back = free_port()
    listener = report_listener(back)
    engine = start(STM_CT=back)
    store(engine, files)
    transaction = generate_uid()
    heard = dcmjs.request_commitment(engine.dicom_port, transaction, references(files), calling="STM_CT")
    report = listener.wait_for_report()
    assert heard == [{"status": 0}]
    assert (report["event"], report["transaction"]) == (1, transaction)
    assert sorted(report["committed"]) == uids(files)
    assert listener.roles[0] == [False, True]  # dcmjs-dimse notes it at the first context of the class


def test_nobody_learns_what_another_site_has_stored(start: Callable[..., Engine], files: list[Path]) -> None:
    engine = start()
    store(engine, files)
    heard = dcmjs.request_commitment(
        engine.dicom_port, generate_uid(), references(files), calling="STL_CT", linger=4
    )
    assert heard[1]["committed"] == []
    assert {reason for _, reason in heard[1]["failed"]} == {0x0112}


@pytest.mark.faults
def test_a_report_is_sent_though_the_engine_is_killed_before_it(
    start: Callable[..., Engine],
    report_listener: Callable[[int], ReportListener],
    free_port: Callable[[], int],
    files: list[Path],
) -> None:
    back = free_port()
    engine = start(STM_CT=back)
    store(engine, files)
    transaction = generate_uid()
    heard = dcmjs.request_commitment(engine.dicom_port, transaction, references(files), calling="STM_CT")
    assert heard == [{"status": 0}]
    engine.kill9()  # nobody listens for the report yet
    listener = report_listener(back)
    assert accepts_connections(back)
    engine.start()
    report = listener.wait_for_report()
    assert (report["event"], report["transaction"]) == (1, transaction)
    assert sorted(report["committed"]) == uids(files)
    wait_until(lambda: "storage commitment reported" in engine.log.read_text(), "the report to be settled")
    engine.stop()
    assert len(listener.reports) == 1
