"""Whatever is sent to a page of the portal: it is answered, by no fault of ours, and leads nowhere else."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from channels.inbound.portal.channel import MODULES
from channels.inbound.portal.page import Page
from tests.e2e.engine import Engine
from tests.portal.visitor import Visitor, serving_portal, signed_in

PAGES: list[Page] = [page for module in MODULES for page in module.PAGES if not page.streams]
SETTINGS = settings(
    max_examples=4,
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # each example is a request to an engine: the first that fails says enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PARTS = st.one_of(
    st.sampled_from(
        ["0", "-1", "..", "%00", "%0a", "%2f%2f", "%ff%fe", "\u2028", "a" * 300, "1.2.840", "ü", "*"]
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/?#"), min_size=1, max_size=20),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "yes", "1e999", "-1", "nan", "2026-99-99", "\x00", "{{7*7}}", "<script>", "a" * 5000, "٣"]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
)
KNOWN = ("csrf", "next", "username", "password", "code", "reason", "keep", "q", "after", "state", "site")
KNOWN += ("since", "until", "limit", "reveal", "role-1", "site-1", "scopes", "table", "metadata", "confirm")
NAMES = st.one_of(st.sampled_from(KNOWN), st.text(st.characters(exclude_categories=("Cs",)), max_size=10))
FIELDS = st.dictionaries(NAMES, TEXTS, max_size=6)
RAW = st.binary(min_size=0, max_size=60)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    options = {"requests_per_second": 10_000}
    with serving_portal(tmp_path_factory.mktemp("portal"), free_port(), options) as running:
        yield running
        assert running.healthy()


@pytest.fixture(scope="module")
def ada(engine: Engine) -> Iterator[Visitor]:
    with signed_in(engine, "ada", "admin", "engineer", "submitter") as visitor:
        yield visitor


def is_answered(answer: Any) -> None:
    assert answer.status_code in {*range(200, 500)} - {418}, answer.text[:300]
    assert "default-src 'none'" in answer.headers["content-security-policy"] or answer.status_code == 200
    leads = answer.headers.get("location", "/")
    assert re.match(r"/(?![/\\])", leads), leads


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.methods[0]} {page.path}")
@SETTINGS
@given(parts=st.lists(PARTS, min_size=4, max_size=4), query=FIELDS, fields=FIELDS, shows_token=st.booleans())
def test_any_path_query_and_form_is_answered(
    ada: Visitor,
    page: Page,
    parts: list[str],
    query: dict[str, str],
    fields: dict[str, str],
    shows_token: bool,
) -> None:
    given_parts = iter(parts)
    path = re.sub(r"{[^}]*}", lambda _: quote(next(given_parts), safe="%.*"), page.path)
    token = ada.get("/profile").answer.text.partition('data-csrf="')[2].partition('"')[0]
    if shows_token and page.path != "/sign-out":
        fields = {**fields, "csrf": token}
    for method in page.methods:
        body = {"data": fields} if method not in ("GET", "HEAD") else {}
        headers = {"X-CSRF-Token": token} if page.own_body and shows_token else {}
        is_answered(ada.http.request(method, path, params=query, headers=headers, **body))
    assert ada.get("/profile").status == 200, "still signed in"


@SETTINGS
@given(
    path=st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    method=st.sampled_from(["GET", "POST"]),
)
def test_any_address_is_answered(ada: Visitor, path: str, method: str) -> None:
    is_answered(ada.http.request(method, "/" + quote(path, safe="/%?&=;.").lstrip("/")))


HEADERS = (b"Host", b"Cookie", b"Origin", b"Accept", b"X-Forwarded-For", b"Content-Type", b"Content-Length")
HEADERS += (b"Sec-Fetch-Dest", b"X-CSRF-Token")
METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"PROPFIND")


@settings(SETTINGS, max_examples=60)
@given(path=RAW, name=st.sampled_from(HEADERS), value=RAW, method=st.sampled_from(METHODS))
def test_any_bytes_on_the_wire_are_answered_or_the_line_is_closed(
    engine: Engine, path: bytes, name: bytes, value: bytes, method: bytes
) -> None:
    request = b"%s /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s: %s\r\nConnection: close\r\n\r\n" % (
        method,
        path,
        name,
        value,
    )
    with socket.create_connection(("127.0.0.1", engine.http_port), timeout=60) as line:
        line.settimeout(60)
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := line.recv(65536):
                answer += piece
    status = answer.split(b" ", 2)[1] if answer else b""
    assert status == b"" or status[:1] in b"234", answer[:300]
