"""An upload in a browser whose line fails and whose page is left: it goes on, and sends no part twice."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Route, expect

from tests.e2e.studies import small_study
from tests.portal.browser import Chromium, Window
from tests.portal.portal_house import PortalHouse, serving_house

pytestmark = pytest.mark.browser

PART = 8 << 20
WORK = 90_000.0  # milliseconds


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


@pytest.fixture
def here(house: PortalHouse, browser: Chromium) -> Iterator[Window]:
    with house.window(browser, "sue", "submitter@st-marys") as window:
        yield window


@pytest.fixture
def files(real_study: Path, tmp_path: Path) -> list[Path]:
    """A study whose archive comes in three parts; what a file browser leaves behind is passed over."""
    litter = tmp_path / "Thumbs.db"
    litter.write_bytes(random.Random(3).randbytes(2 * PART + 100_000))
    return [*small_study(real_study, tmp_path / "study", instances=4), litter]


def test_an_upload_goes_on_after_the_line_failed_and_the_page_was_left(
    house: PortalHouse, here: Window, files: list[Path]
) -> None:
    page = here.page

    def accept(dialog: Dialog) -> None:
        dialog.accept()

    def cut(route: Route) -> None:
        route.abort("aborted")

    page.on("dialog", accept)  # the page asks before it is left
    page.route("**/parts/2", cut)
    here.go("/orders/new")
    page.locator("#files").set_input_files(files)
    expect(page.locator("#chosen")).to_contain_text("5 files")
    with page.expect_response("**/parts/1") as first, page.expect_response("**/parts/3") as third:
        page.get_by_role("button", name="Give the order and upload").click()
    assert (first.value.status, third.value.status) == (200, 200)
    expect(page.locator("#upload-told")).to_contain_text("It goes on by itself", timeout=WORK)
    expect(page.locator("#sending")).to_be_visible()
    assert re.fullmatch(r"/orders/[0-9a-f]{32}/upload", here.path), "a reload comes back to this upload"

    page.unroute("**/parts/2", cut)
    page.reload()
    here.see("An upload has begun")
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url.rpartition("/")[2]) if one.method == "PUT" else None)
    page.locator("#files").set_input_files(files)
    page.get_by_role("button", name="Upload", exact=True).click()
    page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}$"), timeout=WORK)
    assert sent == ["2"], "what was there was not sent again"
    expect(page.locator("#instances")).to_have_text("4", timeout=WORK)
    assert len(house.engine.instance_files("st-marys")) == 4


def test_an_upload_is_paused_gone_on_with_and_given_up(here: Window, files: list[Path]) -> None:
    page = here.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)  # the line stands still

    page.route("**/parts/*", hold)
    here.go("/orders/new")
    page.locator("#files").set_input_files(files)
    page.get_by_role("button", name="Give the order and upload").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#speed")).to_have_text("paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#speed")).not_to_have_text("paused")
    page.get_by_role("button", name="Give the upload up").click()
    page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}$"), timeout=WORK)
    expect(page.locator("#standing")).to_contain_text("created", timeout=WORK)
    expect(page.locator("#to-upload")).to_be_visible()


def test_files_are_taken_away_from_the_list_before_they_are_sent(here: Window, files: list[Path]) -> None:
    page = here.page
    here.go("/orders/new")
    page.locator("#files").set_input_files(files)
    expect(page.locator("#chosen-list tr")).to_have_count(5)
    page.get_by_role("button", name="Take away Thumbs.db").click()
    expect(page.locator("#chosen")).to_contain_text("4 files")
    page.locator("#clear").click()
    expect(page.locator("#chosen-table")).to_be_hidden()
    expect(page.get_by_role("button", name="Give the order", exact=True)).to_be_visible()
