"""What guards the portal: headers, cookies, where a request comes from and may be sent on to, limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.portal.visitor import Visitor, serving_portal, signed_in, trail, visiting

PUBLIC = {"public_url": "https://pons.example", "trusted_proxies": ["127.0.0.1"]}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    with serving_portal(tmp_path_factory.mktemp("portal"), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def ada(engine: Engine) -> Iterator[Visitor]:
    with signed_in(engine, "ada", "admin", address="127.0.2.1") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def viewer(engine: Engine) -> Iterator[Visitor]:
    with signed_in(engine, "vera", "viewer@st-marys", address="127.0.2.2") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    """An engine that browsers reach by https through a proxy on its own machine."""
    with serving_portal(tmp_path_factory.mktemp("public"), free_port(), PUBLIC) as running:
        yield running


# ── headers and cookies ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/sign-in", "/profile", "/people", "/nothing", "/static/portal.css", "/static/no"]
)
def test_every_answer_has_the_headers_that_bind_a_browser(ada: Visitor, path: str) -> None:
    headers = ada.get(path).answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    if not path.startswith("/static/portal"):
        assert headers["cache-control"] == "no-store"


def test_no_page_has_anything_of_its_own_to_run(ada: Visitor) -> None:
    for path in ("/sign-in", "/profile", "/people", "/people/invite", "/clients/new"):
        text = ada.get(path).answer.text
        assert "style=" not in text
        assert re.search(r"<[^>]*\son[a-z]+=", text) is None
        assert text.count("<script") == text.count('<script type="module" src="/static/')


def test_a_cookie_is_for_no_script_and_no_other_site(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.2.3") as visitor:
        given = visitor.get("/sign-in").answer.headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=lax" in given
    assert "Path=/" in given
    names = {cookie.name for cookie in ada.http.cookies.jar}
    assert "pons-session" in names


def test_by_https_cookies_are_of_this_host_alone_and_browsers_keep_to_it(public: Engine) -> None:
    with visiting(public.url, "127.0.0.1") as visitor:
        answer = visitor.get("/sign-in").answer
        assert answer.headers["set-cookie"].startswith("__Host-pons-visitor=")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_a_style_sheet_is_kept_for_ever_under_the_tag_of_its_content(ada: Visitor) -> None:
    page = ada.get("/profile").answer.text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    sheet = ada.http.get(address)
    assert sheet.status_code == 200
    assert "immutable" in sheet.headers["cache-control"]
    assert ada.http.get(address, headers={"If-None-Match": sheet.headers["etag"]}).status_code == 304
    assert "no-cache" in ada.http.get(address.partition("?")[0]).headers["cache-control"]
    for name in ("..%2fchannel.py", "portal.css%2f..", "%2e%2e", "portal.py", "."):
        assert ada.http.get(f"/static/{name}").status_code == 404


# ── where a request comes from ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_what_another_site_makes_a_browser_send_is_refused(ada: Visitor, headers: dict[str, str]) -> None:
    fields = {
        **ada.get("/people/invite").form("/people/invite").fields,
        "username": "mallory",
        "role-1": "admin",
    }
    page = ada.post("/people/invite", {**fields, "site-1": "*"}, headers=headers)
    assert page.status == 403
    assert "open its page anew" in page.text
    assert "mallory" not in ada.get("/people").text


@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_a_form_without_its_token_does_nothing_and_is_on_the_trail(
    engine: Engine, ada: Visitor, token: str | None
) -> None:
    before = len(trail(engine, "request.refused"))
    fields = {} if token is None else {"csrf": token}
    assert ada.post("/sign-out", fields).status == 403
    assert ada.get("/profile").status == 200, "still signed in"
    assert len(trail(engine, "request.refused")) == before + 1


def test_the_token_of_one_person_is_no_token_of_another(ada: Visitor, viewer: Visitor) -> None:
    token = viewer.get("/profile").form("/sign-out").fields["csrf"]
    assert ada.post("/sign-out", {"csrf": token}).status == 403


def test_a_sign_in_form_of_another_browser_signs_nobody_in(engine: Engine) -> None:
    with visiting(engine.url, "127.0.2.4") as one, visiting(engine.url, "127.0.2.5") as other:
        fields = one.get("/sign-in").form("/sign-in").fields
        other.get("/sign-in")
        page = other.post("/sign-in", {**fields, "username": "ada", "password": "x"})
        assert page.status == 403


# ── where it may be sent on to ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1",
        "/\t/evil.example",
        "evil.example",
        "/" + "a" * 3000,
    ],
)
def test_no_link_leads_out_of_the_portal(ada: Visitor, target: str) -> None:
    page = ada.get("/sign-in", params={"next": target})
    assert page.status in (303, 400)
    if page.status == 303:
        assert page.location == "/" or page.location == target == "/%0d%0aSet-Cookie:x=1"
        assert "x" not in page.answer.cookies


def test_a_password_is_asked_for_at_the_portals_own_address_only(engine: Engine) -> None:
    with visiting(engine.url, "127.0.2.6") as visitor:
        page = visitor.get("/sign-in", headers={"Host": "pons.example"})
        assert page.status == 400
        assert "public_url" in page.text
        assert "Password" not in page.text


def test_behind_a_trusted_proxy_the_trail_has_the_address_of_the_person(public: Engine) -> None:
    public.pons("user", "invite", "eve", "--role", "viewer")
    for sent_from, shown in (("127.0.0.1", "203.0.113.9"), ("127.0.0.9", "127.0.0.9")):
        with httpx.Client(
            base_url=public.url,
            transport=httpx.HTTPTransport(local_address=sent_from),
            trust_env=False,
            timeout=60,
            headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "Host": "pons.example"},
        ) as client:
            form = client.get("/sign-in")
            token = form.text.partition('data-csrf="')[2].partition('"')[0]
            cookie = form.headers["set-cookie"].partition(";")[0]
            answer = client.post(
                "/sign-in",
                data={"csrf": token, "username": "eve", "password": "not it at all", "next": ""},
                headers={"Cookie": cookie, "Origin": "https://pons.example"},
            )
            assert answer.status_code == 401
        last = trail(public, "person.sign_in_refused")[-1]
        assert shown in str(last["detail"])


# ── roles ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/people", "/people/invite", "/clients", "/clients/new"])
def test_a_viewer_is_refused_what_an_admin_may_and_it_is_on_the_trail(
    engine: Engine, viewer: Visitor, path: str
) -> None:
    before = len(trail(engine, "access.refused"))
    page = viewer.get(path)
    assert page.status == 403
    assert "role admin" in page.text
    token = viewer.get("/profile").form("/sign-out").fields["csrf"]
    if path != "/people" and path != "/clients":
        assert viewer.post(path, {"csrf": token, "username": "m", "client_id": "m"}).status == 403
    assert len(trail(engine, "access.refused")) > before
    assert "/people" not in viewer.get("/profile").links


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


def test_a_form_that_is_too_large_is_refused(engine: Engine) -> None:
    with visiting(engine.url, "127.0.2.7") as visitor:
        fields = visitor.get("/sign-in").form("/sign-in").fields
        page = visitor.post("/sign-in", {**fields, "username": "a" * 9000})
        assert page.status == 413
        squeezed = visitor.post("/sign-in", fields, headers={"Content-Encoding": "gzip"})
        assert squeezed.status == 415


def test_who_asks_too_often_waits(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> None:
    folder = tmp_path_factory.mktemp("slow")
    with (
        serving_portal(folder, free_port(), {"requests_per_second": 0.01}) as engine,
        visiting(engine.url) as visitor,
    ):
        answers = [visitor.get("/sign-in") for _ in range(3)]
        assert [page.status for page in answers] == [200, 429, 429]
        assert int(answers[-1].answer.headers["retry-after"]) >= 1
        assert "wait a moment" in answers[-1].text


def test_the_portal_leaves_other_channels_and_health_alone(engine: Engine) -> None:
    assert httpx.get(f"{engine.url}/healthz", trust_env=False).json() == {"status": "alive"}
    assert httpx.get(f"{engine.url}/oauth2/jwks", trust_env=False).headers["content-type"] != "text/html"
    stored = httpx.post(f"{engine.url}/dicomweb/studies", content=b"", trust_env=False)
    assert stored.status_code in (400, 415)
    assert "html" not in stored.headers.get("content-type", "")
    assert "pons_portal_requests" in httpx.get(f"{engine.url}/metrics", trust_env=False).text


def test_a_portal_below_a_path_keeps_to_it(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> None:
    folder = tmp_path_factory.mktemp("below")
    with (
        serving_portal(folder, free_port(), {"path": "/portal"}) as engine,
        visiting(engine.url) as visitor,
    ):
        assert visitor.http.get("/portal").headers["location"] == "/portal/"
        assert visitor.get("/portal/profile").location == "/portal/sign-in?next=%2Fportal%2Fprofile"
        page = visitor.get("/portal/sign-in")
        assert page.form("/portal/sign-in").fields["next"] == [""]
        assert visitor.get("/sign-in").status == 404
        assert '"/portal/static/portal.css?v=' in page.answer.text
