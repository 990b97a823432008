"""Content items of a structured report (PS3.3 C.17.3): values enter, Content Sequence items leave.

Each function makes one item of one value type; children are given last. Numbers keep their digits
as far as a DS of 16 characters can.
"""

from __future__ import annotations

from decimal import Context, Decimal

from pydicom.dataset import Dataset

from channels.content.attribute import code_item, item, put, sop_reference, text
from engine.model import Code

CONTAINS = "CONTAINS"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_PROPERTIES = "HAS PROPERTIES"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"

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


def image(sop_class_uid: str, sop_instance_uid: str, children: list[Dataset]) -> Dataset:
    """An IMAGE, as an entry of an image library."""
    made = _item(CONTAINS, "IMAGE", None, children)
    put(made, "ReferencedSOPSequence", [sop_reference(sop_class_uid, sop_instance_uid)])
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
