"""A name is the same Unicode whatever bytes a device wrote it in, for routing and for results."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from engine import part10
from engine.character_set import Repertoire
from engine.model import PersonName, Site, StoredInstance
from engine.study_context import StudyContext, read_context, read_header
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


BUNDLED = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("chr*.dcm"))


def test_the_bundled_files_are_there() -> None:
    assert len(BUNDLED) >= 17


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_a_header_says_what_pydicom_s_own_reader_says(path: Path) -> None:
    expected, header = dcmread(path), read_header(path)
    assert str(header.get("PatientName", "")) == str(expected.get("PatientName", "")).rstrip("=")
    for mine in (element for element in header if element.VR == "SQ"):
        for item, other in zip(mine.value, expected[mine.tag].value, strict=True):
            assert str(item.get("PatientName", "")) == str(other.get("PatientName", ""))


TERMS = ["", "ISO_IR 100", "ISO_IR 192", "GB18030", "ISO 2022 IR 6\\ISO 2022 IR 87", "\\ISO 2022 IR 149"]
PIECES = [
    b"\x1b$B",
    b"\x1b(B",
    b"\x1b$)C",
    b"\x1b-L",
    b"\x1b",
    b"^",
    b"=",
    b" ",
    b"\xfc",
    b";3",
    b"\xe5\xb1\xb1",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    term=st.sampled_from(TERMS), pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=12)
)
def test_whatever_bytes_a_device_writes_routing_and_results_agree(
    tmp_path: Path, term: str, pieces: list[bytes]
) -> None:
    raw = b"".join(pieces).replace(b"\\", b"/")[:64]
    path = tmp_path / "any.dcm"
    path.write_bytes(instance(Sample(term, "", raw, "", raw)))
    routed = part10.inspect(path, ["StudyDescription", "PatientName"]).attributes
    header = read_header(path)
    assert (header.get("StudyDescription") or "") == routed["StudyDescription"]
    assert str(header.get("PatientName") or "").rstrip("=") == routed["PatientName"].rstrip("=")


def test_a_term_that_nobody_knows_loses_no_study(tmp_path: Path) -> None:
    path = tmp_path / "any.dcm"
    path.write_bytes(instance(Sample("ISO_IR 999", "", b"M\xfcller^J\xf6rg", "", b"Sch\xe4del")))
    with pytest.warns(UserWarning, match="Unknown encoding 'ISO_IR 999'"):  # pydicom's, and no error
        header = read_header(path)
    assert (str(header.PatientName), header.StudyDescription) == ("Müller^Jörg", "Schädel")
