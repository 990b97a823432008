"""The browser's rig itself: what a page does wrong is told, under the policy that the portal has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import typst

from channels.inbound.portal.security import Guard
from channels.inbound.portal.settings import PortalSettings
from tests.portal.axe import violations
from tests.portal.browser import PHONE, Window
from tests.portal.viewing import has_room, pdf_is_shown

pytestmark = pytest.mark.browser

PAGE = '<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>{}</main></html>'
PAGES: Mapping[str, tuple[str, bytes]] = {
    "/plain": ("text/html", PAGE.format('<p>Nothing is wrong.</p><img alt="" src="data:,">').encode()),
    "/inline": ("text/html", PAGE.format("<script>document.title = 'changed'</script>").encode()),
    "/raises": ("text/html", PAGE.format("<script src=/raises.js></script>").encode()),
    "/raises.js": ("text/javascript", b"nobody.isHere()"),
    "/lost": ("text/html", PAGE.format("<script src=/nothing.js></script>").encode()),
    "/away": ("text/html", PAGE.format("<a href=http://192.0.2.1/>away</a>").encode()),
    "/faint": ("text/html", PAGE.format("<img src=/plain.svg width=9><input>").encode()),
    "/plain.svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "/wide": ("text/html", PAGE.format('<img alt="" src=/plain.svg width=2000 height=9>').encode()),
    "/report": (
        "text/html",
        PAGE.format("<iframe title=report src=/page.pdf width=700 height=500>").encode(),
    ),
    "/page.pdf": ("application/pdf", typst.compile(b"= A report\nof nothing")),
    "/blank": (
        "text/html",
        PAGE.format("<iframe title=report src=/blank.pdf width=700 height=500>").encode(),
    ),
    "/blank.pdf": ("application/pdf", b"no PDF at all"),
}


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Pages under the portal's own headers."""
    headers = Guard(PortalSettings()).headers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, content = PAGES.get(self.path, ("text/plain", b"nothing"))
            self.send_response(200 if self.path in PAGES else 404)
            for name, value in {**headers, "Content-Type": media_type}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


Make = Callable[..., Window]


def test_a_page_that_is_as_it_should_be_has_no_problems(served: str, window: Make) -> None:
    here = window(served)
    assert here.go("/plain").status == 200
    here.see("Nothing is wrong.")
    here.check()
    assert violations(here.page) == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/inline", "Content Security Policy"),
        ("/raises", "script: "),
        ("/lost", "/nothing.js: 404"),
        ("/nowhere", "/nowhere: 404"),
    ],
)
def test_what_a_page_does_wrong_is_told(served: str, window: Make, path: str, told: str) -> None:
    here = window(served)
    here.go(path)
    problems, here.problems = here.problems, []
    assert any(told in problem for problem in problems), problems


def test_no_page_leads_off_this_machine(served: str, window: Make) -> None:
    here = window(served)
    here.go("/away")
    with here.page.expect_event("requestfailed"):
        here.page.get_by_text("away").click()
    problems, here.problems = here.problems, []
    assert problems == [
        "would leave this machine: http://192.0.2.1/",
        "GET http://192.0.2.1/: net::ERR_NAME_NOT_RESOLVED",
    ]


def test_an_announced_answer_is_no_problem_and_must_come(served: str, window: Make) -> None:
    here = window(served)
    with here.announcing(404):
        here.go("/nowhere")
    here.check()
    with pytest.raises(AssertionError, match="announced"), here.announcing(403):
        here.go("/plain")


def test_the_judge_of_accessibility_finds_what_is_wrong(served: str, window: Make) -> None:
    here = window(served)
    here.go("/faint")
    assert {one["id"] for one in violations(here.page)} >= {"image-alt", "label"}


def test_a_page_that_is_too_wide_for_its_window_is_seen(served: str, window: Make) -> None:
    here = window(served, PHONE)
    here.go("/plain")
    assert has_room(here.page)
    here.go("/wide")
    assert not has_room(here.page)


def test_a_pdf_is_seen_in_the_browsers_own_viewer(served: str, window: Make) -> None:
    here = window(served)
    here.go("/report")
    assert pdf_is_shown(here.page, "report")
    here.go("/blank")
    assert not pdf_is_shown(here.page, "report", patience=5)


def test_windows_know_nothing_of_each_other(served: str, window: Make) -> None:
    one, other = window(served), window(served, color_scheme="dark")
    for here in (one, other):
        here.go("/plain")
    one.page.evaluate("() => localStorage.setItem('mine', 'yes')")
    assert other.page.evaluate("() => localStorage.getItem('mine')") is None
    dark = "() => matchMedia('(prefers-color-scheme: dark)').matches"
    assert (one.page.evaluate(dark), other.page.evaluate(dark)) == (False, True)
