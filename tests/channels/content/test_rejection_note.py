"""A retraction names what the destination has, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from channels.content import pdf, rejection_note, sc, sr
from engine.model import (
    Acknowledged,
    DeliveryId,
    History,
    Payload,
    Result,
    ResultStatus,
    uid_from,
)

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


@pytest.fixture
def retracted(full: Result) -> Result:
    return full.model_copy(update={"status": ResultStatus.RETRACTED})


def acknowledged(delivery: str, status: ResultStatus, payload: Payload) -> Acknowledged:
    """What the engine remembers of a delivery."""
    return Acknowledged(
        delivery_id=DeliveryId(delivery),
        status=status,
        revision=1,
        identifiers=tuple(part.identifier for part in payload.parts),
        sop_class_uids=tuple(part.facts["sop_class_uid"] for part in payload.parts),
        series_instance_uids=tuple(part.facts["series_instance_uid"] for part in payload.parts),
    )


@pytest.fixture
def history_of(history: Callable[..., History]) -> Callable[..., History]:
    """A function: the history of a destination that acknowledged these."""
    return lambda *earlier: replace(history(), acknowledged=earlier)


@pytest.fixture
def sent(full: Result, history: Callable[..., History]) -> Callable[..., Acknowledged]:
    """A function: what a destination acknowledged of the full result in some delivery."""

    def make(render: Any, delivery: str, status: ResultStatus = ResultStatus.FINAL) -> Acknowledged:
        return acknowledged(delivery, status, render(full, history(delivery=delivery)))

    return make


def named(document: Dataset) -> list[tuple[str, str]]:
    """Value type and instance of every object that a note rejects."""
    return [
        (one.ValueType, one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for one in document.ContentSequence
        if "ReferencedSOPSequence" in one
    ]


def cited(document: Dataset) -> dict[str, list[str]]:
    """Instances by their series, as the evidence has them."""
    [study] = document.CurrentRequestedProcedureEvidenceSequence
    return {
        series.SeriesInstanceUID: [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }


KINDS = [(sr.render, "COMPOSITE"), (sc.render, "IMAGE"), (pdf.render, "COMPOSITE")]


@pytest.mark.judges
@pytest.mark.parametrize(("render", "value_type"), KINDS, ids=["sr", "sc", "pdf"])
def test_what_was_acknowledged_is_rejected_in_a_note_that_judges_accept(
    retracted: Result,
    sent: Callable[..., Acknowledged],
    history_of: Callable[..., History],
    read: Any,
    dciodvfy: Any,
    tool: Any,
    render: Any,
    value_type: str,
) -> None:
    earlier = sent(render, "d-1")
    [part] = rejection_note.render(retracted, history_of(earlier)).parts
    document = read(part)

    assert dciodvfy(part) == []
    assert '(113037,DCM,"Rejected for Patient Safety Reasons")' in tool(
        "dsrdump", "dcmtk", part.read(), "+Pc", "{}"
    )
    assert document.SOPClassUID == part.facts["sop_class_uid"] == KEY_OBJECT_SELECTION
    assert (document.Modality, document.StudyInstanceUID) == ("KO", retracted.study.study_instance_uid)
    assert (document.PatientID, document.AccessionNumber) == ("P|1", "ACC-1")
    assert named(document) == [(value_type, earlier.identifiers[0])]
    assert cited(document) == {uid_from("d-1", "series"): list(earlier.identifiers)}


@pytest.mark.judges
def test_every_version_that_the_destination_has_is_rejected_at_once(
    retracted: Result,
    sent: Callable[..., Acknowledged],
    history_of: Callable[..., History],
    read: Any,
    dciodvfy: Any,
) -> None:
    earlier = [
        sent(sr.render, "d-1", ResultStatus.PRELIMINARY),
        sent(sr.render, "d-2", ResultStatus.FINAL),
        sent(sr.render, "d-3", ResultStatus.CORRECTED),
    ]
    [part] = rejection_note.render(retracted, history_of(*earlier)).parts

    assert dciodvfy(part) == []
    assert [uid for _, uid in named(read(part))] == [one.identifiers[0] for one in earlier]
    assert len(cited(read(part))) == 3


def test_a_failure_report_and_what_was_rejected_before_stay_out(
    retracted: Result, sent: Callable[..., Acknowledged], history_of: Callable[..., History], read: Any
) -> None:
    note = rejection_note.render(retracted, history_of(sent(sr.render, "d-1")))
    earlier = [
        sent(sr.render, "d-1"),
        acknowledged("d-2", ResultStatus.RETRACTED, note),
        sent(sr.render, "d-3", ResultStatus.FAILED),
        sent(sr.render, "d-4", ResultStatus.CORRECTED),
    ]
    [part] = rejection_note.render(retracted, history_of(*earlier)).parts

    assert [uid for _, uid in named(read(part))] == list(earlier[-1].identifiers)


def test_where_nothing_was_acknowledged_there_is_nothing_to_reject(
    retracted: Result, sent: Callable[..., Acknowledged], history_of: Callable[..., History]
) -> None:
    failure = sent(sr.render, "d-1", ResultStatus.FAILED)

    assert rejection_note.render(retracted, history_of()).parts == ()
    assert rejection_note.render(retracted, history_of(failure)).parts == ()


def test_a_note_is_the_same_for_the_same_delivery(
    retracted: Result, sent: Callable[..., Acknowledged], history_of: Callable[..., History]
) -> None:
    before = history_of(sent(sr.render, "d-1"))

    assert rejection_note.render(retracted, before) == rejection_note.render(retracted, before)


CLASSES = [
    # storage class, value type of its reference
    ("1.2.840.10008.5.1.4.1.1.7", "IMAGE"),  # Secondary Capture
    ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),  # Segmentation
    ("1.2.840.10008.5.1.4.1.1.30", "IMAGE"),  # Parametric Map
    ("1.2.840.10008.5.1.4.1.1.481.2", "IMAGE"),  # RT Dose
    ("1.2.840.10008.5.1.4.1.1.481.3", "COMPOSITE"),  # RT Structure Set
    ("1.2.840.10008.5.1.4.1.1.66.1", "COMPOSITE"),  # Spatial Registration
    ("1.2.840.10008.5.1.4.1.1.66", "COMPOSITE"),  # Raw Data
    ("1.2.840.10008.5.1.4.1.1.11.1", "COMPOSITE"),  # Grayscale Softcopy Presentation State
    ("1.2.840.10008.5.1.4.1.1.88.33", "COMPOSITE"),
    ("1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"),
]


@pytest.mark.parametrize(("sop_class_uid", "value_type"), CLASSES)
def test_an_image_is_named_as_one(
    retracted: Result, history: Any, read: Any, sop_class_uid: str, value_type: str
) -> None:
    before = history(ResultStatus.FINAL, sop_class_uid=sop_class_uid)
    [part] = rejection_note.render(retracted, before).parts

    assert named(read(part)) == [(value_type, before.acknowledged[0].identifiers[0])]
