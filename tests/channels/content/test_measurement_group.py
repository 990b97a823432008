"""Findings in groups, with and without regions, read by every judge of structured reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from channels.content import rejection_note, sr
from engine.errors import Refused
from engine.model import Finding, History, PersonName, Result, ResultStatus, uid_from
from tests.peers.judges import dciodvfy_errors, sr_validator_errors

COMPREHENSIVE_SR, COMPREHENSIVE_3D_SR = sr.COMPREHENSIVE_SR, sr.COMPREHENSIVE_3D_SR
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def source(number: int) -> str:
    return uid_from("test", "instance", str(number))


CIRCLE = {
    "kind": "scoord",
    "graphic_type": "CIRCLE",
    "coordinates": [10.5, 10.5, 20.5, 10.5],
    "referenced_sop_instance_uid": source(1),
}
OUTLINE = {
    "kind": "scoord",
    "graphic_type": "POLYLINE",
    "coordinates": [1, 1, 9, 1, 9, 9, 1, 1],
    "referenced_sop_instance_uid": source(2),
}
POINTS = CIRCLE | {"graphic_type": "MULTIPOINT", "coordinates": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]}
POLYGON = {
    "kind": "scoord3d",
    "graphic_type": "POLYGON",
    "coordinates": [0, 0, -1.5, 10, 0, -1.5, 10, 10, -1.5, 0, 0, -1.5],
    "frame_of_reference_uid": uid_from("test", "frame of reference"),
}
SEGMENT = {
    "kind": "segment",
    "series_instance_uid": uid_from("test", "segmentation series"),
    "sop_class_uid": SEGMENTATION,
    "sop_instance_uid": uid_from("test", "segmentation"),
    "segment_number": 2,
}
PLANE = SEGMENT | {"frame_number": 3, "source_sop_instance_uid": source(1)}

ROIS: dict[str, list[dict[str, Any]]] = {
    "planar": [CIRCLE],
    "two planar": [CIRCLE, OUTLINE],
    "points": [POINTS],
    "in space": [POLYGON],
    "segment": [SEGMENT],
    "plane of a segment": [PLANE],
}
MIXED = [CIRCLE, POINTS, POLYGON, SEGMENT, PLANE]


@pytest.fixture
def measured(full: Result) -> Callable[..., Result]:
    """A function: the full result with one volume for each region."""

    def make(*rois: dict[str, Any]) -> Result:
        volume = full.report.findings[2].model_dump() | {"tracking_id": "", "tracking_uid": ""}
        findings = tuple(Finding.model_validate(volume | {"group": "Lesion", "roi": roi}) for roi in rois)
        return full.model_copy(update={"report": full.report.model_copy(update={"findings": findings})})

    return make


@pytest.fixture
def many(full: Result) -> Callable[[int], Result]:
    """A function: the full result with that many findings, in groups of five."""

    def make(count: int) -> Result:
        findings = tuple(
            full.report.findings[number % 6].model_copy(
                update={"group": f"Structure {number // 5}", "tracking_id": "", "tracking_uid": ""}
            )
            for number in range(count)
        )
        return full.model_copy(update={"report": full.report.model_copy(update={"findings": findings})})

    return make


@pytest.fixture
def filed(tmp_path: Path, history: Any) -> Callable[..., Path]:
    """A function that renders a result and files the report."""

    def make(name: str, result: Result, past: History | None = None) -> Path:
        path = tmp_path / f"{name.replace(' ', '-')}.dcm"
        path.write_bytes(sr.render(result, past or history()).parts[0].read())
        return path

    return make


def groups(document: Dataset) -> Iterator[Dataset]:
    for one in document.ContentSequence:
        if one.ConceptNameCodeSequence[0].CodeValue == "126010":
            yield from one.ContentSequence


def concepts(item: Dataset) -> list[str]:
    return [
        one.ConceptNameCodeSequence[0].CodeMeaning
        for one in item.get("ContentSequence", ())
        if "ConceptNameCodeSequence" in one
    ]


@pytest.mark.judges
def test_the_sr_validator_finds_no_error_in_any_standing_size_or_region(
    in_standing: Callable[..., tuple[Result, History]],
    measured: Callable[..., Result],
    many: Callable[[int], Result],
    filed: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Its time and memory grow faster than the findings (400: a minute and 8 GB); other judges see 400."""
    paths = [
        filed(f"{kind} {status}", *in_standing(kind, status, COMPREHENSIVE_SR))
        for kind in ("full", "minimal")
        for status in ResultStatus
    ]
    paths += [filed(name, measured(*rois)) for name, rois in ROIS.items()]
    for script, name in {"arabic": "محمد^علي", "cyrillic": "Люкceмбypг^Анна", "latin": "Müller^Jörg"}.items():
        for status in ResultStatus:
            result, past = in_standing("full", status, COMPREHENSIVE_SR)
            patient = result.patient.model_copy(update={"name": PersonName.parse(name)})
            paths.append(filed(f"{script} {status}", result.model_copy(update={"patient": patient}), past))
    paths.append(filed("many", many(150)))
    note = tmp_path / "note.dcm"
    retracted = in_standing("full", ResultStatus.RETRACTED, COMPREHENSIVE_SR)
    note.write_bytes(rejection_note.render(*retracted).parts[0].read())
    paths.append(note)
    broken = filed("broken", measured(CIRCLE))
    document = dcmread(broken)
    document.ContentSequence[0].RelationshipType = "CONTAINS"
    document.save_as(broken)

    mixed = filed("mixed", measured(*MIXED))
    verdicts = sr_validator_errors([*paths, mixed, broken])
    found = {path.stem: errors for path, errors in verdicts.items() if errors}

    assert list(found) == ["mixed", "broken"]
    # It takes the conditions of one kind of group for those of its neighbours, and errs in nothing else.
    assert [one for one in found["mixed"] if "onditional content item" not in one] == []
    assert "Incorrect relationship - expected HAS CONCEPT MOD - found CONTAINS" in found["broken"][0]


@pytest.mark.judges
def test_dciodvfy_finds_no_error_in_any_region(
    measured: Callable[..., Result], many: Callable[[int], Result], filed: Callable[..., Path]
) -> None:
    paths = [filed(name, measured(*rois)) for name, rois in (ROIS | {"mixed": MIXED}).items()]
    paths.append(filed("huge", many(400)))

    assert {path.stem: errors for path in paths if (errors := dciodvfy_errors(path))} == {}


@pytest.mark.judges
@pytest.mark.parametrize("roi", [CIRCLE, POLYGON, PLANE], ids=["image", "space", "plane"])
def test_highdicom_reads_a_planar_region(
    measured: Callable[..., Result], history: Any, read: Any, roi: dict[str, Any]
) -> None:
    from highdicom.sr import MeasurementReport

    document = read(sr.render(measured(roi), history()).parts[0])
    [group] = MeasurementReport.from_sequence([document]).get_planar_roi_measurement_groups()

    assert group.tracking_identifier == "Lesion"
    assert [one.value for one in group.get_measurements()] == [3.5]


@pytest.mark.judges
def test_highdicom_reads_a_volume(measured: Callable[..., Result], history: Any, read: Any) -> None:
    from highdicom.sr import MeasurementReport

    document = read(sr.render(measured(SEGMENT), history()).parts[0])
    [group] = MeasurementReport.from_sequence([document]).get_volumetric_roi_measurement_groups()

    assert [one.value for one in group.get_measurements()] == [3.5]


TEMPLATES = [
    # region, template of its group, what says where it is, class of the document
    (CIRCLE, "1410", ["Image Region"], COMPREHENSIVE_SR),
    (OUTLINE, "1410", ["Image Region"], COMPREHENSIVE_SR),
    (POLYGON, "1410", ["Image Region"], COMPREHENSIVE_3D_SR),
    (PLANE, "1410", ["Referenced Segmentation Frame", "Source image for segmentation"], COMPREHENSIVE_SR),
    (SEGMENT, "1411", ["Referenced Segment", "Source series for segmentation"], COMPREHENSIVE_SR),
    (POINTS, "1501", [], COMPREHENSIVE_SR),
    (None, "1501", [], COMPREHENSIVE_SR),
]


@pytest.mark.parametrize(("roi", "template", "where", "sop_class_uid"), TEMPLATES)
def test_the_template_follows_the_region(
    measured: Callable[..., Result],
    history: Any,
    read: Any,
    roi: dict[str, Any],
    template: str,
    where: list[str],
    sop_class_uid: str,
) -> None:
    document = read(sr.render(measured(roi), history()).parts[0])
    [group] = groups(document)

    assert document.SOPClassUID == document.file_meta.MediaStorageSOPClassUID == sop_class_uid
    assert group.ContentTemplateSequence[0].TemplateIdentifier == template
    assert concepts(group)[2 : 2 + len(where)] == where


def test_a_region_keeps_its_coordinates_and_its_image(
    measured: Callable[..., Result], history: Any, read: Any
) -> None:
    framed = OUTLINE | {"referenced_frame_number": 4}
    document = read(sr.render(measured(framed), history()).parts[0])
    region = next(groups(document)).ContentSequence[2]
    [selected] = region.ContentSequence
    [reference] = selected.ReferencedSOPSequence

    assert (region.ValueType, region.GraphicType) == ("SCOORD", "POLYLINE")
    assert list(region.GraphicData) == OUTLINE["coordinates"]
    assert selected.RelationshipType == "SELECTED FROM"
    assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (source(2), 4)


def test_points_are_what_a_measurement_is_inferred_from(
    measured: Callable[..., Result], history: Any, read: Any
) -> None:
    document = read(sr.render(measured(POINTS), history()).parts[0])
    [number] = [one for one in next(groups(document)).ContentSequence if one.ValueType == "NUM"]
    [points] = [one for one in number.ContentSequence if one.ValueType == "SCOORD"]

    assert (points.RelationshipType, points.GraphicType) == ("INFERRED FROM", "MULTIPOINT")
    assert list(points.GraphicData) == POINTS["coordinates"]


def test_images_of_regions_are_in_the_library_and_segmentations_in_the_evidence(
    measured: Callable[..., Result], history: Any, read: Any
) -> None:
    document = read(sr.render(measured(*MIXED, OUTLINE), history()).parts[0])
    [library] = [
        one for one in document.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "111028"
    ]
    entries = library.ContentSequence[0].ContentSequence
    [study] = document.CurrentRequestedProcedureEvidenceSequence
    cited = {
        one.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }

    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in entries] == [
        source(0),
        source(1),
        source(2),
    ]
    assert set(cited) == {source(0), source(1), source(2), SEGMENT["sop_instance_uid"]}
    assert cited[SEGMENT["sop_instance_uid"]] == SEGMENT["series_instance_uid"]


def test_like_regions_of_one_group_are_tracked_apart_and_alike_in_every_version(
    measured: Callable[..., Result], history: Any, read: Any
) -> None:
    first = list(groups(read(sr.render(measured(CIRCLE, OUTLINE), history()).parts[0])))
    moved = CIRCLE | {"coordinates": [11.5, 10.5, 21.5, 10.5]}
    later = list(groups(read(sr.render(measured(moved, OUTLINE), history(delivery="d-10")).parts[0])))

    assert [one.ContentSequence[0].TextValue for one in first] == ["Lesion", "Lesion 2"]
    assert first[0].ContentSequence[1].UID != first[1].ContentSequence[1].UID
    assert [one.ContentSequence[1].UID for one in first] == [one.ContentSequence[1].UID for one in later]


def test_a_flag_stands_beside_its_number_with_what_it_follows_from(
    full: Result, history: Any, read: Any
) -> None:
    document = read(sr.render(full, history()).parts[0])
    found = {}
    for group in groups(document):
        for before, one in pairwise(group.ContentSequence):
            if one.ConceptNameCodeSequence[0].CodeMeaning == "Normality":
                assert before.MeasuredValueSequence == one.ContentSequence[0].MeasuredValueSequence
                found[group.ContentSequence[0].TextValue] = (
                    one.ConceptCodeSequence[0].CodeMeaning,
                    [str(each.MeasuredValueSequence[0].NumericValue) for each in one.ContentSequence],
                )

    assert found == {
        "Geometry": ("Abnormally Low", ["1.60", "1.85", "2.15"]),
        "hippocampus left": ("Normal", ["3.50", "2.0"]),
        "hippocampus right": ("Abnormally Low", ["1.900", "2.0"]),
    }


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        (CIRCLE | {"referenced_sop_instance_uid": "1.2.3"}, "drawn on instance 1.2.3, which is none of"),
        (PLANE | {"source_sop_instance_uid": "1.2.3"}, "drawn on instance 1.2.3, which is none of"),
    ],
)
def test_a_region_on_an_image_of_elsewhere_is_refused(
    measured: Callable[..., Result], history: Any, roi: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        sr.render(measured(roi), history())
