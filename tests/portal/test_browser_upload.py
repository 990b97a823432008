"""An upload that is cut off goes on where it was: the page is loaded anew, the same files are chosen."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import expect

from channels.inbound.portal.upload_pages import PART
from tests.e2e.studies import small_study
from tests.portal.browser import Chromium
from tests.portal.portal_house import PortalHouse, serving_house

pytestmark = pytest.mark.browser

WORK = 90_000.0  # milliseconds
LINE = 6_000_000  # bytes a second that the browser's line carries up: three parts at once take seconds
ROWS, COLUMNS = 2048, 2304  # of 16 bits: 9 MB an instance
INSTANCES = 6


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


@pytest.fixture(scope="module")
def large_study(real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """54 MB that no route asks for, so that nothing but the upload takes time."""
    files = small_study(real_study, tmp_path_factory.mktemp("large"), instances=INSTANCES, Modality="OT")
    for path in files:
        instance = pydicom.dcmread(path)
        instance.Rows, instance.Columns = ROWS, COLUMNS
        instance.PixelData = os.urandom(2 * ROWS * COLUMNS)
        instance.save_as(path, enforce_file_format=True)
    return files


def test_an_upload_that_was_cut_off_goes_on_when_the_same_files_are_chosen_again(
    house: PortalHouse, browser: Chromium, large_study: list[Path]
) -> None:
    with house.window(browser, "sue", "submitter") as here:
        line = here.context.new_cdp_session(here.page)
        line.send("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": LINE}
        line.send("Network.emulateNetworkConditions", slow)
        here.go("/orders/new")
        here.page.get_by_label("Site").select_option("st-marys")
        here.page.locator("#files").set_input_files(large_study)
        with here.page.expect_event(
            "response", lambda answer: _is_part(answer.url) and answer.ok, timeout=WORK
        ):
            here.page.get_by_role("button", name="Give the order and upload").click()
        expect(here.page.locator("#progress")).to_be_visible()
        address = here.path
        assert re.fullmatch(r"/orders/[0-9a-f]{32}/upload", address), "the page does not say where it goes on"
        here.page.reload()
        whole = len([answer for answer in here.answers if _is_part(answer.url) and answer.ok])
        line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
        here.see("Choose the same files: what is here already is not sent again.")
        here.answers.clear()
        here.page.locator("#files").set_input_files(large_study)
        here.page.get_by_role("button", name="Upload", exact=True).click()
        here.page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}$"), timeout=WORK)
        again = len([answer for answer in here.answers if _is_part(answer.url) and answer.ok])
        expect(here.page.locator("#standing")).to_contain_text("held", timeout=WORK)
        expect(here.page.locator("#instances")).to_have_text(str(INSTANCES))
        assert whole >= 1
        assert 1 <= again <= _parts(large_study) - whole
    assert len(house.engine.instance_files("st-marys")) == INSTANCES


def _is_part(address: str) -> bool:
    return "/parts/" in address


def _parts(files: list[Path]) -> int:
    """At most; the archive that the page makes of the files is hardly larger than they are."""
    return sum(path.stat().st_size for path in files) // PART + 1
