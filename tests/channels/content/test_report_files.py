"""Where a report is filed, and what of a result becomes a file: no value leads anywhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.content.report_files import render
from channels.content.report_path import checked, path_of, safe
from engine.channel import ExportType
from engine.model import Acknowledged, DeliveryId, History, Part, Payload, Result, ResultStatus

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HISTORY = History(DeliveryId("d-1"), datetime(2026, 1, 2, 12, 0, tzinfo=UTC))


@given(st.text(max_size=100))
def test_a_value_is_one_harmless_name(value: str) -> None:
    made = safe(value)
    assert NAME.fullmatch(made)
    assert not made.endswith(".")


@given(st.text(max_size=40), st.text(max_size=40))
def test_values_that_differ_have_names_that_differ(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("ACC-99", "ACC-99"),
        ("1.2.840.113619", "1.2.840.113619"),
        ("../../etc/passwd", "etc_passwd_0ae27dda"),
        ("CON", "CON_c6bea3b5"),
        ("nul.txt", "nul.txt_6cdc2a98"),
        (".hidden", "hidden_0e2d4b2f"),
        ("Müller/17", "M_ller_17_e9a77d10"),
        ("", "x_e3b0c442"),
    ],
)
def test_how_a_value_is_made_safe(value: str, name: str) -> None:
    assert safe(value).rpartition("_")[0] == name.rpartition("_")[0]
    assert (safe(value) == value) == (name == value)


@pytest.fixture
def named(full: Result) -> Result:
    order = full.order.model_copy(update={"accession_number": "../A 17"})
    return full.model_copy(update={"order": order, "route": "brain dti"})


def test_a_template_is_filled_with_safe_values(named: Result) -> None:
    path = path_of(checked("/in/{accession_number}/{route}-{revision}-{status}.{ext}"), named, ".pdf")
    folder, _, file = path.removeprefix("/in/").partition("/")
    assert folder.startswith("A_17_")
    assert re.fullmatch(r"brain_dti_[0-9a-f]{8}-1-final\.pdf", file)


def test_a_study_without_an_accession_number_is_called_by_its_uid(named: Result) -> None:
    order = named.order.model_copy(update={"accession_number": ""})
    without = named.model_copy(update={"order": order})
    uid = without.study.study_instance_uid
    assert path_of("{accession_number}.{ext}", without, ".json") == f"{safe(uid)}.json"
    assert path_of("{study}", without, ".json") == safe(uid)


def test_two_studies_of_one_accession_number_have_folders_of_their_own(named: Result) -> None:
    study = named.study.model_copy(update={"study_instance_uid": "1.2.3.4"})
    other = named.model_copy(update={"study": study})
    assert path_of("{study}", named, "") != path_of("{study}", other, "")


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{study}/report.{ext}", "report-failed.pdf"),
        ("{study}/report", "report-failed"),
        ("{study}/{status}.{ext}", "failed.pdf"),  # it says so itself
    ],
)
def test_a_failure_report_does_not_take_the_place_of_a_report(
    named: Result, template: str, path: str
) -> None:
    failed = named.model_copy(update={"status": ResultStatus.FAILED})
    assert path_of(template, failed, ".pdf").rpartition("/")[2] == path


def test_what_replaces_a_report_that_is_there_says_so(named: Result) -> None:
    exports = [ExportType("txt", "text/plain", ".txt", lambda one: one.status.value.encode())]
    told = Acknowledged(DeliveryId("d-0"), ResultStatus.FINAL, 1, ("d-0.txt",))
    again = History(HISTORY.delivery_id, HISTORY.rendered_at, (told,))
    said = [render(named, history, exports, "{study}").parts[0].content for history in (HISTORY, again)]
    assert said == [b"final", b"corrected"]


def test_identifiers_name_the_delivery_and_no_patient(named: Result) -> None:
    exports = [ExportType("txt", "text/plain", ".txt", lambda one: one.route.encode())]
    payload = render(named, HISTORY, exports, "{study}.{ext}")
    [part] = payload.parts
    assert (part.identifier, part.content, payload.summary) == ("d-1.txt", b"brain dti", "1 files: txt")


def test_a_format_that_tells_what_it_replaces_knows_its_own_files_only(named: Result) -> None:
    seen: list[Acknowledged] = []

    def made(_result: Result, history: History) -> Payload:
        seen.extend(history.acknowledged)
        return Payload((Part("1.9", "application/dicom", b"sr", {"sop_class_uid": "1.1"}),))

    exports = [
        ExportType("txt", "text/plain", ".txt", lambda _: b"text"),
        ExportType("sr", "application/dicom", ".dcm", lambda _: b"", made),
    ]
    told = Acknowledged(DeliveryId("d-0"), ResultStatus.FINAL, 1, ("d-0.txt", "1.8"), ("", "1.1"))
    history = History(HISTORY.delivery_id, HISTORY.rendered_at, (told,))
    payload = render(named, history, exports, "{study}.{ext}")
    [known] = seen
    assert (known.identifiers, known.sop_class_uids) == (("1.8",), ("1.1",))
    assert [part.identifier for part in payload.parts] == ["d-1.txt", "1.9"]
    assert payload.parts[1].facts["path"].endswith(".dcm")
