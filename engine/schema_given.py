"""The `given:` of a test (engine.given) as JSON Schema, for completion in an editor.

Leaves: definitions for the study, one series and one instance: facts of the arrival, files, and
attributes with the values that they have.
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from engine.model import ResultStatus
from engine.schema_predicates import ATTRIBUTE, OFFERED, attribute_in_words

_VALUES = {
    "Modality": "MR",
    "BodyPartExamined": "BRAIN",
    "SeriesDescription": "ep2d dti 64",
    "StudyDescription": "MRI brain",
    "ProtocolName": "DTI 64",
    "PatientName": "Doe^Jane",
    "StudyDate": "20260131",
}
_BY_VR: dict[str, Any] = {"DA": "20260131", "TM": "0930", "UI": "1.2.3", "CS": "NONE", "AS": "045Y"}
_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US"})


def given_definitions() -> dict[str, Any]:
    """The definitions, by name; `given.study` is what a `given:` holds."""
    instances = {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "array", "items": {"$ref": "#/$defs/given.instance"}},
        ],
        "description": "How many instances, or a mapping for each that has attributes of its own.",
        "examples": [60, [{"EchoTime": 5}, {"EchoTime": 80}]],
    }
    return {
        "given.study": _attributes(_study()),
        "given.series": _attributes({"instances": instances}),
        "given.instance": _attributes({}),
    }


def _study() -> dict[str, Any]:
    told = {
        "site": ("Key of the site that it comes from; the only one when absent.", "st-marys"),
        "inbound": ("Key of the channel that it comes in by; the first when absent.", "pacs"),
        "calling_ae_title": ("What the sender calls itself; the site's first title when absent.", "STM_CT1"),
        "called_ae_title": ("What the sender calls; the channel's own title when absent.", "PONS"),
        "dicom_json": (
            "A file in DICOM JSON (PS3.18 F) that holds the study, beside this file.",
            "knee.json",
        ),
        "folder": ("A folder of DICOM files that holds the study, beside this file.", "studies/knee"),
    }
    facts = {
        name: {"type": "string", "minLength": 1, "description": description, "examples": [example]}
        for name, (description, example) in told.items()
    }
    time = {
        "type": "string",
        "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$",
        "description": "When its last instance comes, in the site's time; noon when absent.",
        "examples": ["23:30"],
    }
    series = {
        "type": "array",
        "items": {"$ref": "#/$defs/given.series"},
        "description": "Its series, each with attributes of its own; one of one instance when absent.",
        "examples": [[{"Modality": "MR", "SeriesDescription": "DTI", "instances": 64}]],
    }
    result = {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"status": {"enum": [str(one) for one in ResultStatus]}}},
        ],
        "description": "What processors give: a result.json beside this file, or one written out.",
        "examples": [{"status": "preliminary"}],
    }
    return {**facts, "time": time, "series": series, "result": result}


def _attributes(words: dict[str, Any]) -> dict[str, Any]:
    value = {"type": ["string", "number", "array"]}
    offered = {
        name: {**value, "description": attribute_in_words(name), "examples": [_value(name)]}
        for name in OFFERED
    }
    return {
        "type": "object",
        "properties": {**words, **offered},
        "patternProperties": {ATTRIBUTE: value},
        "additionalProperties": False,
    }


def _value(name: str) -> Any:
    vr = dictionary_VR(tag_for_keyword(name.rpartition(".")[2]) or 0)
    return _VALUES.get(name, 1 if vr in _NUMBERS else _BY_VR.get(vr, "a value"))
