"""Chromium, headless, as people use it: windows of their own, and everything that goes wrong in them is told.

A `Window` is what one person has before him: cookies and storage of its own, one page. Whatever the page
does that it should not is a problem, and problems fail the test: an error on the console, a script that
raises, a violation of the content security policy, a request that fails, an answer of 400 and more that the
test did not announce, a request to another host than this one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from tests.peers.process import binary

PATIENCE = 45_000.0  # milliseconds; every wait ends as soon as what it waits for is there
DESKTOP = (1280, 860)
PHONE = (360, 740)
QUIET = [  # this browser talks to nobody but us
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # addresses in figures, too
]
_ANSWERED = "Failed to load resource: the server responded with a status of"  # told by the answer itself
_LET_GO = "net::ERR_ABORTED"  # a page that is left, a stream that is closed, a download that begins


@dataclass
class Window:
    """One person's browser."""

    context: BrowserContext
    page: Page
    base: str
    problems: list[str] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    _announced: list[int] = field(default_factory=list)

    def go(self, path: str) -> Response:
        """Open a page of the portal by its path, and wait until it is loaded."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        return answer

    @property
    def path(self) -> str:
        """Where it is, without scheme, host and query."""
        return urlsplit(self.page.url).path

    def see(self, text: str) -> None:
        """Wait until a text is seen."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    def shown(self) -> str:
        """What can be read on the page."""
        return self.page.locator("body").inner_text()

    @contextmanager
    def announcing(self, *statuses: int) -> Iterator[None]:
        """Within it these answers are what the test wants; each must come."""
        before, self._announced = len(self.answers), list(statuses)
        try:
            yield
            came = {answer.status for answer in self.answers[before:]}
            assert set(statuses) <= came, f"announced {statuses}, came {sorted(came)}"
        finally:
            self._announced = []

    def check(self) -> None:
        """Nothing went wrong since the last check."""
        told, self.problems = self.problems, []
        assert told == []

    # ── what the browser tells ──

    def _watch(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_ANSWERED):
            self.problems.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != _LET_GO:
            self.problems.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, answer: Response) -> None:
        self.answers.append(answer)
        if answer.status >= 400 and answer.status not in self._announced:
            self.problems.append(f"{answer.request.method} {answer.url}: {answer.status}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme.startswith(("http", "ws")) and parts.hostname != "127.0.0.1":
            self.problems.append(f"would leave this machine: {request.url}")


class Chromium:
    """One browser process, whose windows know nothing of each other."""

    def __init__(self, process: Browser) -> None:
        self._process = process

    @contextmanager
    def window(self, base: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Window]:
        """A window on an engine, as if for the first time.

        Args:
            options: of the context, such as `color_scheme="dark"`.
        """
        width, height = size
        context = self._process.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            timezone_id="Europe/Dublin",
            **options,
        )
        context.set_default_timeout(PATIENCE)
        window = Window(context, context.new_page(), base)
        window._watch()
        try:
            yield window
            window.check()
        finally:
            context.close()


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Debian's Chromium with its profile below ``folder``; it ends with the block."""
    program = binary("chromium", "chromium")
    home = folder / "chromium"
    home.mkdir()
    expect.set_options(timeout=PATIENCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(home))  # where the driver makes the profile
        with sync_playwright() as driver:
            process = driver.chromium.launch(
                executable_path=program,
                args=QUIET,
                env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
                timeout=60_000,
            )
            try:
                yield Chromium(process)
            finally:
                process.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One Chromium for the tests of a file."""
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def window(browser: Chromium) -> Iterator[Callable[..., Window]]:
    """Factory: ``window(base, size=…, color_scheme=…)``; each is checked at the end of the test."""
    with ExitStack() as opened:

        def make(base: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Window:
            return opened.enter_context(browser.window(base, size, **options))

        yield make
