"""The grammar of `match:` and `select:` (engine.grammar) as JSON Schema, for completion in an editor.

Leaves: definitions for a study, a series, an instance, the test of a value, and a count. An editor
completes what stands among the `properties`; it knows every other attribute by its shape only, and
`pons check` by its name.
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword

from engine.facts import CONTEXT_FACTS
from engine.grammar import OPERATORS

_STEP = r'([A-Z][A-Za-z0-9]+|\([0-9A-Fa-f]{4},([0-9A-Fa-f]{4}|"[^"]{1,64}",[0-9A-Fa-f]{2})\))'
ATTRIBUTE = rf"^{_STEP}(\.{_STEP})*$"
"""What the name of an attribute looks like: a keyword, a tag, or a path through sequences."""

_OFFERED = """
    AccessionNumber AcquisitionContrast AcquisitionDate AcquisitionMatrix AcquisitionNumber
    AcquisitionTime AnatomicRegionSequence.CodeValue AngioFlag BodyPartExamined BurnedInAnnotation
    Columns ContrastBolusAgent ContrastBolusRoute ConvolutionKernel CountryOfResidence
    DataCollectionDiameter DerivationDescription DetectorType DeviceSerialNumber DiffusionBValue
    DiffusionDirectionality EchoNumbers EchoTime EchoTrainLength ExposureTime FieldOfViewDimensions
    FlipAngle FrameOfReferenceUID HeartRate ImageComments ImageType ImagedNucleus ImagingFrequency
    InstanceNumber InstitutionName InstitutionalDepartmentName InversionTime IssuerOfPatientID KVP
    Laterality LossyImageCompression MRAcquisitionType MagneticFieldStrength Manufacturer
    ManufacturerModelName Modality ModalitiesInStudy NumberOfAverages NumberOfFrames
    NumberOfPhaseEncodingSteps PatientAge PatientBirthDate PatientID PatientName PatientPosition
    PatientSex PatientSize PatientWeight PercentSampling PerformedProcedureStepDescription
    PerformedProtocolCodeSequence.CodeValue PhotometricInterpretation PixelBandwidth PixelSpacing
    PresentationIntentType ProcedureCodeSequence.CodeValue
    ProcedureCodeSequence.CodingSchemeDesignator ProtocolName PulseSequenceName
    ReasonForTheRequestedProcedure ReceiveCoilName ReconstructionDiameter ReferringPhysicianName
    RepetitionTime RequestedProcedureDescription RequestAttributesSequence.RequestedProcedureID
    RequestAttributesSequence.RequestedProcedureDescription Rows SOPClassUID SamplesPerPixel
    ScanOptions ScanningSequence SequenceName SequenceVariant SeriesDate SeriesDescription
    SeriesInstanceUID SeriesNumber SeriesTime SliceThickness SoftwareVersions SpacingBetweenSlices
    SpecificCharacterSet StationName StudyDate StudyDescription StudyID StudyInstanceUID StudyTime
    TransferSyntaxUID VariableFlipAngleFlag ViewPosition XRayTubeCurrent
"""
OFFERED = tuple(_OFFERED.split())
"""The attributes that routes ask for, offered as one types."""

_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US"})
_SAMPLES: dict[str, Any] = {
    "Modality": "MR",
    "BodyPartExamined": {"in": ["BRAIN", "HEAD"]},
    "SeriesDescription": {"matches": "(?i)dti"},
    "StudyDescription": {"matches": "(?i)brain"},
    "ProtocolName": {"matches": "(?i)^head"},
    "SliceThickness": {"at_most": 1.5},
    "EchoTime": {"between": [55, 104]},
    "MagneticFieldStrength": 3,
    "ContrastBolusAgent": {"exists": True},
    "ProcedureCodeSequence.CodeValue": {"in": ["RPID21", "RPID22"]},
}


def predicate_definitions() -> dict[str, Any]:
    """The definitions, by name; `predicates.study` is what a `match:` holds."""
    test, count = {"$ref": "#/$defs/predicates.test"}, {"$ref": "#/$defs/predicates.count"}
    facts = {fact: _fact(fact, test) for fact in CONTEXT_FACTS}
    instance = {
        "$ref": "#/$defs/predicates.instance",
        "description": "One single instance passes everything in it.",
        "examples": [{"EchoTime": {"at_least": 55}}],
    }
    series = {
        "$ref": "#/$defs/predicates.series",
        "description": "One series passes everything in it.",
        "examples": [{"Modality": "MR", "instances": {"at_least": 60}}],
    }
    instances = {
        **count,
        "description": "So many instances: a number, or at_least, at_most, between.",
        "examples": [{"at_least": 60}],
    }
    return {
        "predicates.test": _test(),
        "predicates.count": _count(),
        "predicates.study": _level(
            "study",
            {"series": series, "instance": instance, "instances": instances, "time": _time(), **facts},
        ),
        "predicates.series": _level("series", {"instance": instance, "instances": instances}),
        "predicates.instance": _level("instance", {}),
    }


def _operands() -> dict[str, dict[str, Any]]:
    scalar = {"type": ["string", "number"]}
    pair = {"type": "array", "items": scalar, "minItems": 2, "maxItems": 2}
    return {
        "equals": {**scalar, "description": "A value is this, case included.", "examples": ["MR"]},
        "in": {
            "type": "array",
            "items": scalar,
            "minItems": 1,
            "description": "A value is one of these.",
            "examples": [["MR", "CT"]],
        },
        "matches": {
            "type": "string",
            "description": "A value contains a match of this regular expression.",
            "examples": ["(?i)dti"],
        },
        "exists": {
            "type": "boolean",
            "description": "true: it has a value at all; false: nothing has one.",
            "examples": [True],
        },
        "between": {
            **pair,
            "description": "A value is a number or date in this range, ends included.",
            "examples": [[55, 104]],
        },
        "at_least": {**scalar, "description": "A value is this number or more.", "examples": [60]},
        "at_most": {**scalar, "description": "A value is this number or less.", "examples": [1.5]},
        "not": {
            "$ref": "#/$defs/predicates.test",
            "description": "No value passes this test.",
            "examples": ["SR"],
        },
    }


def _test() -> dict[str, Any]:
    operands = _operands()
    return {
        "description": "What a value must be: the value itself, or tests that one value passes together.",
        "anyOf": [
            {"type": ["string", "number"]},
            {
                "type": "object",
                "properties": {operator: operands[operator] for operator in OPERATORS},
                "additionalProperties": False,
                "minProperties": 1,
            },
        ],
    }


def _count() -> dict[str, Any]:
    operands = _operands()
    bounds = {key: operands[key] for key in ("equals", "at_least", "at_most", "between")}
    return {
        "anyOf": [
            {"type": "integer"},
            {"type": "object", "properties": bounds, "additionalProperties": False, "minProperties": 1},
        ]
    }


def _time() -> dict[str, Any]:
    clock = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
    between = {
        "type": "array",
        "items": clock,
        "minItems": 2,
        "maxItems": 2,
        "description": "From and until, the end outside; midnight may lie between.",
        "examples": [["22:00", "06:00"]],
    }
    return {
        "type": "object",
        "description": "The last instance came in these hours, in the site's time.",
        "properties": {"between": between},
        "required": ["between"],
        "additionalProperties": False,
        "examples": [{"between": ["22:00", "06:00"]}],
    }


def _fact(fact: str, test: dict[str, Any]) -> dict[str, Any]:
    told = {
        "site": ("Key of the site that it came from.", "st-marys"),
        "inbound": ("Key of the channel that it came in by.", "pacs"),
        "calling_ae_title": ("The AE title that the sender called itself.", "STM_CT1"),
        "called_ae_title": ("The AE title that the sender called.", "PONS"),
    }
    description, example = told.get(fact, (f"The {fact.replace('_', ' ')} of the arrival.", "a value"))
    return {**test, "description": description, "examples": [example]}


def _level(level: str, words: dict[str, Any]) -> dict[str, Any]:
    own = {"$ref": f"#/$defs/predicates.{level}"}
    several = {"type": "array", "items": own, "minItems": 1}
    combined = {
        "all": {**several, "description": "Each of these holds.", "examples": [[{"Modality": "MR"}]]},
        "any": {
            **several,
            "description": "One of these holds.",
            "examples": [[{"Modality": "MR"}, {"Modality": "CT"}]],
        },
        "not": {**own, "description": "This does not hold.", "examples": [{"Modality": "SR"}]},
    }
    return {
        "type": "object",
        "properties": {**combined, **words, **{name: _attribute(name) for name in OFFERED}},
        "patternProperties": {ATTRIBUTE: {"$ref": "#/$defs/predicates.test"}},
        "additionalProperties": False,
        "minProperties": 1,
    }


def attribute_in_words(name: str) -> str:
    """An attribute as the dictionary of PS3.6 has it: `Modality (0008,0060), CS`."""
    tag = tag_for_keyword(name.rpartition(".")[2]) or 0
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X}), {dictionary_VR(tag)}"


def _attribute(name: str) -> dict[str, Any]:
    vr = dictionary_VR(tag_for_keyword(name.rpartition(".")[2]) or 0)
    example = _SAMPLES.get(name, {"at_least": 1} if vr in _NUMBERS else {"exists": True})
    return {
        "$ref": "#/$defs/predicates.test",
        "description": attribute_in_words(name),
        "examples": [example],
    }
