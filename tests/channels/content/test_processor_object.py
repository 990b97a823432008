"""What a processor wrote goes out untouched, or not at all and for a reason without patient data."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from channels.content import processor_object
from engine.errors import Refused
from engine.model import Artefact, History, Result, uid_from

STUDY = uid_from("test", "study").encode()
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def written(full: Result, **other: Any) -> bytes:
    """A DICOM file as a processor might write it."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = SEGMENTATION, uid_from("test", "object")
    made.StudyInstanceUID, made.SeriesInstanceUID = full.study.study_instance_uid, uid_from("test", "made")
    made.PatientID, made.PatientName = "P|1 ", "Yamada^Tarou"
    made.PixelData, made.BitsAllocated = bytes(64), 8
    syntax = other.pop("syntax", ExplicitVRLittleEndian)
    announced = other.pop("announced", {})
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    for keyword, value in other.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    content = stream.getvalue()
    for before, after in announced.items():
        content = content.replace(before, after, 1)
    return content


@pytest.fixture
def with_files(full: Result, tmp_path: Path) -> Callable[..., Result]:
    """A function: the full result with these DICOM artefacts beside its picture."""

    def make(*contents: bytes) -> Result:
        made = list(full.report.artefacts)
        for number, content in enumerate(contents, start=1):
            path = tmp_path / f"object-{number}.dcm"
            path.write_bytes(content)
            made.append(Artefact(name=path.name, media_type="application/dicom", path=path))
        return full.model_copy(update={"report": full.report.model_copy(update={"artefacts": tuple(made)})})

    return make


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_object_of_the_study_leaves_byte_for_byte(
    full: Result, with_files: Callable[..., Result], history: Callable[..., History], syntax: str
) -> None:
    contents = [
        written(full, syntax=syntax),
        written(full, syntax=syntax, SOPInstanceUID=uid_from("test", "another object")),
    ]
    parts = processor_object.render(with_files(*contents), history()).parts

    assert [part.read() for part in parts] == contents
    assert [part.identifier for part in parts] == [
        uid_from("test", "object"),
        uid_from("test", "another object"),
    ]
    assert parts[0].facts == {
        "sop_class_uid": SEGMENTATION,
        "transfer_syntax_uid": str(syntax),
        "study_instance_uid": full.study.study_instance_uid,
        "series_instance_uid": uid_from("test", "made"),
    }


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 144"])
def test_a_patient_id_is_compared_as_text(
    full: Result, with_files: Callable[..., Result], history: Callable[..., History], charset: str
) -> None:
    patient = full.patient.model_copy(update={"patient_id": "П-17"})
    content = written(full, SpecificCharacterSet=charset, PatientID="П-17")
    result = with_files(content).model_copy(update={"patient": patient})

    assert len(processor_object.render(result, history()).parts) == 1


def test_a_result_without_objects_leaves_nothing(full: Result, history: Callable[..., History]) -> None:
    assert processor_object.render(full, history()).parts == ()


BAD: list[tuple[dict[str, Any], str]] = [
    # what is different, what the refusal says
    ({"StudyInstanceUID": "1.2.3"}, "its StudyInstanceUID 1.2.3 is not the study's own"),
    ({"PatientID": "Q-2"}, "its PatientID is not the study's own"),
    ({"PatientID": None}, "its PatientID is not the study's own"),
    ({"SOPInstanceUID": uid_from("test", "instance", "1")}, "is that of a source instance"),
    ({"SeriesInstanceUID": None}, "its SeriesInstanceUID is missing or malformed"),
    ({"announced": {STUDY: STUDY.replace(b".", b",")}}, "its StudyInstanceUID is missing or malformed"),
    ({"announced": {STUDY: STUDY[:-2] + "é".encode("latin-1") * 2}}, "its StudyInstanceUID is missing or"),
    (
        {"announced": {b"\x02\x00\x03\x00UI": b"\x02\x00\x04\x00UI"}},
        "announces another SOP class or instance",
    ),
    ({"announced": {b"\x02\x00\x10\x00UI": b"\x02\x00\x13\x00SH"}}, "lacks the TransferSyntaxUID"),
    ({"announced": {b"DICM": b"DICK"}}, "the preamble or DICM is missing"),
]


@pytest.mark.parametrize(("other", "words"), BAD)
def test_what_does_not_belong_is_refused(
    full: Result,
    with_files: Callable[..., Result],
    history: Callable[..., History],
    other: dict[str, Any],
    words: str,
) -> None:
    good = written(full, SOPInstanceUID=uid_from("test", "good"))
    with pytest.raises(Refused) as caught:
        processor_object.render(with_files(good, written(full, **other)), history())

    assert words in str(caught.value)
    assert "object-2.dcm" in str(caught.value)
    assert [one for one in ("P|1", "Q-2", "Yamada") if one in str(caught.value)] == []


@pytest.mark.parametrize("length", [0, 100, 132, 140, 300, 420])
def test_a_file_that_ends_early_is_refused(
    full: Result, with_files: Callable[..., Result], history: Callable[..., History], length: int
) -> None:
    with pytest.raises(Refused, match=r"object-1\.dcm is not sent"):
        processor_object.render(with_files(written(full)[:length]), history())


def test_two_objects_of_one_identity_are_refused(
    full: Result, with_files: Callable[..., Result], history: Callable[..., History]
) -> None:
    with pytest.raises(Refused, match="another object of this result"):
        processor_object.render(with_files(written(full), written(full)), history())


def test_an_object_that_changed_since_is_refused(
    full: Result, with_files: Callable[..., Result], history: Callable[..., History]
) -> None:
    result = with_files(written(full))
    artefacts = tuple(
        one.model_copy(update={"sha256": "0" * 64}) if one.media_type == "application/dicom" else one
        for one in result.report.artefacts
    )
    changed = result.report.model_copy(update={"artefacts": artefacts})
    with pytest.raises(Refused, match="not what the processor wrote"):
        processor_object.render(result.model_copy(update={"report": changed}), history())
