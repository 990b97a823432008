"""The structured report, read back by judges and by DCMTK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydicom.dataset import Dataset

from channels.content import sr
from channels.content.content_item import decimal_string
from engine.model import History, Order, Result, ResultStatus, uid_from

Standing = Callable[..., tuple[Result, History]]
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def walk(item: Dataset) -> Iterator[Dataset]:
    """An item and all that hang below it, in order."""
    yield item
    for child in item.get("ContentSequence") or ():
        yield from walk(child)


def named(item: Dataset, meaning: str) -> list[Dataset]:
    """The content items whose concept has this meaning."""
    return [
        one
        for one in walk(item)
        if "ConceptNameCodeSequence" in one and one.ConceptNameCodeSequence[0].CodeMeaning == meaning
    ]


@pytest.fixture
def document(full: Result, history: Any, read: Any) -> Dataset:
    return read(sr.render(full, history()).parts[0])


@pytest.mark.judges
@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_dciodvfy_finds_no_error(
    in_standing: Standing, dciodvfy: Any, kind: str, status: ResultStatus
) -> None:
    assert dciodvfy(sr.render(*in_standing(kind, status, COMPREHENSIVE_SR)).parts[0]) == []


@pytest.mark.judges
def test_dciodvfy_finds_no_error_with_a_real_header(
    full: Result, history: Any, dciodvfy: Any, real_header: dict[str, Any]
) -> None:
    study = full.study.model_copy(update={"header": real_header})
    assert dciodvfy(sr.render(full.model_copy(update={"study": study}), history()).parts[0]) == []


@pytest.mark.judges
def test_dsrdump_reads_every_finding(full: Result, history: Any, tool: Any) -> None:
    part = sr.render(full, history()).parts[0]
    text = tool("dsrdump", "dcmtk", part.read(), "+Pc", "{}")
    for line in (
        '(in-plane,99PONS,"In-plane resolution")="1.60" (mm,UCUM,"millimeter")',
        '(118565006,SCT,"Volume")="3.50" (mL,UCUM,"milliliter")',
        '(protocol-check,99PONS,"Protocol check")=(out-of-protocol,99PONS,"Out of protocol")',
        '(121407,DCM,"Normal Range description")="1.85 to 2.15 mm"',
        '(121402,DCM,"Normality")=(371880002,SCT,"Abnormally Low")',
        '(111001,DCM,"Algorithm Name")="Pons quality control"',
        '(121058,DCM,"Procedure reported")=(25056-3,LN,"MRI unspecified body region")',
        "山田^太郎",
    ):
        assert line in text, text


@pytest.mark.judges
def test_highdicom_reads_it_as_a_measurement_report(full: Result, history: Any, read: Any) -> None:
    from highdicom.sr import MeasurementReport

    document = read(sr.render(full, history()).parts[0])
    report = MeasurementReport.from_sequence([document])
    groups = report.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        "Verdict",
        "Geometry",
        "hippocampus left",
        "hippocampus right",
        "Findings",
    ]
    assert [[one.value for one in group.get_measurements()] for group in groups] == [
        [],
        [1.6],
        [3.5],
        [1.9],
        [-0.0000123],
    ]


def test_the_study_s_own_facts_are_carried_over(document: Dataset, full: Result) -> None:
    assert document.StudyInstanceUID == full.study.study_instance_uid
    assert (document.StudyDate, document.StudyTime, document.StudyID) == ("20240409", "124518", "S-1")
    assert document.StudyDescription == "MR brain"
    assert document.PatientName == "Yamada^Tarou^^Dr^Jr=山田^太郎=やまだ^たろう"
    assert (document.PatientID, document.PatientSex, document.PatientAge) == ("P|1", "F", "054Y")
    assert document.IssuerOfPatientID == "STM"
    assert document.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3.4"
    assert document.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert document.ReferringPhysicianName == "Ref^Ann"
    assert document.SpecificCharacterSet == "ISO_IR 192"


def test_our_own_times_are_on_the_study_s_clock(document: Dataset) -> None:
    assert document.TimezoneOffsetFromUTC == "+0100"
    assert (document.ContentDate, document.ContentTime) == ("20261124", "110500")
    assert document.ObservationDateTime == "20261124110000"


def test_no_offset_is_claimed_for_a_clock_that_nobody_vouched_for(minimal: Result, history: Any) -> None:
    content = sr.render(minimal, history()).parts[0].read()
    assert b"\x08\x00\x01\x02" not in content[:2000]


def test_all_sources_are_evidence_and_one_stands_in_the_library(document: Dataset, full: Result) -> None:
    [study] = document.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    cited = [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
    assert cited == [one.sop_instance_uid for one in full.study.instances]
    images = [one for one in walk(document) if one.ValueType == "IMAGE"]
    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in images] == cited[:1]


def test_the_order_is_referenced(document: Dataset) -> None:
    [request] = document.ReferencedRequestSequence
    assert (request.AccessionNumber, request.PlacerOrderNumberImagingServiceRequest) == ("ACC-1", "PL-1")
    assert (request.FillerOrderNumberImagingServiceRequest, request.RequestedProcedureID) == ("FI-1", "RP-7")
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "BRDTI"
    assert document.PerformedProcedureCodeSequence[0].CodeValue == "BRDTI"


def test_the_maker_is_named_with_version_and_udi(document: Dataset) -> None:
    assert (document.Manufacturer, document.SoftwareVersions) == ("Pons", "0.1.0")
    assert document.UDISequence[0].UniqueDeviceIdentifier == "(01)00844588003288(10)A213B1"
    [scheme] = [
        one for one in document.CodingSchemeIdentificationSequence if one.CodingSchemeDesignator == "99PONS"
    ]
    assert scheme.CodingSchemeUID == uid_from("coding scheme", "99PONS")


FLAGS = [
    # status,                 preliminary,   completion
    (ResultStatus.PRELIMINARY, "PRELIMINARY", "PARTIAL"),
    (ResultStatus.FINAL, "FINAL", "COMPLETE"),
    (ResultStatus.CORRECTED, "FINAL", "COMPLETE"),
]


@pytest.mark.parametrize(("status", "preliminary", "completion"), FLAGS)
def test_the_standing_shows_in_the_flags(
    in_standing: Standing, read: Any, status: ResultStatus, preliminary: str, completion: str
) -> None:
    document = read(sr.render(*in_standing("full", status)).parts[0])
    assert (document.PreliminaryFlag, document.CompletionFlag) == (preliminary, completion)
    assert document.VerificationFlag == "UNVERIFIED"
    assert ("CORRECTED" in document.SeriesDescription) == (status is ResultStatus.CORRECTED)


def test_a_correction_names_what_this_destination_had(full: Result, history: Any, read: Any) -> None:
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED})
    past = history(ResultStatus.PRELIMINARY, ResultStatus.FINAL, sop_class_uid=COMPREHENSIVE_SR)
    [study] = read(sr.render(corrected, past).parts[0]).PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    [reference] = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == full.study.study_instance_uid
    assert series.SeriesInstanceUID == uid_from("d-2", "series")
    assert reference.ReferencedSOPInstanceUID == past.acknowledged[-1].identifiers[0]
    assert reference.ReferencedSOPClassUID == COMPREHENSIVE_SR


def test_a_predecessor_s_series_is_the_one_it_was_sent_in(full: Result, history: Any) -> None:
    earlier = sr.render(full, history(delivery="d-1")).parts[0]
    assert earlier.facts["series_instance_uid"] == uid_from("d-1", "series")


@pytest.mark.parametrize("status", [ResultStatus.FINAL, ResultStatus.CORRECTED])
def test_nothing_precedes_where_nothing_was_acknowledged(
    full: Result, history: Any, read: Any, status: ResultStatus
) -> None:
    document = read(sr.render(full.model_copy(update={"status": status}), history()).parts[0])
    assert "PredecessorDocumentsSequence" not in document
    assert "CORRECTED" not in document.SeriesDescription


def test_a_failure_is_told_in_words_and_replaces_nothing(in_standing: Standing, read: Any) -> None:
    result, _ = in_standing("full", ResultStatus.FAILED)
    _, past = in_standing("full", ResultStatus.CORRECTED, COMPREHENSIVE_SR)
    document = read(sr.render(result, past).parts[0])
    assert "PredecessorDocumentsSequence" not in document
    said = [one.TextValue for one in walk(document) if one.ValueType == "TEXT"]
    assert "FAILED - NO RESULT" in said
    assert "Processor dti-qc: timed out." in said


def test_lines_and_delimiters_of_a_text_survive(document: Dataset) -> None:
    [remark] = named(document, "Remark")
    assert remark.TextValue == "first line ~ ^ & \\ |\nzweite Zeile µ"


def test_an_order_without_a_number_is_no_request(full: Result, history: Any, read: Any) -> None:
    document = read(sr.render(full.model_copy(update={"order": Order()}), history()).parts[0])
    assert "ReferencedRequestSequence" not in document
    [procedure] = named(document, "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "MRI unspecified body region"


NUMBERS = [
    # value, its DS of 16 characters at most (PS3.5 6.2)
    ("1.60", "1.60"),
    ("-0.0000123", "-0.0000123"),
    ("0", "0"),
    ("1234567890123456", "1234567890123456"),
    ("3.14159265358979323846", "3.14159265358979"),
    ("-3.14159265358979323846", "-3.1415926535898"),
    ("12345678901234567890", "1.2345678901E+19"),
    ("1E+400", "1E+400"),
    ("-1.5E-400", "-1.5E-400"),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS)
def test_a_number_fits_a_decimal_string(value: str, expected: str) -> None:
    written = decimal_string(Decimal(value))
    assert len(written) <= 16
    assert abs(Decimal(written) - Decimal(value)) <= abs(Decimal(value)) * Decimal("1E-9")
    assert written == expected


def test_what_a_decimal_string_cannot_hold_stands_beside_it(full: Result, history: Any, read: Any) -> None:
    exact = Decimal("3.14159265358979323846")
    findings = (full.report.findings[1].model_copy(update={"value": exact, "flag": None}),)
    report = full.report.model_copy(update={"findings": findings})
    document = read(sr.render(full.model_copy(update={"report": report}), history()).parts[0])
    [item] = named(document, "In-plane resolution")
    assert item.MeasuredValueSequence[0].FloatingPointValue == float(exact)
