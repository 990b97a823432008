"""Clinicians at work in a browser: an order, its study as a folder and as an archive, its result read.

The study is the real one, all of it; what is downloaded is what the engine's own export gives.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect
from pydicom import dcmread

from tests.conftest import REAL_STUDY_INSTANCES, REAL_STUDY_ZIP
from tests.e2e.rest_house import Api
from tests.e2e.studies import small_study
from tests.portal.browser import PHONE, Chromium, Window
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.viewing import has_room, pdf_is_shown

pytestmark = pytest.mark.browser

WORK = 90_000.0  # milliseconds that the real study may take: upload, assembly, quality control, delivery


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


@pytest.fixture
def here(house: PortalHouse, browser: Chromium) -> Iterator[Window]:
    """Sue gives orders of both hospitals."""
    with house.window(browser, "sue", "submitter", accept_downloads=True) as window:
        yield window


def standing(here: Window) -> Locator:
    """Where the order's state is told."""
    return here.page.locator("#standing")


def ordered(here: Window, site: str, choose: Callable[[Window], None]) -> None:
    """Give an order with its files, and follow it to delivered without loading the page again."""
    here.go("/orders/new")
    here.page.get_by_label("Site").select_option(site)
    choose(here)
    here.page.get_by_role("button", name="Give the order and upload").click()
    here.page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}$"), timeout=WORK)
    here.page.evaluate("() => { window.stayed = true; }")
    expect(standing(here)).to_contain_text("delivered", timeout=WORK)
    assert here.page.evaluate("() => window.stayed"), "the page was loaded again"


def test_the_real_study_is_uploaded_as_a_folder_and_its_report_is_seen(
    house: PortalHouse, here: Window, real_study: Path
) -> None:
    def choose(here: Window) -> None:
        here.page.locator("#folder").set_input_files(real_study)
        expect(here.page.locator("#chosen")).to_contain_text(str(REAL_STUDY_INSTANCES))
        here.page.get_by_text("Metadata").first.click()
        here.page.get_by_label("Accession number").fill("A-4711")

    ordered(here, "st-marys", choose)
    expect(here.page.locator("#instances")).to_have_text(str(REAL_STUDY_INSTANCES))
    assert len(house.engine.instance_files("st-marys")) == REAL_STUDY_INSTANCES
    assert house.hook.wait_for_accepted(1)[0].event["data"]["order"]["accession"] == "A-4711"
    montage = here.page.locator("#pictures img").first
    montage.scroll_into_view_if_needed()
    expect(montage).to_be_visible()
    expect(montage).to_have_js_property("complete", True)
    assert montage.evaluate("image => image.naturalWidth") > 100
    expect(here.page.locator("table.findings").first).to_be_visible()
    with here.page.expect_response(re.compile("/pdf$")) as answered:
        here.page.get_by_text("Report as PDF").first.click()
    assert answered.value.status == 200
    assert answered.value.headers["content-type"] == "application/pdf"
    here.page.locator('iframe[title="Report as PDF"]').scroll_into_view_if_needed()
    assert pdf_is_shown(here.page, "Report as PDF")
    assert house.audited("result.viewed")


def test_each_download_opens_and_is_what_the_engine_exports(house: PortalHouse, here: Window) -> None:
    here.go("/orders")
    here.page.locator("#order-list tbody th code").first.click()
    api = Api(house.engine, "marys-his")
    order_id = here.path.rsplit("/", 1)[1]
    (result,) = api.http.get(f"/orders/{order_id}/results").json()["results"]
    opens: dict[str, Callable[[bytes], object]] = {
        "pdf": lambda content: content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF"),
        "png": lambda content: Image.open(io.BytesIO(content)).load(),
        "txt": lambda content: content.decode("utf-8").strip(),
        "json": json.loads,
        "xml": ElementTree.fromstring,
        "csv": lambda content: list(csv.reader(io.StringIO(content.decode("utf-8")))),
        "sr": lambda content: dcmread(io.BytesIO(content)).ContentSequence,
        "fhir": lambda content: json.loads(content)["resourceType"],
    }
    suffixes = {"sr": ".dcm", "fhir": ".json"}
    for kind, opened in opens.items():
        with here.page.expect_download() as download:
            here.page.locator(f"#download-{kind}").click()
        content = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(suffixes.get(kind, f".{kind}"))
        assert opened(content), kind
        exported = api.http.get(f"/results/{result['result_id']}/{kind}")
        assert exported.status_code == 200
        assert content == exported.content, f"{kind} is not what the engine exports"
    api.http.close()


def test_the_real_study_is_uploaded_as_an_archive_that_is_dropped_on_the_page(
    house: PortalHouse, here: Window
) -> None:
    def choose(here: Window) -> None:
        dropped(here, REAL_STUDY_ZIP)
        expect(here.page.locator("#chosen-list tr")).to_have_count(1)

    ordered(here, "st-johns", choose)
    assert len(house.engine.instance_files("st-johns")) == REAL_STUDY_INSTANCES
    assert house.johns_hook.wait_for_accepted(1)


def dropped(here: Window, path: Path) -> None:
    """Drag a file or a folder of this machine over the page, and let it go."""
    place = here.page.locator("#drop").bounding_box()
    assert place is not None
    hand = here.context.new_cdp_session(here.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        hand.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": place["x"] + place["width"] / 2,
                "y": place["y"] + place["height"] / 2,
                "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1},
            },
        )
    hand.detach()


def test_a_folder_is_dropped_with_all_that_is_in_it(here: Window, real_study: Path) -> None:
    here.go("/orders/new")
    dropped(here, real_study)
    expect(here.page.locator("#chosen")).to_contain_text(f"{REAL_STUDY_INSTANCES} files")


def test_an_archive_that_is_none_is_told_and_nothing_is_kept(
    house: PortalHouse, here: Window, tmp_path: Path
) -> None:
    before = len(house.engine.instance_files())
    broken = tmp_path / "study.zip"
    broken.write_bytes(REAL_STUDY_ZIP.read_bytes()[:500_000])
    here.go("/orders/new")
    here.page.get_by_label("Site").select_option("st-marys")
    here.page.locator("#files").set_input_files(broken)
    here.page.get_by_role("button", name="Give the order and upload").click()
    told = here.page.locator("#upload-told.bad, #failure").first
    expect(told).to_be_visible(timeout=WORK)
    expect(told).to_contain_text("damaged or was cut short")
    assert len(house.engine.instance_files()) == before


def test_an_order_is_given_with_the_keyboard_alone(house: PortalHouse, here: Window) -> None:
    here.go("/orders")
    keyboard = here.page.keyboard
    here.page.locator("#new-order").focus()
    keyboard.press("Enter")
    expect(here.page.get_by_role("heading", name="New order")).to_be_visible()
    for name, text in (("site", "St. J"), ("batch", "")):
        reach(here, name)
        keyboard.type(text)
    reach(here, "metadata-details")
    keyboard.press("Enter")
    reach(here, "AccessionNumber")
    keyboard.type("K-1")
    reach(here, "give")
    keyboard.press("Enter")
    here.page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}"))
    reach(here, "to-order")
    keyboard.press("Enter")
    expect(standing(here)).to_contain_text("created")
    expect(here.page.get_by_role("main")).to_contain_text("St. John's")
    expect(here.page.get_by_role("main")).to_contain_text("K-1")


def reach(here: Window, target: str) -> None:
    """Press Tab until the focus is on, or on the summary of, what has this id."""
    focused = "id => document.activeElement.id === id || document.activeElement.parentElement.id === id"
    for _ in range(80):
        here.page.keyboard.press("Tab")
        if here.page.evaluate(focused, target):
            outline = "() => getComputedStyle(document.activeElement).outlineStyle"
            assert here.page.evaluate(outline) != "none", f"{target} shows no focus"
            return
    pytest.fail(f"Tab does not reach {target}")


def test_an_order_is_cancelled_with_a_reason(here: Window) -> None:
    here.go("/orders/new")
    here.page.get_by_role("button", name="Give the order", exact=True).click()
    here.page.wait_for_url(re.compile(r"/orders/[0-9a-f]{32}"))
    here.go(here.path.removesuffix("/upload"))
    here.page.get_by_role("button", name="Cancel order").click()
    dialog = here.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("ordered twice")
    dialog.get_by_role("button", name="Cancel the order").click()
    expect(standing(here)).to_contain_text("cancelled")


def test_an_order_is_found_by_its_accession_number_as_it_begins(here: Window) -> None:
    here.go("/orders")
    here.page.get_by_label("Accession number, patient ID or UID").fill("A-47")
    here.page.locator("#find").click()
    expect(here.page.locator("#order-list tbody tr")).to_have_count(1)
    expect(here.page.locator("#order-list tbody")).to_contain_text("A-4711")


def test_a_viewer_of_one_hospital_sees_its_orders_and_gives_none(
    house: PortalHouse, browser: Chromium
) -> None:
    with house.window(browser, "vera", "viewer@st-johns", size=PHONE) as here:
        here.go("/orders")
        expect(here.page.locator("#new-order")).to_have_count(0)
        assert "A-4711" not in here.page.content()
        assert has_room(here.page)
        with here.announcing(403):
            assert here.go("/orders/new").status == 403
        token = here.page.locator("body").get_attribute("data-csrf")
        with here.announcing(403):
            answered = here.page.evaluate(
                """async token => (await fetch("/orders", {
                    method: "POST", body: new URLSearchParams({csrf: token, site: "st-johns"}),
                })).status""",
                token,
            )
            assert answered == 403


def test_a_batch_reports_on_its_orders_as_a_table_and_on_paper(here: Window) -> None:
    here.go("/batches/new")
    here.page.get_by_label("Name").fill("autumn")
    here.page.get_by_label("Site").select_option("st-marys")
    here.page.get_by_role("button", name="Begin").click()
    here.page.get_by_role("link", name="New order of this batch").click()
    here.page.get_by_text("Metadata").first.click()
    here.page.get_by_label("Accession number").fill("B-1")
    here.page.get_by_role("button", name="Give the order", exact=True).click()
    expect(here.page.get_by_role("heading", name=re.compile("Upload for order"))).to_be_visible()
    here.go("/orders")
    here.page.get_by_role("link", name="autumn").click()
    expect(here.page.get_by_role("main")).to_contain_text("B-1")
    with here.page.expect_download() as table:
        here.page.get_by_role("link", name="Report as CSV").click()
    assert "B-1" in Path(table.value.path()).read_text(encoding="utf-8")
    with here.page.expect_download() as paper:
        here.page.get_by_role("link", name="Report as PDF").click()
    assert Path(paper.value.path()).read_bytes().startswith(b"%PDF-")


def test_a_failed_order_has_its_failure_report_in_the_same_place(
    house: PortalHouse, here: Window, real_study: Path, tmp_path: Path
) -> None:
    unreadable = small_study(
        real_study, tmp_path, instances=2, person=None, Rows=0, PixelData=b"", AccessionNumber="F-1"
    )
    house.bring(unreadable)
    here.go("/orders?q=F-1")
    here.page.locator("#order-list tbody th code").first.click()
    expect(standing(here)).to_contain_text("failed", timeout=WORK)
    failure = here.page.locator("#failure")
    with here.page.expect_download() as text:
        failure.get_by_role("link", name="as text").click()
    told = Path(text.value.path()).read_text(encoding="utf-8")
    assert "failed" in told.lower()
    with here.page.expect_response(re.compile("/png$")) as picture:
        failure.get_by_role("link", name="as a picture").click()
    assert picture.value.status == 200
    assert picture.value.headers["content-type"] == "image/png"
