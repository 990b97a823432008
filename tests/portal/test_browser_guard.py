"""What guards a session, tried in a browser: forms of another origin, a wrong token, an hour that is over."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.portal.browser import Chromium
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.visitor import PASSWORD

pytestmark = pytest.mark.browser

_SEND = """async ([path, token]) => {
    const body = new URLSearchParams({csrf: token});
    return (await fetch(path, {method: "POST", body, redirect: "manual"})).status;
}"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


@pytest.fixture
def stranger(house: PortalHouse) -> Iterator[str]:
    """A page of another origin, on the same machine, whose form signs people out of the portal."""
    page = (
        f'<!doctype html><html lang="en"><title>x</title><form method="post" action="{house.url}/sign-out">'
        '<input name="csrf" value="guessed"><button>Win a prize</button></form>'
        f'<iframe title="framed" src="{house.url}/sign-in"></iframe></html>'
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_form_of_another_origin_does_nothing_and_no_page_shows_itself_in_its_frame(
    house: PortalHouse, browser: Chromium, stranger: str
) -> None:
    with house.window(browser, "cid", "viewer") as here:
        here.page.goto(stranger)
        framed = here.page.frame_locator('iframe[title="framed"]')
        expect(framed.get_by_role("heading", name="Sign in")).to_have_count(0)
        problems, here.problems = here.problems, []
        assert any("frame-ancestors" in problem for problem in problems), problems
        with here.announcing(403):
            here.page.get_by_role("button", name="Win a prize").click()
            expect(here.page.get_by_role("heading", name="Not with your role")).to_be_visible()
        here.go("/profile")
        assert here.path == "/profile"  # still signed in


def test_a_page_of_ours_with_a_wrong_token_is_refused(house: PortalHouse, browser: Chromium) -> None:
    with house.window(browser, "cid", "viewer") as here:
        here.go("/profile")
        right = here.page.locator("body").get_attribute("data-csrf") or ""
        assert len(right) >= 32
        for wrong in ("", "guessed", right[:-1], right[::-1]):
            with here.announcing(403):
                assert here.page.evaluate(_SEND, ["/sign-out", wrong]) == 403
        here.go("/profile")
        assert here.path == "/profile"


def test_the_cookie_of_a_session_is_for_no_script(house: PortalHouse, browser: Chromium) -> None:
    codes = house.person("cid", "viewer").codes
    with browser.window(house.url) as here:
        here.go("/sign-in")
        here.page.get_by_label("User name").fill("cid")
        here.page.get_by_label("Password").fill(PASSWORD)
        here.page.get_by_role("button", name="Sign in").click()
        here.page.get_by_label("Code").fill(codes[0])
        here.page.get_by_role("button", name="Sign in").click()
        expect(here.page.get_by_role("link", name="cid")).to_be_visible()
        assert "pons-session" in {cookie["name"] for cookie in here.context.cookies()}
        assert here.page.evaluate("() => document.cookie") == ""
        assert here.page.evaluate("() => localStorage.length + sessionStorage.length") == 0


def test_a_session_that_is_over_leads_to_the_door_and_back_again(
    house: PortalHouse, browser: Chromium
) -> None:
    with house.window(browser, "eve", "viewer") as here:
        here.go("/profile")
        _let_an_hour_pass(house)
        here.go("/profile")
        assert here.path == "/sign-in"
        here.see("Your session is over. Sign in again.")
        expect(here.page.locator("input[name=next]").first).to_have_value("/profile")


def _let_an_hour_pass(house: PortalHouse) -> None:
    """For every session that there is, as if its clock had gone on."""
    with sqlite3.connect(house.engine.data / "pons.sqlite", timeout=30) as database:
        changed = database.execute("UPDATE person_sessions SET expires_at = expires_at - 3700").rowcount
    database.close()
    assert changed > 0


def test_an_open_page_warns_before_the_hour_is_over_and_then_goes_to_the_door(
    house: PortalHouse, browser: Chromium
) -> None:
    with house.window(browser, "ivy", "viewer") as here:
        here.page.clock.install()
        here.go("/profile")
        warning = here.page.locator("#session-ending")
        expect(warning).to_be_hidden()
        here.page.clock.run_for("58:30")
        expect(warning).to_be_visible()
        _let_an_hour_pass(house)
        here.page.clock.run_for("02:00")
        here.page.wait_for_url("**/sign-in?over=yes**")
        expect(here.page.get_by_role("status").first).to_be_visible()
