"""A JSON message as lines, with what tells of the patient behind a shield: FHIR, events, DICOM JSON, results.

Enter: the bytes as they are sent. Leave: lines, as a printer of JSON sets them. Pure. Shielded is everything
inside a FHIR Patient or another person and inside what is called `patient`, of a `subject` all but its
reference, DICOM attributes of the patient (PS3.18 F), free text, and addresses that look a patient up. A long
value is told by its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from engine.delivery_model import MessageLine
from engine.patient_attributes import SHIELD, is_about_the_patient

PERSONS = frozenset({"Patient", "RelatedPerson", "Person", "Coverage"})
ABOUT_THE_PATIENT = frozenset({"patient", "subject"})
FREE_TEXT = frozenset({"div", "narrative", "impression", "conclusion"})
OPEN = frozenset({"resourceType", "reference", "type", "method", "system", "status", "vr"})
"""Keys whose values name a kind of thing or a place, also inside a person."""
LONG = 400  # characters of a value
_LOOKS_UP = re.compile(r"(Patient|Person|RelatedPerson)[/?]")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")


class _Number(str):
    """A number as it is written: decimals keep their digits."""

    __slots__ = ()


def lines(message: bytes, *, revealed: bool) -> Iterator[MessageLine]:
    """The document, in order; ValueError where it is no JSON."""
    document = json.loads(message, parse_float=_Number, parse_int=_Number)
    yield from _value(document, "", "", 0, hidden=False, revealed=revealed)


def _value(
    value: Any, label: str, end: str, depth: int, *, hidden: bool, revealed: bool
) -> Iterator[MessageLine]:
    if isinstance(value, dict) and value:
        yield MessageLine(f"{label}{{", depth=depth)
        hidden = hidden or value.get("resourceType") in PERSONS
        for number, (key, one) in enumerate(value.items(), start=1):
            comma = "," if number < len(value) else ""
            behind = _is_hidden(key, value, one, hidden)
            yield from _value(one, f"{json.dumps(key)}: ", comma, depth + 1, hidden=behind, revealed=revealed)
        yield MessageLine(f"}}{end}", depth=depth)
    elif isinstance(value, list) and value:
        yield MessageLine(f"{label}[", depth=depth)
        for number, one in enumerate(value, start=1):
            comma = "," if number < len(value) else ""
            yield from _value(one, "", comma, depth + 1, hidden=hidden, revealed=revealed)
        yield MessageLine(f"]{end}", depth=depth)
    else:
        yield _scalar(value, label, end, depth, hidden, revealed)


def _scalar(value: Any, label: str, end: str, depth: int, hidden: bool, revealed: bool) -> MessageLine:
    looks_up = isinstance(value, str) and _LOOKS_UP.search(value) is not None
    if (hidden or looks_up) and not revealed and value not in (None, {}, [], ""):
        return MessageLine(f'{label}"{SHIELD}"{end}', depth=depth, shielded=True)
    return MessageLine(f"{label}{_written(value)}{end}", depth=depth)


def _is_hidden(key: str, inside: dict[str, Any], value: Any, hidden: bool) -> bool:
    """Whether the value of a key is behind the shield; what lies in it then is, too."""
    if key in OPEN and not isinstance(value, dict | list):
        return False
    if hidden or key in ABOUT_THE_PATIENT or key in FREE_TEXT:
        return True
    if _TAG.fullmatch(key) and isinstance(value, dict):
        return is_about_the_patient(int(key, 16), str(value.get("vr", "")))
    return False


def _written(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str) and len(value) > LONG:
        return json.dumps(f"{value[:40]}… ({len(value)} characters)", ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
