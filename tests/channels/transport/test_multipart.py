"""Multipart bodies in pieces of every size, well-formed and not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from channels.transport.multipart import (
    MalformedMultipart,
    MediaType,
    MultipartParser,
    PartBegins,
    PartData,
    PartEnds,
)


def parse(body: bytes, step: int | None = None, **limits: int) -> list[tuple[dict[str, str], bytes]]:
    """Headers and content of each part that ended."""
    parser = MultipartParser("frontier", **limits)
    parts: list[tuple[dict[str, str], bytes]] = []
    headers: dict[str, str] = {}
    content = b""
    step = step or max(1, len(body))
    for start in range(0, len(body), step):
        for event in parser.feed(body[start : start + step]):
            match event:
                case PartBegins(found):
                    headers, content = dict(found), b""
                case PartData(data):
                    assert data
                    content += data
                case PartEnds():
                    parts.append((headers, content))
    parser.close()
    return parts


HEADER = b"Content-Type: application/dicom\r\n\r\n"
DICOM = {"content-type": "application/dicom"}

# Bodies and the parts in them (RFC 2046 5.1.1).
WHOLE: list[tuple[str, bytes, list[tuple[dict[str, str], bytes]]]] = [
    ("one part", b"--frontier\r\n" + HEADER + b"abc\r\n--frontier--", [(DICOM, b"abc")]),
    (
        "two parts and a line end after the last boundary",
        b"--frontier\r\n" + HEADER + b"abc\r\n--frontier\r\n" + HEADER + b"def\r\n--frontier--\r\n",
        [(DICOM, b"abc"), (DICOM, b"def")],
    ),
    (
        "preamble and epilogue",
        b"ignore me\r\n--frontier\r\n" + HEADER + b"abc\r\n--frontier--\r\nand me\r\n--frontier\r\n",
        [(DICOM, b"abc")],
    ),
    (
        "a line end before the first boundary",
        b"\r\n--frontier\r\n" + HEADER + b"\r\n--frontier--",
        [(DICOM, b"")],
    ),
    ("blanks after a boundary", b"--frontier \t\r\n" + HEADER + b"abc\r\n--frontier--", [(DICOM, b"abc")]),
    ("no headers", b"--frontier\r\n\r\nabc\r\n--frontier--", [({}, b"abc")]),
    ("an empty part", b"--frontier\r\n" + HEADER + b"\r\n--frontier--", [(DICOM, b"")]),
    ("an empty part, its line end shared", b"--frontier\r\n\r\n--frontier--", [({}, b"")]),
    (
        "what looks like a boundary",
        b"--frontier\r\n" + HEADER + b"x--frontier\r\n--fronti\r\n-\r\r\n\n--frontie\r\n--frontier--",
        [(DICOM, b"x--frontier\r\n--fronti\r\n-\r\r\n\n--frontie")],
    ),
    (
        "several headers, odd spacing",
        b"--frontier\r\ncontent-TYPE:application/dicom\r\nX-A:  b : c \r\n\r\nabc\r\n--frontier--",
        [({"content-type": "application/dicom", "x-a": "b : c"}, b"abc")],
    ),
    ("no part at all", b"--frontier--", []),
]


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
@pytest.mark.parametrize(("body", "parts"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_parts_are_found_wherever_the_chunks_end(
    body: bytes, parts: list[tuple[dict[str, str], bytes]], step: int | None
) -> None:
    assert parse(body, step) == parts


MALFORMED: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("nothing", b"", {}, "without its closing boundary"),
    ("another boundary", b"--other\r\n" + HEADER + b"abc\r\n--other--", {}, "without its closing boundary"),
    ("another boundary, long", b"x" * 20_000, {}, "does not occur in the body"),
    ("no closing boundary", b"--frontier\r\n" + HEADER + b"abc", {}, "without its closing boundary"),
    (
        "half a closing boundary",
        b"--frontier\r\n" + HEADER + b"abc\r\n--frontier-",
        {},
        "without its closing",
    ),
    ("ends in the headers", b"--frontier\r\nContent-Type: app", {}, "without its closing boundary"),
    ("text after a boundary", b"--frontier!\r\n" + HEADER + b"abc\r\n--frontier--", {}, "something else"),
    ("a header without a colon", b"--frontier\r\nContent\r\n\r\nabc\r\n--frontier--", {}, "malformed header"),
    ("a folded header", b"--frontier\r\nA: b\r\n c\r\n\r\nabc\r\n--frontier--", {}, "malformed header"),
    (
        "headers without end",
        b"--frontier\r\n" + b"A: b\r\n" * 100,
        {"max_header": 200},
        "more than 200 bytes",
    ),
    ("one header without end", b"--frontier\r\nA: " + b"b" * 300, {"max_header": 200}, "more than 200 bytes"),
    (
        "too many parts",
        (b"--frontier\r\n\r\n\r\n") * 4 + b"--frontier--",
        {"max_parts": 3},
        "more than 3 parts",
    ),
]


@pytest.mark.parametrize("step", [None, 1, 5])
@pytest.mark.parametrize(
    ("body", "limits", "says"), [row[1:] for row in MALFORMED], ids=[r[0] for r in MALFORMED]
)
def test_a_malformed_body_says_what_is_wrong(
    body: bytes, limits: dict[str, Any], says: str, step: int | None
) -> None:
    with pytest.raises(MalformedMultipart, match=says):
        parse(body, step, **limits)


@pytest.mark.parametrize("boundary", ["", "x" * 201, "a\r\nb", "ends with blank ", "ünïcode"])
def test_a_boundary_must_be_one(boundary: str) -> None:
    with pytest.raises(MalformedMultipart, match="200 characters"):
        MultipartParser(boundary)


@settings(max_examples=300, deadline=None)
@given(
    contents=st.lists(
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--frontier", b"\r\n--fron", b"x"])), max_size=4
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=50),
)
def test_any_content_comes_back_unless_it_holds_the_boundary(
    contents: list[list[bytes]], cuts: list[int]
) -> None:
    parts = [b"".join(pieces) for pieces in contents]
    assume(not any(b"\r\n--frontier" in b"\r\n" + part for part in parts))
    body = b"".join(b"--frontier\r\n" + HEADER + part + b"\r\n" for part in parts) + b"--frontier--"
    parser = MultipartParser("frontier")
    found: list[bytes] = []
    position = 0
    for cut in [*cuts, len(body)]:
        for event in parser.feed(body[position : position + cut]):
            if isinstance(event, PartBegins):
                found.append(b"")
            elif isinstance(event, PartData):
                found[-1] += event.data
        position += cut
    parser.close()
    assert found == parts


def test_little_is_held_back() -> None:
    """Of a large part, only what could be the beginning of a boundary."""
    parser = MultipartParser("frontier")
    received = sum(
        len(e.data) for e in parser.feed(b"--frontier\r\n\r\n" + b"x" * 500_000) if isinstance(e, PartData)
    )
    assert received == 500_000
    assert [type(event) for event in parser.feed(b"\r\n--frontie")] == []
    assert [event for event in parser.feed(b"!") if isinstance(event, PartData)] == [
        PartData(b"\r\n--frontie!")
    ]


@pytest.mark.parametrize(
    ("header", "essence", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "multipart/related", "abc"),
        ('Multipart/Related; BOUNDARY="a b:c"; type=application/dicom', "multipart/related", "a b:c"),
        ("multipart/related", "multipart/related", None),
        ("", "", None),
    ],
)
def test_a_content_type_is_taken_apart(header: str, essence: str, boundary: str | None) -> None:
    parsed = MediaType.parse(header)
    assert (parsed.essence, parsed.parameters.get("boundary")) == (essence, boundary)
