"""Content items of a structured report (PS3.3 C.17.3): values enter, Content Sequence items leave.

Each function makes one item of one value type; children are given last. Numbers keep their digits
as far as a DS of 16 characters can.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal

from pydicom.dataset import Dataset

from channels.content.attribute import code_item, item, put, sop_reference, text
from engine.model import Code

CONTAINS = "CONTAINS"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_PROPERTIES = "HAS PROPERTIES"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
INFERRED_FROM = "INFERRED FROM"
SELECTED_FROM = "SELECTED FROM"

NO_UNITS = Code(value="1", scheme="UCUM", meaning="no units")
MAX_DS = 16  # characters, PS3.5 table 6.2-1
MAX_MAGNITUDE = 300  # decimal exponent that a double still holds


def container(relationship: str, concept: Code, children: list[Dataset], *, template: str = "") -> Dataset:
    """A CONTAINER; ``template`` is a TID of PS3.16."""
    made = _item(relationship, "CONTAINER", concept, children)
    put(made, "ContinuityOfContent", "SEPARATE")
    if template:
        identified = item(MappingResource="DCMR", TemplateIdentifier=template)
        put(made, "ContentTemplateSequence", [identified])
    return made


def words(relationship: str, concept: Code, value: str) -> Dataset:
    """A TEXT."""
    made = _item(relationship, "TEXT", concept, [])
    put(made, "TextValue", text(value) or "(empty)")  # type 1
    return made


def coded(relationship: str, concept: Code, value: Code, children: list[Dataset] | None = None) -> Dataset:
    """A CODE."""
    made = _item(relationship, "CODE", concept, children or [])
    put(made, "ConceptCodeSequence", [code_item(value)])
    return made


def uid_reference(relationship: str, concept: Code, value: str) -> Dataset:
    """A UIDREF."""
    made = _item(relationship, "UIDREF", concept, [])
    put(made, "UID", value)
    return made


def number(
    relationship: str,
    concept: Code,
    value: Decimal,
    unit: Code | None,
    children: list[Dataset] | None = None,
) -> Dataset:
    """A NUM; where a DS cannot hold the value exactly, FloatingPointValue stands beside it (C.18.1)."""
    made = _item(relationship, "NUM", concept, children or [])
    short = decimal_string(value)
    measured = item(NumericValue=short, MeasurementUnitsCodeSequence=[code_item(unit or NO_UNITS)])
    if Decimal(short) != value and abs(value.adjusted()) < MAX_MAGNITUDE:
        put(measured, "FloatingPointValue", float(value))
    put(made, "MeasuredValueSequence", [measured])
    return made


def image(
    sop_class_uid: str,
    sop_instance_uid: str,
    children: list[Dataset] | None = None,
    *,
    relationship: str = CONTAINS,
    concept: Code | None = None,
    frame: int | None = None,
    segment: int | None = None,
) -> Dataset:
    """An IMAGE (C.18.4), of one frame or one segment where a number is given."""
    made = _item(relationship, "IMAGE", concept, children or [])
    reference = sop_reference(sop_class_uid, sop_instance_uid)
    if frame is not None:
        put(reference, "ReferencedFrameNumber", str(frame))
    if segment is not None:
        put(reference, "ReferencedSegmentNumber", segment)
    put(made, "ReferencedSOPSequence", [reference])
    return made


def composite_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A COMPOSITE (C.18.3): an object that is no image."""
    made = _item(CONTAINS, "COMPOSITE", None, [])
    put(made, "ReferencedSOPSequence", [sop_reference(sop_class_uid, sop_instance_uid)])
    return made


def scoord(
    relationship: str, concept: Code, graphic_type: str, coordinates: Sequence[float], selected_from: Dataset
) -> Dataset:
    """An SCOORD (C.18.6); coordinates are column, row pairs in pixels of the image it is selected from."""
    made = _item(relationship, "SCOORD", concept, [selected_from])
    put(made, "GraphicType", graphic_type)
    put(made, "GraphicData", list(coordinates))
    return made


def scoord3d(
    relationship: str,
    concept: Code,
    graphic_type: str,
    coordinates: Sequence[float],
    frame_of_reference_uid: str,
) -> Dataset:
    """An SCOORD3D (C.18.9); coordinates are x, y, z in mm."""
    made = _item(relationship, "SCOORD3D", concept, [])
    put(made, "GraphicType", graphic_type)
    put(made, "GraphicData", list(coordinates))
    put(made, "ReferencedFrameOfReferenceUID", frame_of_reference_uid)
    return made


def decimal_string(value: Decimal) -> str:
    """The value as DS: its own digits where they fit, else rounded to what does."""
    plain = format(value, "f") if abs(value.adjusted()) <= MAX_DS else str(value)
    if len(plain) <= MAX_DS:
        return plain
    for digits in range(MAX_DS, 0, -1):
        rounded = Context(prec=digits).create_decimal(value)
        for written in (
            str(rounded),
            f"{rounded:E}",
            format(rounded, "f") if -20 < rounded.adjusted() < 20 else "",
        ):
            if 0 < len(written) <= MAX_DS:
                return written
    return "0"


def _item(relationship: str, value_type: str, concept: Code | None, children: list[Dataset]) -> Dataset:
    made = Dataset()
    if relationship:
        put(made, "RelationshipType", relationship)
    put(made, "ValueType", value_type)
    if concept:
        put(made, "ConceptNameCodeSequence", [code_item(concept)])
    if children:
        put(made, "ContentSequence", children)
    return made
