"""ORU^R01: three parsers read it, no text breaks it, receivers differ by their profile."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hl7types import decode_er7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content import oru
from channels.content.hl7 import Encoder
from engine.model import History, Issuer, Order, Patient, Range, Result, ResultStatus
from tests.channels.content.er7 import CODECS, Message, filled, unescaped, writable

Standing = Callable[..., tuple[Result, History]]


@pytest.fixture
def message(full: Result, history: Any) -> Callable[..., Message]:
    """A function that renders the full result, or another, for a profile."""

    def make(result: Result | None = None, past: History | None = None, **profile: Any) -> Message:
        part = oru.render(result or full, past or history(), oru.Profile(**profile)).parts[0]
        return Message(part.read(), CODECS[profile.get("charset", "UNICODE UTF-8")])

    return make


# ── judges ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.judges
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5.1"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_hl7apy_validates_it(
    in_standing: Standing, tmp_path: Path, version: Any, status: ResultStatus
) -> None:
    result, past = in_standing("full", status)
    part = oru.render(result, past, oru.Profile(version=version, sending_facility="VENDOR")).parts[0]
    text = part.read().decode("utf-8")
    parsed = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    report = tmp_path / "report"
    assert parsed.validate(report_file=str(report)), report.read_text()
    assert len(text.split("\r")) - 1 == len(parsed.to_er7().rstrip("\r").split("\r"))


@pytest.mark.judges
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5.1"])
def test_hl7types_reads_it_strictly(message: Callable[..., Message], full: Result, version: Any) -> None:
    typed = decode_er7(message(version=version).text).model_dump()
    assert typed["MSH"]["msh_12"]["vid_1"] == version
    assert full.study.study_instance_uid in str(typed)


@pytest.mark.judges
@pytest.mark.parametrize("kind", ["full", "minimal"])
def test_python_hl7_reads_it(in_standing: Standing, kind: str) -> None:
    result, past = in_standing(kind, ResultStatus.FINAL)
    text = oru.render(result, past).parts[0].read().decode("utf-8")
    parsed = hl7.parse(text)
    assert len(parsed) == text.count("\r")
    assert str(parsed.segment("OBR")[25]) == "F"


# ── no text breaks it ───────────────────────────────────────────────────────────────────────────

WORDS = st.text(min_size=1, max_size=40)
PLACES = {
    # place in the result: how to read it back from the message
    "patient_id": lambda m: m.field("PID", 3),
    "placer": lambda m: m.field("OBR", 2),
    "filler": lambda m: m.field("OBR", 3),
    "accession": lambda m: m.field("OBR", 18),
    "procedure": lambda m: m.field("OBR", 4, 2),
    "facility": lambda m: m.field("MSH", 4),
    "algorithm": lambda m: unescaped(m.observation("113014")[17].split("^")[1]).removesuffix(" 0.1.0"),
    "group": lambda m: unescaped(m.observation("125007")[5]),
    "concept": lambda m: unescaped(m.observation("remark")[3].split("^")[1]),
}
LINES = {"narrative": "59776-5", "impression": "19005-8", "disclaimer": "disclaimer", "value": "remark"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.fixed_dictionaries(dict.fromkeys((*PLACES, *LINES, "name", "comment"), WORDS)))
def test_any_text_comes_back_whole_and_adds_nothing(
    full: Result, history: Any, words: dict[str, str]
) -> None:
    plain = dict.fromkeys(words, "x")

    def render(these: dict[str, str]) -> bytes:
        profile = oru.Profile(sending_facility=these["facility"])
        return oru.render(filled(full, these), history(), profile).parts[0].read()

    found, expected = Message(render(words)), Message(render(plain))
    assert [(one[0], len(one)) for one in found.segments] == [(one[0], len(one)) for one in expected.segments]
    assert len(found.text.splitlines()) == len(expected.segments)
    assert not any(character in found.text for character in "\x0b\x1c\n")
    for place, read in PLACES.items():
        assert read(found) == words[place], place
    for place, identifier in LINES.items():
        assert found.lines(identifier) == re.sub("\r\n|\r", "\n", words[place]), place


@settings(max_examples=100, deadline=None)
@given(value=st.text(), charset=st.sampled_from(list(CODECS)))
def test_every_value_is_encodable_in_its_character_set(value: str, charset: str) -> None:
    encoder = Encoder(charset)
    encoded = encoder.text(value)
    assert encoded.encode(encoder.codec).decode(encoder.codec) == encoded
    assert (encoder.lost > 0) == (writable(value, charset) != value)


def test_a_character_set_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no character set 'EBCDIC'; one of"):
        Encoder("EBCDIC")


# ── fields ──────────────────────────────────────────────────────────────────────────────────────


def test_who_sends_what_to_whom(message: Callable[..., Message]) -> None:
    found = message(
        sending_application="AI",
        sending_facility="VENDOR",
        receiving_application="RIS",
        receiving_facility="STM",
        processing_id="T",
    )
    assert [found.field("MSH", number) for number in (3, 4, 5, 6)] == ["AI", "VENDOR", "RIS", "STM"]
    assert found.field("MSH", 7) == "20261124100500+0000"
    assert [found.field("MSH", 9, part) for part in (1, 2, 3)] == ["ORU", "R01", "ORU_R01"]
    assert re.fullmatch("[A-Z0-9]{20}", found.field("MSH", 10))
    assert (found.field("MSH", 11), found.field("MSH", 12)) == ("T", "2.5.1")
    assert found.field("MSH", 18) == "UNICODE UTF-8"


def test_the_patient_in_three_scripts(message: Callable[..., Message]) -> None:
    found = message()
    pid = found.all("PID")[0]
    assert pid[3] == "P\\F\\1^^^STM&1.2.3.4&ISO^MR"
    assert pid[5].split("~") == [
        "Yamada^Tarou^^Jr^Dr^^L^A",
        "山田^太郎^^^^^L^I",
        "やまだ^たろう^^^^^L^P",
    ]
    assert pid[7:9] == ["19700301", "F"]


def test_times_are_the_site_s_with_their_offset(message: Callable[..., Message]) -> None:
    assert message().field("OBR", 7) == "20240409124518+0100"
    assert message(timezone="Asia/Kolkata").field("OBR", 22) == "20261124153000+0530"
    assert message(timezone="America/St_Johns").field("MSH", 7) == "20261124063500-0330"


def test_findings_are_typed_with_unit_range_and_flag(message: Callable[..., Message]) -> None:
    found = message()
    resolution = found.observation("in-plane")
    assert resolution[2:9] == [
        *("NM", "in-plane^In-plane resolution^99PONS", "2", "1.60"),
        *("mm^millimeter^UCUM", "1.85-2.15", "L"),
    ]
    verdict = found.observation("protocol-check")
    assert (verdict[2], verdict[5], verdict[8]) == ("CE", "out-of-protocol^Out of protocol^99PONS", "A")
    assert found.observation("snr")[5:8] == ["-0.0000123", "1^no units^UCUM", "<=5"]
    assert found.lines("remark") == "first line ~ ^ & \\ |\nzweite Zeile µ"


def test_like_observations_are_told_apart(message: Callable[..., Message]) -> None:
    volumes = [one for one in message().all("OBX") if one[3].startswith("118565006^")]
    assert [(one[4], one[5]) for one in volumes] == [("3.1", "3.50"), ("3.2", "1.900")]
    keys = [(one[3], one[4]) for one in message().all("OBX")]
    assert len(keys) == len(set(keys))


def test_set_ids_count(message: Callable[..., Message]) -> None:
    assert [one[1] for one in message().all("OBX")] == [str(n + 1) for n in range(len(message().all("OBX")))]


def test_the_study_and_its_maker_are_named(message: Callable[..., Message], full: Result) -> None:
    study = message().observation("113014")
    assert (study[2], study[3], study[5]) == (
        "ST",
        "113014^DICOM Study^DCM",
        full.study.study_instance_uid,
    )
    assert study[17:20] == [
        "^Pons quality control 0.1.0",
        "(01)00844588003288(10)A213B1^Pons",
        "20261124100000+0000",
    ]


STANDINGS = [
    # result,                   acknowledged before,                          OBR-25, OBX-11
    (ResultStatus.PRELIMINARY, (), "P", "P"),
    (ResultStatus.FINAL, (), "F", "F"),
    (ResultStatus.FINAL, (ResultStatus.PRELIMINARY,), "F", "F"),
    (ResultStatus.CORRECTED, (), "F", "F"),  # nothing final was ever seen here
    (ResultStatus.CORRECTED, (ResultStatus.PRELIMINARY,), "F", "F"),
    (ResultStatus.CORRECTED, (ResultStatus.FINAL,), "C", "C"),
    (ResultStatus.CORRECTED, (ResultStatus.FINAL, ResultStatus.FAILED), "C", "C"),
    (ResultStatus.FINAL, (ResultStatus.FINAL,), "C", "C"),
    (ResultStatus.RETRACTED, (ResultStatus.FINAL,), "C", "D"),
    (ResultStatus.FAILED, (), "I", "X"),
]


@pytest.mark.parametrize(("status", "before", "report", "observation"), STANDINGS)
def test_the_standing_follows_what_this_destination_acknowledged(
    message: Callable[..., Message],
    full: Result,
    history: Any,
    status: ResultStatus,
    before: tuple[ResultStatus, ...],
    report: str,
    observation: str,
) -> None:
    found = message(full.model_copy(update={"status": status}), history(*before))
    assert found.field("OBR", 25) == report
    assert {one[11] for one in found.all("OBX")} == {observation}


@pytest.mark.judges
def test_a_correction_marks_what_changed_and_deletes_what_is_gone(
    message: Callable[..., Message], full: Result, history: Any, tmp_path: Path
) -> None:
    findings = list(full.report.findings)
    changed = findings[1].model_copy(update={"value": findings[1].value + 1})
    new = findings[1].model_copy(
        update={"concept": findings[1].concept.model_copy(update={"value": "thickness"})}
    )
    gone = findings[-1]
    report = full.report.model_copy(
        update={"findings": (findings[0], changed, new, *findings[2:-1]), "impression": "other words"}
    )
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED, "report": report})
    past = replace(history(ResultStatus.FINAL), standing=full)
    for version in ("2.3.1", "2.5.1"):
        found = message(corrected, past, version=version)
        standing = {one[3].split("^")[0]: one[11] for one in found.all("OBX")}
        assert standing["113014"] == "F", "the study is the same"
        assert standing[findings[0].concept.value] == "F", "the same as before"
        assert standing[changed.concept.value] == standing["thickness"] == "C"
        assert standing["19005-8"] == "C"
        assert standing["59776-5"] == "F"
        assert standing[gone.concept.value] == "D"
        numbers = [one[1] for one in found.all("OBX")]
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
        assert found.field("OBR", 25) == "C"
        parsed = parse_message(found.text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
        assert parsed.validate(report_file=str(tmp_path / "report")), (tmp_path / "report").read_text()
    identifiers = [tuple(one[3:5]) for one in found.all("OBX")]
    assert len(set(identifiers)) == len(identifiers), "each observation once"


def test_a_correction_keeps_the_order_numbers_and_changes_the_control_id(
    message: Callable[..., Message], minimal: Result, history: Any
) -> None:
    first = message(minimal, history(delivery="d-1"))
    later = message(
        minimal.model_copy(update={"status": ResultStatus.CORRECTED, "result_id": "r-2", "revision": 2}),
        history(ResultStatus.FINAL, delivery="d-2"),
    )
    assert first.field("OBR", 3) == later.field("OBR", 3) != ""
    assert first.field("MSH", 10) != later.field("MSH", 10)


ACCESSION = [
    # accession_field, OBR-3,            ORC-3,                        OBR-18,  OBR-20
    ("OBR-18", "FI-1", "FI-1", "ACC-1", ""),
    ("OBR-20", "FI-1", "FI-1", "", "ACC-1"),
    ("OBR-3", "ACC-1^RIS^1.2.3.5^ISO", "ACC-1^RIS^1.2.3.5^ISO", "", ""),
    ("ORC-3", "FI-1", "ACC-1^RIS^1.2.3.5^ISO", "", ""),
]


@pytest.mark.parametrize(("place", "obr3", "orc3", "obr18", "obr20"), ACCESSION)
def test_the_accession_number_goes_where_the_receiver_looks(
    message: Callable[..., Message], place: Any, obr3: str, orc3: str, obr18: str, obr20: str
) -> None:
    found = message(accession_field=place)
    assert (found.all("OBR")[0][3], found.all("ORC")[0][3]) == (obr3, orc3)
    assert (found.field("OBR", 18), found.field("OBR", 20)) == (obr18, obr20)


def test_the_requester_is_a_person_without_a_number(message: Callable[..., Message]) -> None:
    assert message().all("OBR")[0][16] == "^Ref^Ann^^^Prof^^^^L^^^^^A"


def test_version_2_3_1_has_no_later_fields(message: Callable[..., Message]) -> None:
    found = message(version="2.3.1")
    assert found.field("MSH", 9, 3) == ""
    assert max(len(one) for one in found.all("OBX")) == 18  # OBX-17 is the last


def test_what_a_character_set_lacks_is_replaced_and_told(message: Callable[..., Message]) -> None:
    found = message(charset="8859/1")
    assert found.all("PID")[0][5].split("~")[1] == "??^??^^^^^L^I"
    assert found.all("NTE")[0][3] == "10 characters that 8859/1 lacks were replaced by ?"
    assert "zweite Zeile µ" in found.lines("remark")
    assert "zweite Zeile ?" in message(charset="ASCII").lines("remark")


def test_the_pdf_travels_as_encapsulated_data(message: Callable[..., Message]) -> None:
    import base64

    parts = message(include_pdf=True).observation("18748-4")[5].split("^")
    assert parts[:4] == ["PONS", "application", "pdf", "Base64"]
    assert base64.b64decode(parts[4]).startswith(b"%PDF-")


RANGES = [
    (Range(), ""),
    (Range(low=Decimal("2.0")), ">=2.0"),
    (Range(high=Decimal("1E+2")), "<=100"),
    (Range(low=Decimal("-1"), high=Decimal("0.50")), "-1-0.50"),
]


@pytest.mark.parametrize(("span", "written"), RANGES)
def test_a_range_is_written_with_its_limits(
    message: Callable[..., Message], full: Result, span: Range, written: str
) -> None:
    findings = (full.report.findings[1].model_copy(update={"reference_range": span}),)
    report = full.report.model_copy(update={"findings": findings})
    assert message(full.model_copy(update={"report": report})).observation("in-plane")[7] == written


def test_a_number_has_no_exponent(message: Callable[..., Message], full: Result) -> None:
    findings = (full.report.findings[1].model_copy(update={"value": Decimal("1E+3")}),)
    report = full.report.model_copy(update={"findings": findings})
    assert message(full.model_copy(update={"report": report})).observation("in-plane")[5] == "1000"


def test_an_empty_patient_leaves_empty_fields(message: Callable[..., Message], minimal: Result) -> None:
    assert message(minimal).all("PID") == [["PID", "1"]]
    born = minimal.model_copy(
        update={"patient": Patient(patient_id="1", birth_date=date(1990, 1, 2), issuer=Issuer(oid="1.2"))}
    )
    assert message(born).all("PID")[0][3:8] == ["1^^^&1.2&ISO^MR", "", "", "", "19900102"]


def test_without_an_order_the_procedure_is_the_report(message: Callable[..., Message], full: Result) -> None:
    study = full.study.model_copy(update={"description": ""})
    found = message(full.model_copy(update={"order": Order(), "study": study}))
    assert found.all("OBR")[0][4] == "^Diffusion MR quality control"
