"""A message as text: what tells of the patient is behind the shield, what helps to find a fault is not."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from engine.delivery_model import MessageLine
from engine.operations import dicom_lines, hl7_lines, json_lines
from engine.operations.message import form_of
from engine.patient_attributes import SHIELD, asks_the_patient, without_what_was_found

ORU = "\r".join(
    (
        r"MSH|^~\&|PONS|STM|RIS|STM|20260131120000+0000||ORU^R01^ORU_R01|M1|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||P-4711^^^STM&1.2.3&ISO^MR||Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I||19510203|M",
        "NK1|1|Yamada^Hanako",
        "IN1|1|AOK|4711",
        "PV1|1|I|W-12",
        "OBR|1|PL-1|FI-1|24604-1^MR^LN|||20260131||||||||||||ACC-1",
        "OBX|1|NM|112225^Slice Thickness^DCM||2.000|mm^millimeter^UCUM|2-2|N|||F",
        "OBX|2|TX|59776-5^Narrative^LN||Mr Yamada moved||||||F",
        "OBX|3|ED|PDF^Report^L||^application^pdf^Base64^" + "QUJD" * 500 + "||||||F",
        "NTE|1|L|Yamada again",
        "ZPD|1|Yamada",
    )
).encode()
WORDS = ("Yamada", "Tarou", "Hanako", "太郎", "P-4711", "19510203", "AOK", "W-12")


def texts(lines: list[MessageLine]) -> str:
    return "\n".join(f"{line.name} {line.value}" for line in lines)


def test_of_an_hl7_message_the_patient_is_shielded_and_the_rest_is_read() -> None:
    lines = list(hl7_lines.lines(ORU, revealed=False))
    shown = texts(lines)
    assert not [word for word in WORDS if word in shown]
    assert [line.name for line in lines if line.shielded] == ["PID", "NK1", "IN1", "PV1", "OBX", "NTE", "ZPD"]
    for kept in ("ORU^R01^ORU_R01", "M1", "ACC-1", "PL-1", "112225^Slice Thickness^DCM||2.000|mm"):
        assert kept in shown
    assert "(2024 characters)" in shown, "a document is told by its length"


def test_revealed_an_hl7_message_says_what_is_sent() -> None:
    lines = list(hl7_lines.lines(ORU, revealed=True))
    assert all(word in texts(lines) for word in WORDS)
    assert not any(line.shielded for line in lines)


@given(st.binary(max_size=300))
def test_whatever_is_no_hl7_is_told_all_the_same(message: bytes) -> None:
    for line in hl7_lines.lines(b"MSH|^~\\&|" + message, revealed=False):
        assert isinstance(line.value, str)


BUNDLE = {
    "resourceType": "Bundle",
    "entry": [
        {
            "fullUrl": "urn:uuid:1",
            "resource": {
                "resourceType": "Patient",
                "identifier": [{"system": "urn:oid:1.2.3", "value": "P-4711"}],
                "name": [{"family": "Yamada", "given": ["Tarou"]}],
                "birthDate": "1951-02-03",
            },
            "request": {"method": "PUT", "url": "Patient?identifier=urn:oid:1.2.3|P-4711"},
        },
        {
            "resource": {
                "resourceType": "Observation",
                "text": {"status": "generated", "div": "<div>Yamada</div>"},
                "subject": {"reference": "urn:uuid:1", "display": "Yamada"},
                "performer": [{"reference": "Patient/P-4711"}],
                "valueQuantity": {"value": 2.50, "unit": "mm"},
                "presentedForm": [{"data": "QUJD" * 300}],
            }
        },
    ],
}


def test_of_a_fhir_bundle_the_patient_is_shielded_wherever_he_is_named() -> None:
    message = json.dumps(BUNDLE).replace("2.5", "2.50").encode()
    shown = texts(list(json_lines.lines(message, revealed=False)))
    assert not [word for word in ("Yamada", "Tarou", "P-4711", "1951") if word in shown]
    for kept in ('"resourceType": "Patient"', '"value": 2.50', '"unit": "mm"', '"reference": "urn:uuid:1"'):
        assert kept in shown
    assert "(1200 characters)" in shown
    revealed = texts(list(json_lines.lines(message, revealed=True)))
    assert all(word in revealed for word in ("Yamada", "Tarou", "P-4711", "1951-02-03"))


def test_what_is_shown_of_json_is_json_again() -> None:
    lines = json_lines.lines(json.dumps(BUNDLE).encode(), revealed=False)
    again = json.loads("\n".join(line.value for line in lines))
    assert again["entry"][0]["resource"]["birthDate"] == SHIELD
    assert again["entry"][1]["resource"]["valueQuantity"] == {"value": 2.5, "unit": "mm"}


def test_of_an_event_and_of_dicom_json_the_patient_is_shielded() -> None:
    event = {
        "type": "result.final",
        "data": {
            "patient": {"id": "P-4711", "name": {"alphabetic": "Yamada^Tarou"}},
            "header": {
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou"}]},
                "00080060": {"vr": "CS", "Value": ["MR"]},
                "00091001": {"vr": "LO", "Value": ["Yamada"]},
            },
            "impression": "Yamada is well",
        },
    }
    shown = texts(list(json_lines.lines(json.dumps(event).encode(), revealed=False)))
    assert not [word for word in ("Yamada", "Tarou", "P-4711") if word in shown]
    assert '"MR"' in shown
    assert "result.final" in shown


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(json_lines.lines(b"{", revealed=False))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    )
)
def test_nothing_inside_a_patient_is_ever_shown(inside: object) -> None:
    message = json.dumps({"patient": {"x": inside, "name": "Yamada"}}).encode()
    lines = list(json_lines.lines(message, revealed=False))
    shown = json.loads("\n".join(line.value for line in lines))
    assert "Yamada" not in str(shown)
    assert json.loads("\n".join(one.value for one in json_lines.lines(message, revealed=True))) == (
        json.loads(message)
    )


def sample(path: Path) -> Path:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = MRImageStorage
    instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.Modality, instance.StudyDate, instance.AccessionNumber = "MR", "20260131", "ACC-1"
    instance.PatientName, instance.PatientID, instance.PatientBirthDate = "Yamada^Tarou", "P-4711", "19510203"
    instance.ReferringPhysicianName = "Suzuki^Ichiro"
    instance.AdmissionID, instance.ImageComments = "W-12", "Yamada moved"
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepDescription = "RP-7", "brain"
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "T-1", "Yamada's brain"
    instance.RequestAttributesSequence = Sequence([request])
    instance.OtherPatientIDsSequence = Sequence([code])
    block = instance.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "LO", "Yamada")
    instance.BitsAllocated, instance.PixelData = 8, b"\0" * 64
    instance.save_as(path, enforce_file_format=True)
    return path


def test_of_a_dicom_object_the_patient_is_shielded_and_the_study_is_read(tmp_path: Path) -> None:
    file = sample(tmp_path / "one.dcm")
    lines = list(dicom_lines.lines(file, revealed=False))
    shown = texts(lines)
    hidden = ("Yamada", "Tarou", "P-4711", "19510203", "Suzuki", "W-12", "RP-7")
    assert not [word for word in hidden if word in shown]
    for kept in ("(0008,0060) CS Modality MR", "ACC-1", "20260131", "brain"):
        assert kept in shown
    assert "PixelData" not in shown
    assert any(line.depth == 1 for line in lines), "what is in a sequence stands below it"
    revealed = texts(list(dicom_lines.lines(file, revealed=True)))
    assert all(word in revealed for word in hidden)


@given(st.binary(max_size=200))
def test_whatever_is_no_dicom_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="DICOM"):
        list(dicom_lines.lines(BytesIO(content), revealed=False))  # type: ignore[arg-type]  # reads as a file does


@pytest.mark.parametrize(
    ("media_type", "form"),
    [
        ("application/dicom", "dicom"),
        ("application/hl7-v2", "hl7"),
        ("application/fhir+json; fhirVersion=4.0", "json"),
        ("application/json", "json"),
        ("text/csv", "text"),
        ("application/xml", "text"),
        ("message/rfc822", "text"),
        ("application/pdf", "none"),
        ("image/png", "none"),
    ],
)
def test_each_media_type_has_its_form(media_type: str, form: str) -> None:
    assert form_of(media_type) == form


@pytest.mark.parametrize(
    ("why", "shown"),
    [
        ("t.yaml:3:5: wanted PatientSex M, found 'F'", "t.yaml:3:5: wanted PatientSex M, found ••••"),
        ("wanted (0010,0020) P-1, found 'P-4711'", "wanted (0010,0020) P-1, found ••••"),
        ("wanted ReferringPhysicianName X, found 'Suzuki'", "wanted ReferringPhysicianName X, found ••••"),
        ("wanted Modality MR, found 'CT'", "wanted Modality MR, found 'CT'"),
        ("wanted site st-johns, found 'st-marys'", "wanted site st-johns, found 'st-marys'"),
        ("another route fired: mr", "another route fired: mr"),
    ],
)
def test_a_reason_tells_what_was_found_unless_it_is_of_the_patient(why: str, shown: str) -> None:
    assert without_what_was_found(why) == shown
    assert asks_the_patient(why) == (why != shown)
