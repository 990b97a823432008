"""A name is the same Unicode whatever bytes a device wrote it in, for routing and for results."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from engine import part10
from engine.character_set import Repertoire
from engine.model import PersonName, Site, StoredInstance
from engine.study_context import StudyContext, read_context
from tests.character_sets import SAMPLES, Sample, instance


@pytest.fixture(params=SAMPLES, ids=str)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each character set in turn."""
    found: Sample = request.param
    return found


@pytest.fixture
def path(sample: Sample, tmp_path: Path) -> Path:
    """The sample on disk."""
    path = tmp_path / "instance.dcm"
    path.write_bytes(instance(sample))
    return path


@pytest.fixture
def context(path: Path) -> StudyContext:
    """What the engine reads of the sample's patient, order and study."""
    stored = StoredInstance(
        "1.2.3.1", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", path, ""
    )
    return read_context([stored], Site(key="st-marys", name="St. Mary's"), 1)


def test_routing_sees_unicode(sample: Sample, path: Path) -> None:
    nested = "RequestAttributesSequence.RequestedProcedureDescription"
    found = part10.inspect(path, ["PatientName", "StudyDescription", nested]).attributes
    assert found["PatientName"] == sample.name
    assert found["StudyDescription"] == sample.description
    assert found[nested] == [sample.description]


def test_results_carry_unicode(sample: Sample, context: StudyContext) -> None:
    assert context.patient.name == PersonName.parse(sample.name)
    assert context.order.requester == PersonName.parse(sample.name)
    assert context.study.description == sample.description
    header = context.study.header
    assert header["00081030"]["Value"] == [sample.description]
    assert header["00400275"]["Value"][0]["00321060"]["Value"] == [sample.description]
    groups = header["00100010"]["Value"][0]
    keys = ("Alphabetic", "Ideographic", "Phonetic")
    assert "=".join(groups.get(key, "") for key in keys).rstrip("=") == sample.name
    assert "00080005" not in header


def test_the_sample_is_what_another_reader_takes_it_for(sample: Sample, path: Path) -> None:
    assert dcmread(path).StudyDescription == sample.description


BROKEN = [
    # character set,        bytes,                        what is left of them
    (b"ISO_IR 999", b"M\xfcller", "Müller"),  # a term that nobody knows
    (b"ISO_IR 192", b"M\xfcller", "M\ufffdller"),  # not UTF-8 at all
    (b"ISO-IR 192", "Müller".encode(), "Müller"),  # written with a hyphen
    (b"\\ISO 2022 IR 58", b"\x1b$)A\xd5", "\ufffd"),  # half a character
    (b"\\ISO 2022 IR 87", b"\x1b$B;3", "山"),  # no way back to ASCII
    (b"\\ISO 2022 IR 87", b"\x1b%Zab", "%Zab"),  # an escape sequence that nobody knows
    (b"", b"\x1b$B;3", "\x1b$B;3"),  # no code extensions announced
]


@pytest.mark.parametrize(("charset", "raw", "expected"), BROKEN)
def test_broken_text_is_read_as_far_as_it_goes(charset: bytes, raw: bytes, expected: str) -> None:
    assert Repertoire.of(charset).decode(raw) == expected


def test_letters_behind_a_delimiter_keep_the_set_that_a_device_forgot_to_choose_again() -> None:
    raw = b"\x1b$)C" + "홍^길동".encode("euc_kr")
    assert Repertoire.of(b"\\ISO 2022 IR 149").decode(raw, person_name=True) == "홍^길동"


def test_a_circumflex_ends_a_choice_in_names_alone() -> None:
    repertoire = Repertoire.of(b"ISO 2022 IR 100\\ISO 2022 IR 144")
    raw = b"\x1b-L" + "Л^".encode("iso8859_5") + "Ä".encode("iso8859_1")
    assert repertoire.decode(raw, person_name=True) == "Л^Ä"
    assert repertoire.decode(raw) == "Л^Ф"
