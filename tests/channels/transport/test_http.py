"""One HTTP request: what an answer means, what is kept out, how long it may take."""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.responses import RedirectResponse, Response

from channels.transport.http import Answer, Endpoint, Url, failure, parse_retry_after, request, reveal
from engine.channel import Secret, Tls
from engine.errors import Refused, TryAgain
from tests.contract.scp import Conversation, bare_server
from tests.contract.web import in_turn, receiving

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thursday, 01-Jan-26 12:01:30 GMT", 90.0),  # the obsolete form of RFC 850
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),  # in the past: no need to wait
        ("Thu, 01 Jan 2026 13:01:30 +0100", 90.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, None),
        ("Thu, 99 Jan 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (100, TryAgain),  # no final answer
        (301, Refused),
        (304, Refused),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (408, TryAgain),
        (409, Refused),
        (410, Refused),
        (413, Refused),
        (422, Refused),
        (429, TryAgain),
        (500, TryAgain),
        (502, TryAgain),
        (503, TryAgain),
        (507, TryAgain),
    ],
)
def test_a_status_is_transient_or_permanent(status: int, error: type[Exception]) -> None:
    found = failure(Endpoint("https://his.example/hook"), Answer(status))

    assert type(found) is error
    assert found.code == str(status)
    assert str(found).startswith(f"his.example:443 answered {status}")


def test_a_peer_that_asks_for_time_gets_it() -> None:
    found = failure(Endpoint("http://his.example"), Answer(503, {"retry-after": "77"}))

    assert isinstance(found, TryAgain)
    assert found.after == 77


@pytest.mark.parametrize(("status", "of_payload"), [(409, True), (503, False), (429, False)])
def test_a_conflict_says_that_the_server_is_well(status: int, of_payload: bool) -> None:
    found = failure(Endpoint("http://his.example"), Answer(status), transient=(409,))

    assert isinstance(found, TryAgain)
    assert found.of_payload is of_payload


@pytest.mark.parametrize(
    "url",
    [
        "https://his.example",
        "https://his.example:8443/fhir/r4",
        "http://10.90.7.2/dicom-web",
        "http://[::1]:8080/x?tenant=1",
    ],
)
def test_a_url_with_scheme_and_host_is_taken(url: str) -> None:
    assert TypeAdapter(Url).validate_python(url) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("his.example/fhir", "starts with https://"),
        ("ftp://his.example", "starts with https://"),
        ("https:///fhir", "names a host"),
        ("https://user:word@his.example", "no user or password"),
        ("https://user@his.example", "no user or password"),
        ("https://his.example:port", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://his.example/#top", "no fragment"),
        ("https://his.example/a b", "no spaces"),
        ("https://his.example/\x01", "no control"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_and_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Url).validate_python(url)

    assert words in caught.value.errors()[0]["msg"]
    assert "word" not in caught.value.errors()[0]["msg"].replace("password", "")


async def test_method_path_headers_and_body_arrive_and_the_answer_returns() -> None:
    with receiving(in_turn(Response(b"taken", 201, {"X-Y": "z"}))) as peer:
        answer = await request(Endpoint(f"{peer.url}/base/"), "PUT", "/a?b=c", headers={"K": "v"}, body=b"x")

    [seen] = peer.seen
    assert (seen.method, seen.path, seen.body, seen.headers["k"]) == ("PUT", "/base/a?b=c", b"x", "v")
    assert (answer.status, answer.body, answer.headers["x-y"]) == (201, b"taken", "z")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with receiving(lambda _: RedirectResponse("/elsewhere", 307)) as peer:
        answer = await request(Endpoint(peer.url), "POST", body=b"x")

    assert answer.status == 307
    assert len(peer.seen) == 1
    assert isinstance(failure(Endpoint(peer.url), answer), Refused)


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with receiving(in_turn(Response())) as peer:
        answer = await request(Endpoint(peer.url), "GET")

    assert answer.status == 200
    assert "authorization" not in peer.seen[0].headers


@pytest.mark.parametrize(
    "response",
    [
        Response(b"x" * ((1 << 20) + 1)),  # longer than any acknowledgement
        Response(
            gzip.compress(b"[" + b" " * (64 << 20) + b"]"), headers={"Content-Encoding": "gzip"}
        ),  # a bomb
        Response(b"\xff\xfe{"),
        Response(b"[" * 100_000),
    ],
)
async def test_a_body_that_is_no_reasonable_json_is_none(response: Response) -> None:
    with receiving(in_turn(response)) as peer:
        answer = await request(Endpoint(peer.url), "GET")

    assert answer.status == 200
    assert answer.json() is None


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        continue


async def _drips_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _drips_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("converse", [_silent, _drips_headers, _drips_body])
async def test_a_slow_server_costs_no_more_than_the_timeout(converse: Conversation) -> None:
    async with bare_server(converse) as port:
        started = time.monotonic()
        with pytest.raises(TryAgain) as caught:
            await request(Endpoint(f"http://127.0.0.1:{port}", timeout=0.5), "POST", body=b"x")
        elapsed = time.monotonic() - started

    assert caught.value.code == "timeout"
    assert 0.5 <= elapsed < 5


def _says(answer: bytes) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return converse


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 banana\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_tried_again_and_quotes_no_url(answer: bytes) -> None:
    async with bare_server(_says(answer)) as port:
        with pytest.raises(TryAgain) as caught:
            await request(Endpoint(f"http://127.0.0.1:{port}/x"), "GET", "?identifier=7")

    assert caught.value.code == "connection"
    assert "identifier" not in str(caught.value)


async def test_nobody_listening_is_tried_again(free_port: Callable[[], int]) -> None:
    with pytest.raises(TryAgain, match=r"no connection to 127\.0\.0\.1:\d+: connection refused"):
        await request(Endpoint(f"http://127.0.0.1:{free_port()}"), "GET")


async def test_no_url_and_no_header_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": "Bearer hush"}
    async with bare_server(_says(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        with caplog.at_level(logging.DEBUG):
            await request(Endpoint(f"http://127.0.0.1:{port}"), "GET", "?identifier=4711", headers=headers)

    assert "4711" not in caplog.text
    assert "hush" not in caplog.text


async def test_the_certificate_of_the_server_is_checked(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    trusting = Tls(ca=Secret(file=chain))

    async with bare_server(_says(b"HTTP/1.1 204 No Content\r\n\r\n"), tls=context) as port:
        url = f"https://127.0.0.1:{port}"
        answer = await request(Endpoint(url, trusting), "GET")
        with pytest.raises(TryAgain, match="TLS failed"):
            await request(Endpoint(url), "GET")

    assert answer.status == 204


def test_a_secret_that_cannot_be_read_is_named_by_its_reference() -> None:
    with pytest.raises(TryAgain, match="environment variable PONS_TEST_ABSENT is not set"):
        reveal(Secret(env="PONS_TEST_ABSENT"))
