"""Character sets of HL7: each keeps what it can write, shows what it cannot, breaks no frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content import hl7_override, oru
from channels.content.hl7 import CHARSETS, Encoder
from channels.content.oru_profile import Version
from engine.model import PersonName, Result
from tests.channels.content.er7 import CODECS, Message, filled, unescaped, writable

VERSIONS = get_args(Version)

NAMES = {
    # table 0211: a name that it writes, and one that it lacks
    "UNICODE UTF-8": ("山田^太郎 Ωмега 𠮷", ""),
    "ASCII": ("Murphy^Sile", "Murphy^Síle"),
    "8859/1": ("Müller^Zoë", "Nowák^Šárka"),
    "8859/2": ("Dvořák^Růžena", "Иванов^Пётр"),
    "8859/3": ("Ĝorĝo^Ŭlo", "Dvořák^Růžena"),
    "8859/4": ("Bērziņš^Jānis", "Dvořák^Růžena"),
    "8859/5": ("Иванов^Пётр", "Müller^Zoë"),
    "8859/6": ("قباني^لنزار", "Διονυσιος^Α"),
    "8859/7": ("Διονυσιος^Αθηνά", "כהן^דוד"),
    "8859/8": ("כהן^דוד", "قباني^لنزار"),
    "8859/9": ("Yılmaz^Şükrü", "Dvořák^Růžena"),
    "8859/15": ("Œuvré^Žofie", "Иванов^Пётр"),
    "ISO IR87": ("山田^太郎 Yamada", "ﾔﾏﾀﾞ^¥"),  # half-width katakana are of JIS X 0201
}


def named(full: Result, name: str) -> Result:
    patient = full.patient.model_copy(update={"name": PersonName(alphabetic=name)})
    return full.model_copy(update={"patient": patient})


def test_every_character_set_is_tried_here() -> None:
    assert list(NAMES) == list(CODECS)
    assert sorted(NAMES) == sorted(CHARSETS)


@pytest.mark.judges
@pytest.mark.parametrize("charset", list(NAMES))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_that_can_be_written_arrives_whole(
    full: Result, history: Any, charset: Any, version: Any
) -> None:
    name, _ = NAMES[charset]
    part = oru.render(named(full, name), history(), oru.Profile(charset=charset, version=version)).parts[0]
    text = part.read().decode(CODECS[charset])
    family, given_name = name.split("^")

    assert [Message(part.read(), CODECS[charset]).field("PID", 5, at) for at in (1, 2)] == [
        family,
        given_name,
    ]
    pid = hl7.parse(text).segment("PID")
    assert [str(pid[5][0][0]), str(pid[5][0][1])] == [family, given_name]
    parsed = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    assert parsed.pid.pid_5.to_er7().split("^")[:2] == [family, given_name]


@pytest.mark.parametrize("charset", [charset for charset, (_, lacking) in NAMES.items() if lacking])
def test_what_cannot_be_written_is_seen_and_counted(full: Result, history: Any, charset: Any) -> None:
    _, name = NAMES[charset]
    plain = full.model_copy(update={"report": full.report.model_copy(update={"findings": ()})})
    content = oru.render(named(plain, name), history(), oru.Profile(charset=charset)).parts[0].read()
    found = Message(content, CODECS[charset])
    left = writable(name, charset)
    assert [found.field("PID", 5, at) for at in (1, 2)] == left.split("^")
    lost = sum(one != other for one, other in zip(name, left, strict=True))
    assert lost > 0
    assert found.all("NTE")[0][1:] == [
        "1",
        "L",
        f"{lost} characters that {charset} lacks were replaced by ?",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_japanese_is_announced_as_an_alternate_of_ascii(full: Result, history: Any, version: Any) -> None:
    profile = oru.Profile(charset="ISO IR87", version=version)
    msh = Message(oru.render(full, history(), profile).parts[0].read(), "iso2022_jp").all("MSH")[0]
    assert (msh[17], msh[19]) == ("~ISO IR87", "ISO 2022-1994")  # MSH-18 and -20


def test_bytes_of_japanese_that_look_like_delimiters_are_none_once_decoded(
    full: Result, history: Any
) -> None:
    """JIS X 0208 30-7C, 30-5E, 30-7E, 30-26, 30-5C: second bytes that are | ^ ~ & and a backslash."""
    sly = "".join(bytes([*b"\x1b$B", 0x30, second, *b"\x1b(B"]).decode("iso2022_jp") for second in b"|^~&\\")
    content = oru.render(named(full, sly), history(), oru.Profile(charset="ISO IR87")).parts[0].read()
    plain = oru.render(named(full, "x"), history(), oru.Profile(charset="ISO IR87")).parts[0].read()
    assert content.count(b"|") > plain.count(b"|")
    assert content.decode("iso2022_jp").count("|") == plain.decode("iso2022_jp").count("|")
    assert Message(content, "iso2022_jp").field("PID", 5) == sly


def test_every_field_starts_and_ends_in_ascii(full: Result, history: Any) -> None:
    content = oru.render(full, history(), oru.Profile(charset="ISO IR87")).parts[0].read()
    shifted = False
    for piece in content.replace(b"\x1b$B", b"\0in\0").replace(b"\x1b(B", b"\0out\0").split(b"\0"):
        if piece in (b"in", b"out"):
            shifted = piece == b"in"
        elif shifted:
            assert len(piece) % 2 == 0
            assert b"\r" not in piece
    assert not shifted
    assert content.count(b"\x1b$B") == content.count(b"\x1b(B") > 0


@pytest.mark.judges
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("segments", [("ORC", "PV1", "NTE"), ("PV1",), ("NTE",), ()])
def test_hl7apy_validates_what_a_receiver_may_choose(
    full: Result, history: Any, tmp_path: Path, version: Any, segments: Any
) -> None:
    overrides = tuple(
        hl7_override.parse(address, "{order.accession_number}", version)
        for address in ("OBR-19", "OBR-20", "PID-3.5", "MSH-8")
    )
    choice = {"version": version, "segments": segments, "overrides": overrides}
    text = oru.render(full, history(), oru.Profile(sending_facility="V", **choice)).parts[0].read().decode()
    parsed = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    report = tmp_path / "report"
    assert parsed.validate(report_file=str(report)), report.read_text()
    assert [one[:3] for one in parsed.to_er7().split("\r")] == [one[:3] for one in text.split("\r")[:-1]]


SPECIAL = "|^&~\\\r\n\x0b\x1c\x1b{}\x00\x85\u2028"
LETTERS = "山田ー苅éßЖאبΩřŞ¥‾ﾔ～𠮷"
WORDS = st.text(st.sampled_from(SPECIAL + LETTERS) | st.characters(codec="utf-8"), min_size=1, max_size=24)
PLACES = ("patient_id", "placer", "filler", "accession", "procedure", "facility", "algorithm", "group")
LINES = {"narrative": "59776-5", "impression": "19005-8", "disclaimer": "disclaimer", "value": "remark"}
ADDRESSES = st.sampled_from(
    ["MSH-6", "MSH-8", "PID-3", "PID-3.4", "PID-11.2", "ORC-21", "OBR-18", "OBR-44.3"]
)


def rendered(full: Result, history: Callable[..., Any], words: dict[str, str], **choice: Any) -> Message:
    literal = words["literal"].replace("{", "{{").replace("}", "}}")
    override = hl7_override.parse(
        choice.pop("address"), literal + "{order.accession_number}", choice["version"]
    )
    profile = oru.Profile(sending_facility=words["facility"], overrides=(override,), **choice)
    return Message(
        oru.render(filled(full, words), history(), profile).parts[0].read(), CODECS[choice["charset"]]
    )


@pytest.mark.parametrize("charset", list(CODECS))
@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.fixed_dictionaries(
        dict.fromkeys((*PLACES, *LINES, "concept", "name", "comment", "literal"), WORDS)
    ),
    address=ADDRESSES,
    segments=st.sampled_from([("ORC", "NTE"), ("ORC", "PV1", "NTE"), ("ORC",)]),
)
def test_no_text_and_no_override_adds_a_field_or_a_segment_in_any_version_or_character_set(
    full: Result,
    history: Any,
    version: Any,
    charset: Any,
    words: dict[str, str],
    address: str,
    segments: Any,
) -> None:
    choice = {"version": version, "charset": charset, "address": address, "segments": segments}
    found = rendered(full, history, words, **choice)
    expected = rendered(full, history, dict.fromkeys(words, "x"), **choice)
    told = [one for one in found.segments if one[-1].endswith("lacks were replaced by ?")]
    told += [one for one in found.segments if one[0] == "OBX" and "lacks were replaced" in one[5]]
    shape = [(one[0], len(one)) for one in found.segments if one not in told]

    assert shape == [(one[0], len(one)) for one in expected.segments]
    assert len(found.text.splitlines()) == len(found.segments)
    assert not any(byte in found.text for byte in "\x0b\x1c\n")
    assert found.text.encode(CODECS[charset]).count(b"\r") == len(found.segments)
    assert bool(told) == any(writable(one, charset) != one for one in words.values())
    for place, identifier in LINES.items():
        lines = [
            writable(one, charset)
            for one in words[place].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        ]
        assert found.lines(identifier) == "\n".join(lines), place
    assert found.field("OBR", 2) == writable(words["placer"], charset)
    segment, number = address.split("-")
    field, _, component = number.partition(".")
    set_there = writable(words["literal"] + words["accession"], charset)
    assert found.field(segment, int(field), int(component or 1)) == set_there


@settings(max_examples=100, deadline=None)
@given(value=st.text(), charset=st.sampled_from(list(CODECS)))
def test_what_is_written_reads_the_same_for_others(value: str, charset: str) -> None:
    encoder = Encoder(charset)
    content = encoder.text(value).encode(encoder.codec)
    assert unescaped(content.decode(CODECS[charset]), CODECS[charset]) == writable(value, charset)
    assert not set(content) & {0x0B, 0x0D, 0x1C}
