"""What a destination is told of a result's study, and what no edit changes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from engine.errors import TransformFailed
from engine.model import Algorithm, Issuer, Order, PersonName, Report, Result, ResultStatus
from engine.study_context import context_of_header
from engine.transform.result import edit_result


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def result() -> Result:
    header = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4", StudyInstanceUID="1.2", PatientID="P-1",
        PatientName="Größe^Anna", PatientBirthDate="19800229", PatientSex="F", AccessionNumber="PACS-7",
        StudyDate="20260131", StudyTime="101112", StudyDescription="Schädel", Modality="MR",
        RequestAttributesSequence=[
            item(RequestedProcedureID="R-1", PlacerOrderNumberImagingServiceRequest="RIS-7")
        ],
    )  # fmt: skip
    context = context_of_header(header, Issuer(namespace="STM", oid="1.9"))
    return Result(
        result_id="r", site="st-marys", route="mr", status=ResultStatus.FINAL,
        produced_at=datetime(2026, 2, 1, tzinfo=UTC), patient=context.patient, order=context.order,
        study=context.study, report=Report(impression="nothing", algorithm=Algorithm(name="a", version="1")),
    )  # fmt: skip


def told(*steps: dict[str, Any]) -> Result:
    return edit_result(result(), steps, Path())


def test_without_steps_a_result_is_told_as_it_is() -> None:
    made = result()
    assert edit_result(made, ()) is made


def test_the_order_follows_its_attributes() -> None:
    placer = "RequestAttributesSequence.PlacerOrderNumberImagingServiceRequest"
    after = told({"copy": {placer: "AccessionNumber"}}, {"set": {"ReferringPhysicianName": "Ref^Ann"}})
    assert after.order == Order(
        accession_number="RIS-7", placer_order_number="RIS-7", requester=PersonName(alphabetic="Ref^Ann")
    )
    assert after.study.header["00080050"]["Value"] == ["RIS-7"], "renderers read it there too"


def test_the_study_follows_its_attributes() -> None:
    after = told({"shift_dates": {"by": -31}}, {"map": {"StudyDescription": {"table": {"Schädel": "Head"}}}})
    assert (after.study.description, after.study.started_at) == ("Head", datetime(2025, 12, 31, 10, 11, 12))
    assert after.patient.birth_date == date(1980, 1, 29)
    assert after.study.modalities == ("MR",)


def test_a_name_can_be_withheld_and_the_patient_stays_the_same() -> None:
    after = told({"remove": ["PatientName", "PatientSex"]})
    assert (after.patient.name, after.patient.sex) == (PersonName(), "")
    assert (after.patient.patient_id, after.patient.issuer) == ("P-1", Issuer(namespace="STM", oid="1.9"))
    assert after.report == result().report
    assert (after.study.study_instance_uid, after.result_id, after.status) == ("1.2", "r", "final")


def test_letters_of_any_script_come_through() -> None:
    after = told({"set": {"StudyDescription": "頭部"}})
    assert (after.study.description, after.patient.name.alphabetic) == ("頭部", "Größe^Anna")
    assert "00080005" not in after.study.header, "DICOM JSON is UTF-8 (PS3.18 F.2)"


def test_keep_leaves_what_a_result_is_matched_by() -> None:
    after = told({"keep": ["AccessionNumber"]})
    assert (after.order.accession_number, after.study.description) == ("PACS-7", "")
    assert (after.patient.patient_id, after.patient.name) == ("P-1", PersonName())


def test_the_same_edits_make_the_same_result() -> None:
    steps = ({"shift_dates": {"by": -31}}, {"remove": ["PatientName"]})
    assert told(*steps) == told(*steps)


def test_a_map_without_an_entry_stops_with_its_reason() -> None:
    with pytest.raises(TransformFailed, match="AccessionNumber has no entry"):
        told({"map": {"AccessionNumber": {"table": {"X": "Y"}, "otherwise": "hold"}}})
