"""Overrides: what a table may set, where, and how an error names the nearest thing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hl7apy import load_library

from channels.content import oru
from channels.content.hl7_override import LONGEST_TEMPLATE, PATHS, parse
from engine.model import Order, Result, ResultStatus
from tests.channels.content.er7 import Message


@pytest.fixture
def overridden(full: Result, history: Any) -> Callable[..., Message]:
    """A function: the message with these fields set."""

    def make(fields: dict[str, str], result: Result | None = None, **profile: Any) -> Message:
        version = profile.get("version", "2.5.1")
        overrides = tuple(parse(address, template, version) for address, template in fields.items())
        payload = oru.render(result or full, history(), oru.Profile(overrides=overrides, **profile))
        return Message(payload.parts[0].read())

    return make


REFUSED = [
    ("OBR18", "x", "OBR18 is no field address"),
    ("obr-18", "x", "no field address"),
    ("OBR-0", "x", "no field address"),
    ("OBR-18.1.1", "x", "no field address"),
    ("OBR-18\r", "x", "no field address"),
    ("OBX-5", "x", "OBX cannot be set, only fields of MSH, PID, ORC, OBR"),
    ("MSH-1", "x", "MSH-1 cannot be set: every field is separated by it"),
    ("MSH-2", "x", "MSH-2 cannot be set"),
    ("MSH-9", "x", "MSH-9 cannot be set"),
    ("MSH-9.3", "x", "MSH-9 cannot be set"),
    ("MSH-10", "x", "the acknowledgement is known by it"),
    ("MSH-12", "x", "set `version`"),
    ("MSH-18", "x", "set `charset`"),
    ("MSH-20", "x", "set `charset`"),
    ("OBR-51", "x", "OBR of version 2.5.1 ends with OBR-50"),
    ("OBR-18.31", "x", "no field has more than 30 components"),
    ("OBR-18", "{order.accesion}", "has no {order.accesion}; did you mean {order.accession_number}"),
    ("OBR-18", "{accession_number}", "did you mean {order.accession_number}"),
    ("OBR-18", "{patient.number}", "did you mean {patient."),
    ("OBR-18", "{study.header}", "did you mean {study."),  # not everything may leave
    ("OBR-18", "{result_id.__class__}", "a result has no {result_id.__class__}"),
    ("OBR-18", "{}", "one of result_id, site"),
    ("OBR-18", "{site", "a brace has no partner; a literal one is written {{"),
    ("OBR-18", "site}", "a brace has no partner; a literal one is written }}"),
    ("OBR-18", "x" * (LONGEST_TEMPLATE + 1), "at most 1000 characters"),
]


@pytest.mark.parametrize(("address", "template", "words"), REFUSED)
def test_what_cannot_be_set_is_named_with_the_reason(address: str, template: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse(address, template, "2.5.1")
    assert str(caught.value).isprintable()


@pytest.mark.judges
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5.1"])
@pytest.mark.parametrize("segment", ["MSH", "PID", "ORC", "OBR"])
def test_a_segment_is_as_long_as_hl7apy_has_it(segment: str, version: str) -> None:
    last = len(load_library(version).get(segment, "Segment")[1])
    if f"{segment}-{last}" != "MSH-20":  # the last of 2.3.1, which the character set decides
        assert parse(f"{segment}-{last}", "x", version).field == last
    with pytest.raises(ValueError, match=f"{segment} of version {version} ends with {segment}-{last}$"):
        parse(f"{segment}-{last + 1}", "x", version)


SET = [
    # address, template, field, component -> what a receiver reads
    ("OBR-18", "{order.accession_number}", ("OBR", 18, 1), "ACC-1"),
    ("OBR-18", "{order.accession}", ("OBR", 18, 1), "ACC-1"),  # its short name
    ("OBR-19", "A-{ order.accession_number }/{study.study_id}", ("OBR", 19, 1), "A-ACC-1/S-1"),
    ("MSH-6", "RIS", ("MSH", 6, 1), "RIS"),
    ("MSH-3.2", "1.2.3", ("MSH", 3, 2), "1.2.3"),
    ("PID-3.4", "STM", ("PID", 3, 4), "STM"),
    ("PID-18", "{{{patient.patient_id}}}", ("PID", 18, 1), "{P|1}"),
    ("PID-7", "{patient.birth_date}", ("PID", 7, 1), "19700301"),
    ("ORC-9", "{produced_at}", ("ORC", 9, 1), "20261124100000+0000"),
    ("OBR-36", "{study.started_at}", ("OBR", 36, 1), "20240409124518+0100"),
    ("OBR-21", "{patient.name.alphabetic}", ("OBR", 21, 1), "Yamada^Tarou^^Dr^Jr"),
    ("OBR-13", "a|b^c~d&e\\f\rMSH|", ("OBR", 13, 1), "a|b^c~d&e\\f\rMSH|"),
    ("OBR-20", "{status} {revision}", ("OBR", 20, 1), "final 1"),
]


@pytest.mark.parametrize(("address", "template", "place", "value"), SET)
def test_a_field_says_what_the_table_sets(
    overridden: Callable[..., Message], address: str, template: str, place: Any, value: str
) -> None:
    found, plain = overridden({address: template}), overridden({})
    assert found.field(*place) == value
    segment, number, _ = place
    at = number - 1 if segment == "MSH" else number
    for one, other in zip(found.segments, plain.segments, strict=True):
        if one[0] != segment:
            assert one == other
        else:
            padded = [*other, *[""] * (len(one) - len(other))]
            assert one[:at] + one[at + 1 :] == padded[:at] + padded[at + 1 :]


def test_a_component_leaves_its_neighbours_and_other_repetitions(overridden: Callable[..., Message]) -> None:
    found = overridden({"PID-3.4": "STM", "PID-5.7": "D"})
    assert found.all("PID")[0][3] == "P\\F\\1^^^STM^MR"
    names = found.all("PID")[0][5].split("~")
    assert names[0] == "Yamada^Tarou^^Jr^Dr^^D^A"
    assert names[1:] == overridden({}).all("PID")[0][5].split("~")[1:]


def test_an_empty_text_empties_a_field(overridden: Callable[..., Message]) -> None:
    assert overridden({"OBR-16": "", "PID-3.4": ""}).field("OBR", 16, 2) == ""
    assert overridden({"PID-3.4": ""}).field("PID", 3, 4) == ""


@pytest.mark.parametrize("path", PATHS)
def test_every_fact_that_may_be_named_exists(
    overridden: Callable[..., Message], full: Result, minimal: Result, path: str
) -> None:
    order = full.order.model_copy(update={"requester": full.patient.name})
    known = full.model_copy(update={"order": order})
    assert overridden({"OBR-13": f"{{{path}}}"}, known).field("OBR", 13) != ""
    bare = overridden({"OBR-13": f"<{{{path}}}>"}, minimal.model_copy(update={"order": Order()}))
    value = bare.field("OBR", 13)
    assert value.startswith("<")
    assert "None" not in value


def test_the_status_is_the_one_this_destination_is_told(
    overridden: Callable[..., Message], full: Result
) -> None:
    """Nothing final was acknowledged here, so a correction is the first final that it sees."""
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED})
    assert overridden({"OBR-20": "{status}"}, corrected).field("OBR", 20) == "final"


def test_a_time_without_a_zone_is_the_sites(overridden: Callable[..., Message], full: Result) -> None:
    study = full.study.model_copy(update={"started_at": datetime(2026, 7, 1, 8, 0)})
    found = overridden(
        {"OBR-36": "{study.started_at}"}, full.model_copy(update={"study": study}), timezone="Asia/Kolkata"
    )
    assert found.field("OBR", 36) == "20260701080000+0530"
