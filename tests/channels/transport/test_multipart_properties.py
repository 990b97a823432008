"""The multipart parser beside the standard library's e-mail parser, on bodies and cuts of every kind.

Bodies are made from pieces that lie near the truth: whole and half boundaries, line ends, hyphens. They are
fed in chunks that end anywhere. What the parser finds must be what `email` finds in the whole (RFC 2046 5.1),
and it must be the same for any chunks.
"""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from channels.transport.multipart import (
    MalformedMultipart,
    MediaType,
    MultipartParser,
    PartBegins,
    PartData,
    PartEnds,
)

Found = list[tuple[dict[str, str], bytes]]
BUDGET = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])

# RFC 2046 5.1.1: 1 to 70 of these, not ending with a blank.
BCHARS = "0123456789ABCXYZabcxyz'()+_,-./:=?"
boundaries = st.one_of(
    st.sampled_from(["frontier", "-", "--", "a b", "0" * 70, "=_" * 35, "'()+_,-./:=?"]),
    st.text(BCHARS + " ", min_size=1, max_size=70).filter(lambda text: not text.endswith(" ")),
)


def pieces(boundary: str) -> st.SearchStrategy[bytes]:
    """Bytes that look like what ends a part, and bytes that do not."""
    mark = boundary.encode()
    looks = [
        b"\r",
        b"\n",
        b"\r\n",
        b"-",
        b"--",
        b" ",
        b"x",
        b"\0",
        b"--" + mark,
        mark,
        mark[:-1],
        b"--" + mark[:-1],
    ]
    return st.one_of(st.sampled_from(looks), st.binary(max_size=6))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[bytes], bytes]:
    """A boundary, the contents of the parts, and the body that holds them."""
    boundary = draw(boundaries)
    some = st.lists(pieces(boundary), max_size=8).map(b"".join)
    contents = draw(st.lists(some, max_size=4))
    preamble = draw(st.one_of(st.just(b""), some.map(lambda text: text + b"\r\n")))
    epilogue = draw(st.one_of(st.just(b""), some.map(lambda text: b"\r\n" + text)))
    delimiter = b"\r\n--" + boundary.encode()
    # what holds its own delimiter is no content of this body, but the end of one
    assume(not any(delimiter in b"\r\n" + content + b"\r\n" for content in contents))
    assume(delimiter not in b"\r\n" + preamble[:-2])
    dash = delimiter[2:]
    blanks = draw(st.sampled_from([b"", b" ", b" \t"]))
    kind = b"Content-Type: application/dicom\r\n\r\n"
    parts = b"".join(dash + blanks + b"\r\n" + kind + content + b"\r\n" for content in contents)
    return boundary, contents, preamble + parts + dash + b"--" + epilogue


cuts = st.lists(st.integers(1, 30), max_size=60)


def chunks(body: bytes, sizes: list[int]) -> list[bytes]:
    """The body cut into pieces of these sizes, and what is left."""
    cut = []
    for size in sizes:
        cut.append(body[:size])
        body = body[size:]
    return [*cut, body]


def parse(boundary: str, parts: list[bytes]) -> Found:
    """What the parser finds; events must come in their order."""
    parser = MultipartParser(boundary)
    found: Found = []
    open_part: list[tuple[dict[str, str], bytearray]] = []
    for chunk in parts:
        for event in parser.feed(chunk):
            match event:
                case PartBegins(headers):
                    assert not open_part
                    open_part.append((dict(headers), bytearray()))
                case PartData(data):
                    assert len(data) > 0
                    open_part[0][1].extend(data)
                case PartEnds():
                    headers, content = open_part.pop()
                    found.append((headers, bytes(content)))
    parser.close()
    assert not open_part
    return found


@BUDGET
@given(body=bodies(), sizes=cuts)
def test_any_chunks_give_the_parts_that_were_put_in(
    body: tuple[str, list[bytes], bytes], sizes: list[int]
) -> None:
    boundary, contents, raw = body
    expected = [({"content-type": "application/dicom"}, content) for content in contents]
    assert parse(boundary, chunks(raw, sizes)) == expected


@settings(max_examples=40, deadline=None)
@given(body=bodies())
def test_a_chunk_may_end_at_every_byte(body: tuple[str, list[bytes], bytes]) -> None:
    boundary, contents, raw = body
    for at in range(len(raw) + 1):
        assert [content for _, content in parse(boundary, [raw[:at], raw[at:]])] == contents


@BUDGET
@given(body=bodies(), sizes=cuts)
def test_the_parts_are_those_that_the_email_parser_finds(
    body: tuple[str, list[bytes], bytes], sizes: list[int]
) -> None:
    boundary, contents, raw = body
    # `email` reads lines: it takes a lone CR or LF for the end of one, and a boundary without its blanks
    assume(contents and not boundary.startswith(" "))
    assume(not any(byte in content for content in contents for byte in (b"\r", b"\n")))
    # and so it finds boundaries in a preamble that are none (RFC 2046 5.1.1: CRLF alone ends a line)
    assume(raw.count(b"--" + boundary.encode()) == len(contents) + 1)
    head = f'Content-Type: multipart/related; boundary="{boundary}"\r\nMIME-Version: 1.0\r\n\r\n'.encode()
    message = BytesParser(policy=HTTP).parsebytes(head + raw)
    theirs = [part.get_payload(decode=True) for part in message.iter_parts()]  # type: ignore[attr-defined]
    assume(not message.defects)
    assert [content for _, content in parse(boundary, chunks(raw, sizes))] == theirs


@BUDGET
@given(body=bodies(), sizes=cuts, keep=st.floats(0, 1, exclude_max=True))
def test_a_body_without_its_end_is_malformed_wherever_it_stops(
    body: tuple[str, list[bytes], bytes], sizes: list[int], keep: float
) -> None:
    boundary, _, raw = body
    closing = b"--" + boundary.encode() + b"--"
    assume(raw.find(closing) == len(raw) - len(closing))  # nothing behind its end, nothing like it before
    whole = len(raw) - 1  # without the last hyphen there is no end
    with pytest.raises(MalformedMultipart):
        parse(boundary, chunks(raw[: int(whole * keep)], sizes))


@settings(max_examples=300, deadline=None)
@given(noise=st.lists(pieces("frontier"), max_size=30).map(b"".join), sizes=cuts)
@example(noise=b"--frontier\r\n\r\n--frontier--", sizes=[13, 2])
@example(noise=b"--frontier\r\n:\r\n\r\n\r\n--frontier--", sizes=[])
def test_noise_is_parsed_alike_in_any_chunks(noise: bytes, sizes: list[int]) -> None:
    def outcome(parts: list[bytes]) -> Found | str:
        try:
            return parse("frontier", parts)
        except MalformedMultipart as error:
            return str(error)

    whole, cut = outcome([noise]), outcome(chunks(noise, sizes))
    assert whole == cut


@BUDGET
@given(
    names=st.lists(st.text("abcXYZ-", min_size=1, max_size=12), unique_by=str.lower, max_size=8),
    value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
    sizes=cuts,
)
def test_headers_come_back_with_names_in_lower_case(names: list[str], value: str, sizes: list[int]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name in names).encode()
    raw = b"--frontier\r\n" + lines + b"\r\nabc\r\n--frontier--"
    assert parse("frontier", chunks(raw, sizes)) == [
        ({name.lower(): value.strip() for name in names}, b"abc")
    ]


@BUDGET
@given(boundary=boundaries)
def test_a_quoted_boundary_of_any_kind_is_read_from_its_content_type(boundary: str) -> None:
    read = MediaType.parse(f'multipart/related; type="application/dicom"; boundary="{boundary}"')
    assert read.parameters["boundary"] == boundary
    raw = b"--" + boundary.encode() + b"\r\n\r\nabc\r\n--" + boundary.encode() + b"--"
    assert parse(read.parameters["boundary"], [raw]) == [({}, b"abc")]


@BUDGET
@given(header=st.text(max_size=60))
@example(header="multipart/related; boundary*=utf-8''%C4%80")
@example(header="multipart/related; boundary*=no-such-set''%C4%80")
def test_no_content_type_is_too_odd_to_be_read(header: str) -> None:
    read = MediaType.parse(header)
    assert read.essence == read.essence.lower()


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 16, 1 << 20])
def test_headers_of_a_megabyte_are_refused_before_they_are_held(size: int) -> None:
    parser = MultipartParser("frontier", max_header=16384)
    raw = b"--frontier\r\nX: " + b"y" * (1 << 20)
    fed = 0
    with pytest.raises(MalformedMultipart, match="more than 16384 bytes"):  # noqa: PT012  what was fed counts
        for at in range(0, len(raw), size):
            fed += len(raw[at : at + size])
            list(parser.feed(raw[at : at + size]))
    assert fed <= 16384 + 64 + size


@pytest.mark.parametrize(("count", "refused"), [(100, False), (101, True)])
def test_a_part_has_a_hundred_headers_at_most(count: int, refused: bool) -> None:
    raw = b"--frontier\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(count)) + b"\r\n\r\n--frontier--"
    if refused:
        with pytest.raises(MalformedMultipart, match="more than 100 headers"):
            parse("frontier", [raw])
    else:
        assert len(parse("frontier", [raw])[0][0]) == count
