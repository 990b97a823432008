"""Looking into what is sent: HL7, JSON, DICOM, text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import PonsError
from engine.model import Part, Payload
from engine.payload_field import values_of

MESSAGE = "\r".join(
    [
        "MSH|^~\\&|PONS|VENDOR|RIS|SITE|20260301103000+0000||ORU^R01^ORU_R01|id|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||4711^^^STM&2.999&ISO^MR~99^^^REG||Müller^Eva",
        "OBX|1|NM|snr^SNR^99PONS||31.5|1^no units^UCUM",
        "OBX|2|TX|note||a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\X0D\\g\\.br\\h\\H\\",
        "OBX|3|TX|empty||",
    ]
)

FIELDS: list[tuple[str, tuple[str, ...]]] = [
    ("PID-3.1", ("4711", "99")),  # every repetition
    ("PID-3[2].1", ("99",)),
    ("PID-3[1].4.2", ("2.999",)),  # a subcomponent
    ("PID-3[1]", ("4711^^^STM&2.999&ISO^MR",)),  # a field as it is written
    ("PID-5.1", ("Müller",)),
    ("PID-5.9", ()),  # not so many components
    ("PID-40", ()),  # not so many fields
    ("MSH-1", ("|",)),
    ("MSH-2", ("^~\\&",)),
    ("MSH-9.2", ("R01",)),
    ("OBX-5", ("31.5", "a|b^c&d~e\\f\rg\nh\\H\\")),  # unescaped; an empty value is none
    ("OBX[1]-5", ("31.5",)),
    ("OBX[9]-5", ()),
    ("ZZZ-1", ()),
]


def payload(content: bytes | Path, media_type: str) -> Payload:
    return Payload((Part("id", media_type, content),))


@pytest.mark.parametrize(("field", "values"), FIELDS)
def test_fields_of_an_hl7_message(field: str, values: tuple[str, ...]) -> None:
    assert values_of(payload(MESSAGE.encode(), "application/hl7-v2"), field) == values


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("~ISO IR87", "iso2022_jp"), ("UNICODE UTF-8", "utf-8")]
)
def test_a_message_is_read_in_its_own_character_set(charset: str, codec: str) -> None:
    name = "山田" if "IR87" in charset else "Müller"
    text = MESSAGE.replace("UNICODE UTF-8", charset).replace("Müller", name)
    assert values_of(payload(text.encode(codec), "x-application/hl7-v2+er7"), "PID-5.1") == (name,)


BUNDLE = {
    "resourceType": "Bundle",
    "entry": [
        {"resource": {"status": "final", "valueQuantity": {"value": 3.50}, "flag": True, "none": None}},
        {"resource": {"status": "amended", "identifier": [{"value": "x"}, {"value": "y"}]}},
    ],
}

PATHS: list[tuple[str, tuple[str, ...]]] = [
    ("resourceType", ("Bundle",)),
    ("entry.resource.status", ("final", "amended")),  # of every item
    ("entry.1.resource.status", ("amended",)),
    ("entry.resource.identifier.value", ("x", "y")),
    ("entry.1.resource.identifier.1.value", ("y",)),
    ("entry.0.resource.valueQuantity.value", ("3.50",)),  # digits are kept
    ("entry.0.resource.flag", ("true",)),
    ("entry.0.resource.none", ()),
    ("entry.9.resource", ()),
    ("entry", ()),  # an object is no value
    ("nothing.at.all", ()),
]


@pytest.mark.parametrize(("path", "values"), PATHS)
def test_fields_of_a_json_document(path: str, values: tuple[str, ...]) -> None:
    body = json.dumps(BUNDLE).replace("3.5", "3.50").encode()
    assert values_of(payload(body, "application/fhir+json"), path) == values


def test_fields_of_a_dicom_object_in_a_file_or_in_memory(
    tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    file = tmp_path / "1.dcm"
    file.write_bytes(instance(1))
    for content in (file, file.read_bytes()):
        assert values_of(payload(content, "application/dicom"), "Modality") == ("MR",)
        assert values_of(payload(content, "application/dicom"), "ContentSequence.TextValue") == ()


def test_the_values_of_all_parts_count() -> None:
    part = Part("id", "text/plain; charset=utf-8", b"hello")
    assert values_of(Payload((part, part)), "text") == ("hello", "hello")


WRONG: list[tuple[str, str, str]] = [
    ("application/hl7-v2", "PID.5", "'PID.5' is no HL7 field; write it as PID-5.1 or OBX[2]-5"),
    ("text/plain", "line", "a payload of text/plain has one field, text"),
    ("application/pdf", "text", "a test cannot look into application/pdf"),
]


@pytest.mark.parametrize(("media_type", "field", "message"), WRONG)
def test_a_field_that_the_format_does_not_have_is_told(media_type: str, field: str, message: str) -> None:
    with pytest.raises(PonsError, match=r".*") as error:
        values_of(payload(MESSAGE.encode(), media_type), field)
    assert str(error.value) == message


def test_what_names_no_attribute_of_a_dicom_object_is_told(instance: Callable[..., bytes]) -> None:
    with pytest.raises(PonsError, match="no DICOM attribute 'Modalitty'; did you mean 'Modality'"):
        values_of(payload(instance(1), "application/dicom"), "Modalitty")
