"""Fields that a table sets by itself: `OBR-18: "{order.accession_number}"`.

Enter: the address of a field or component and a template. Leave: an `Override` that is known to be
possible, or a ValueError that names the nearest thing that is. A template is literal text with
facts of the result in braces (`{{` and `}}` are braces); there is no other syntax, and a value is
escaped like any other, so it can add neither a component nor a segment.

Addresses are those of HL7 v2.5.1 2.5 (segment, field, component) in the first repetition. The
number of fields of a segment is that of its version (chapters 2.15, 3.4, 4.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches

from channels.content.hl7 import EMPTY, Encoded, Encoder
from engine.model import Result

LONGEST_TEMPLATE = 1000  # characters
_MOST_COMPONENTS = 30

_ADDRESS = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d?)(?:\.([1-9]\d?))?")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")

_FIELDS = {
    # segment: fields in 2.3.1, 2.4, 2.5.1
    "MSH": {"2.3.1": 20, "2.4": 21, "2.5.1": 21},
    "PID": {"2.3.1": 30, "2.4": 38, "2.5.1": 39},
    "ORC": {"2.3.1": 24, "2.4": 25, "2.5.1": 31},
    "OBR": {"2.3.1": 45, "2.4": 47, "2.5.1": 50},
}

_OURS = {
    "MSH-1": "every field is separated by it",
    "MSH-2": "every value is escaped by it",
    "MSH-9": "the message is an ORU^R01 whatever it says",
    "MSH-10": "the acknowledgement is known by it",
    "MSH-12": "set `version`, which also shapes the message",
    "MSH-18": "set `charset`, which also encodes the message",
    "MSH-20": "set `charset`, which also encodes the message",
}

PATHS = (
    *("result_id", "site", "route", "status", "revision", "produced_at"),
    *("patient.patient_id", "patient.issuer.namespace", "patient.issuer.oid"),
    *("patient.name.alphabetic", "patient.name.ideographic", "patient.name.phonetic"),
    *("patient.birth_date", "patient.sex"),
    *("order.placer_order_number", "order.filler_order_number", "order.accession_number"),
    *("order.issuer_of_accession_number.namespace", "order.issuer_of_accession_number.oid"),
    *("order.procedure.value", "order.procedure.scheme", "order.procedure.meaning"),
    *("order.requester.alphabetic", "order.requester.ideographic", "order.requester.phonetic"),
    *("study.study_instance_uid", "study.study_id", "study.description"),
    *("study.started_at", "study.revision", "study.timezone"),
    *("report.title", "report.narrative", "report.impression", "report.disclaimer"),
    *("report.algorithm.name", "report.algorithm.version"),
    *("report.algorithm.manufacturer", "report.algorithm.udi"),
)
"""What a template may name: every fact of a result that is one text, number or time."""


SHORT = {
    "order.accession": "order.accession_number",
    "order.placer": "order.placer_order_number",
    "order.filler": "order.filler_order_number",
    "study.uid": "study.study_instance_uid",
    "patient.id": "patient.patient_id",
}
"""Short names of some facts, as events for webhooks have them."""


@dataclass(frozen=True, slots=True)
class Override:
    """One field or component (``component`` 0: the field as a whole) and what is to stand there."""

    segment: str
    field: int
    component: int
    pieces: tuple[tuple[bool, str], ...]  # (is a path, text)

    def value(self, result: Result, moment: Callable[[datetime], str]) -> str:
        """The text for a result; ``moment`` writes a time as the message does."""
        return "".join(_written(result, text, moment) if is_path else text for is_path, text in self.pieces)

    def apply(self, fields: dict[int, Encoded], encoder: Encoder, value: str) -> None:
        """Put a value into the fields of its segment, in the first repetition."""
        encoded = encoder.text(value)
        if not self.component:
            fields[self.field] = encoded
            return
        first, *others = fields.get(self.field, EMPTY).split("~")
        components = first.split("^")
        components += [""] * (self.component - len(components))
        components[self.component - 1] = encoded
        fields[self.field] = Encoded("~".join(["^".join(components).rstrip("^"), *others]))


def parse(address: str, template: str, version: str) -> Override:
    """An override from its two halves; ValueError says what is wrong and what is nearest."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise ValueError(
            f"{_shown(address)} is no field address; write SEGMENT-FIELD or SEGMENT-FIELD.COMPONENT, "
            "for example OBR-18 or PID-3.4"
        )
    segment, field, component = found[1], int(found[2]), int(found[3] or 0)
    if segment not in _FIELDS:
        raise ValueError(f"{segment} cannot be set, only fields of {', '.join(_FIELDS)}")
    reason = _OURS.get(f"{segment}-{field}")
    if reason:
        raise ValueError(f"{segment}-{field} cannot be set: {reason}")
    last = _FIELDS[segment][version]
    if field > last:
        raise ValueError(f"{segment} of version {version} ends with {segment}-{last}")
    if component > _MOST_COMPONENTS:
        raise ValueError(f"{address}: no field has more than {_MOST_COMPONENTS} components")
    return Override(segment, field, component, _pieces(address, template))


def _pieces(address: str, template: str) -> tuple[tuple[bool, str], ...]:
    if len(template) > LONGEST_TEMPLATE:
        raise ValueError(f"{address}: a template has at most {LONGEST_TEMPLATE} characters")
    pieces = []
    for found in _PIECE.finditer(template):
        piece = found[0]
        if piece in ("{{", "}}"):
            pieces.append((False, piece[0]))
        elif piece in ("{", "}"):
            raise ValueError(f"{address}: a brace has no partner; a literal one is written {piece * 2}")
        elif piece.startswith("{"):
            pieces.append((True, _path(address, found[1].strip())))
        else:
            pieces.append((False, piece))
    return tuple(pieces)


def _path(address: str, path: str) -> str:
    path = SHORT.get(path, path)
    if path in PATHS:
        return path
    last = {one.rpartition(".")[2]: one for one in reversed(PATHS)}  # `{accession_number}` alone
    near = last.get(path.rpartition(".")[2]) or next(iter(get_close_matches(path, PATHS, 1, 0.5)), "")
    hint = f"; did you mean {{{near}}}" if near else f"; one of {', '.join(PATHS)}"
    raise ValueError(f"{address}: a result has no {{{_shown(path)}}}{hint}")


def _shown(text: str) -> str:
    return ascii(text[:60])[1:-1]


def _written(result: Result, path: str, moment: Callable[[datetime], str]) -> str:
    value: object = result
    for name in path.split("."):
        value = getattr(value, name, None)  # an order may have no procedure
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    return "" if value is None else str(value)
