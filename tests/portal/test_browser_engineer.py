"""Engineers at work in a browser: a hold released, a dead letter replayed, a message read, the table changed.

And who may not: a viewer is refused the page and the deed, a form of another site is refused, and what is of
another hospital is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hl7
import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.studies import PERSON, small_study
from tests.portal.browser import Chromium, Window
from tests.portal.furnished import Furnished, furnished_house

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Furnished]:
    with furnished_house(tmp_path_factory.mktemp("portal"), free_port, real_study) as found:
        yield found


@pytest.fixture
def engineer(there: Furnished, browser: Chromium) -> Iterator[Window]:
    """Emil looks after St. Mary's."""
    with there.house.window(browser, "emil", "engineer@st-marys") as window:
        yield window


def opened(here: Window, name: str | re.Pattern[str]) -> Locator:
    """Press a button that asks again, and its dialog."""
    here.page.get_by_role("button", name=name).click()
    dialog = here.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def posted(here: Window, path: str, **fields: str) -> int:
    """The status of a POST that a page of ours makes with its own token."""
    body = dict(fields)
    answered: int = here.page.evaluate(
        """async ([path, fields]) => {
            const body = new URLSearchParams({csrf: document.body.dataset.csrf, ...fields});
            return (await fetch(path, {method: "POST", body, redirect: "manual"})).status;
        }""",
        [path, body],
    )
    return answered


def test_a_message_is_read_with_its_patient_behind_a_shield(there: Furnished, engineer: Window) -> None:
    family = PERSON.name.partition("^")[0]
    engineer.go("/deliveries")
    engineer.page.get_by_label("Destination").select_option("his")
    engineer.page.get_by_role("button", name="Find").click()
    engineer.page.locator("tbody th a").first.click()
    expect(engineer.page.get_by_role("heading", name="Delivery to his")).to_be_visible()
    expect(engineer.page.locator("#attempts tbody tr")).to_have_count(1)
    message = engineer.page.locator("#message")
    expect(message).to_contain_text("ORU^R01")
    assert family not in engineer.page.content()
    assert PERSON.patient_id not in engineer.page.content()
    engineer.page.get_by_role("button", name="Reveal identifiers").first.click()
    expect(message).to_contain_text(family)
    assert PERSON.patient_id in message.inner_text()
    engineer.page.get_by_role("button", name="Hide identifiers").first.click()
    expect(message).not_to_contain_text(family)
    (revealed,) = there.house.audited("identifiers.revealed")
    assert "emil" in revealed["actor"]
    assert PERSON.patient_id not in str(revealed)
    assert there.house.audited("message.viewed")


def test_a_dead_letter_is_replayed_and_the_receiver_knows_it_again(
    there: Furnished, engineer: Window
) -> None:
    engineer.go("/")
    engineer.page.get_by_role("main").get_by_role("link", name=re.compile("gave up|dead", re.I)).first.click()
    row = engineer.page.locator("tbody tr")
    expect(row).to_have_count(1)
    row.get_by_role("checkbox").check()
    engineer.page.locator("#replay").click()
    engineer.see("Nothing has been done yet.")
    dialog = opened(engineer, "Replay 1 delivery…")
    dialog.get_by_label("Reason").fill("the interface takes ORU again")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    engineer.see("1 delivery replayed from deliver.")
    engineer.see("No dead letters")
    first, again = there.house.his.wait_for_messages(2)
    assert control_id(first) == control_id(again)
    engineer.go(f"/deliveries/{there.delivery('his')['delivery']}")
    there.house.engine.wait_for_states(
        {"hook": ["delivered"], "his": ["delivered"], "johns-hook": ["delivered"]}, 60
    )
    engineer.page.reload()
    expect(engineer.page.locator("#attempts tbody tr")).to_have_count(2)
    assert any(one["actor"].endswith("emil") for one in there.house.engine.json("audit", "list"))


def control_id(message: hl7.Message) -> str:
    """MSH-10."""
    return str(message.segment("MSH")[10])


def test_a_hold_is_released_with_a_reason(there: Furnished, engineer: Window) -> None:
    engineer.go("/holds")
    engineer.page.get_by_role("row", name=re.compile(re.escape(there.held))).get_by_role("checkbox").check()
    engineer.page.get_by_role("button", name="Release chosen…").click()
    dialog = opened(engineer, "Release 1 hold…")
    dialog.get_by_role("button", name="Release", exact=True).click()
    expect(dialog).to_be_visible()  # not without a reason: the browser asks for it
    dialog.get_by_label("Reason").fill("nothing for us, as the ward says")
    dialog.get_by_role("button", name="Release", exact=True).click()
    engineer.see("1 hold released.")
    engineer.see("Nothing is held")
    assert there.house.engine.json("hold", "list") == []


def test_a_study_tells_its_story_and_why_it_went_where_it_went(there: Furnished, engineer: Window) -> None:
    engineer.go(f"/studies/{there.delivered}")
    expect(engineer.page.locator("#story")).to_contain_text("received")
    expect(engineer.page.get_by_text("St. Mary's MR").first).to_be_visible()
    assert PERSON.patient_id not in engineer.page.content()


def test_a_destination_is_paused_and_goes_on(there: Furnished, engineer: Window) -> None:
    engineer.go("/destinations")
    row = engineer.page.get_by_role("row", name=re.compile("^his|his "))
    row.get_by_role("button", name=re.compile("Pause")).first.click()
    dialog = engineer.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("the HIS is upgraded")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    engineer.see("his is paused: what is queued waits.")
    engineer.page.get_by_role("button", name=re.compile("Resume|Go on|Let")).first.click()
    if engineer.page.get_by_role("dialog").is_visible():
        engineer.page.get_by_role("dialog").get_by_role("button").first.click()
    engineer.see("his goes on.")


def test_the_table_is_changed_planned_and_applied(there: Furnished, browser: Chromium) -> None:
    with there.house.window(browser, "erin", "engineer") as here:
        here.go("/routes/edit")
        text = here.page.locator("textarea")
        text.fill(text.input_value().replace("hold: no route matched", "hold: nobody asked for it"))
        here.page.get_by_role("button", name="See what it would change").click()
        here.see("nobody asked for it")
        dialog = opened(here, re.compile("Apply"))
        dialog.get_by_label("Reason").fill("say it as the ward does")
        dialog.get_by_role("button", name="Apply", exact=True).click()
        expect(here.page.get_by_text("is the running table.")).to_be_visible()
        here.go("/routes")
        here.see("nobody asked for it")
        here.go("/routes/versions")
        here.see("say it as the ward does")


def test_a_table_that_does_not_hold_together_is_told_by_line_and_not_applied(
    there: Furnished, browser: Chromium
) -> None:
    with there.house.window(browser, "erin", "engineer") as here:
        here.go("/routes/edit")
        text = here.page.locator("textarea")
        text.fill(text.input_value().replace("type: hl7_oru", "type: hl7_orru"))
        here.page.get_by_role("button", name="See what it would change").click()
        here.see("did you mean 'hl7_oru'?")
        assert re.search(r"routes\.yaml:\d+:\d+", here.shown())
        expect(here.page.get_by_role("button", name=re.compile("^Apply"))).to_have_count(0)


ENGINEERS_PAGES = (
    "/deliveries",
    "/holds",
    "/dead-letters",
    "/routes",
    "/sites",
    "/destinations",
    "/studies/1.2.3",
)
ENGINEERS_DEEDS = (
    "/replay",
    "/holds/release",
    "/dead-letters/discard",
    "/destinations/his/pause",
    "/routes/apply",
)


def test_a_viewer_is_refused_what_only_an_engineer_may_see_and_do(
    there: Furnished, browser: Chromium
) -> None:
    with there.house.window(browser, "vera", "viewer@st-marys") as here:
        here.go("/")
        expect(here.page.get_by_role("navigation", name="Main")).not_to_contain_text("Dead letters")
        for path in ENGINEERS_PAGES:
            with here.announcing(403):
                assert here.go(path).status == 403, path
        here.see("Not with your role")
        here.go("/profile")
        for path in ENGINEERS_DEEDS:
            with here.announcing(403):
                assert posted(here, path, id="1", reason="because", begin="deliver") == 403, path
        for path in ("/people", "/clients", "/audit"):
            with here.announcing(403):
                assert here.go(path).status == 403, path
    refused = [one for one in there.house.audited("access.refused") if one["actor"].endswith("vera")]
    assert len(refused) >= len(ENGINEERS_PAGES)


def test_what_is_of_another_hospital_is_not_there(there: Furnished, engineer: Window) -> None:
    engineer.go("/deliveries")
    expect(engineer.page.locator("tbody")).not_to_contain_text("johns-hook")
    with engineer.announcing(404):
        assert engineer.go(f"/studies/{there.johns}").status == 404
    with engineer.announcing(404):
        assert engineer.go(f"/deliveries/{there.delivery('johns-hook')['delivery']}").status == 404


def test_an_admin_reads_the_trail_and_proves_it(there: Furnished, browser: Chromium) -> None:
    with there.house.window(browser, "adam", "admin") as here:
        here.go("/audit")
        here.page.get_by_role("button", name=re.compile("Verify")).click()
        expect(here.page.get_by_text(re.compile("whole|holds")).first).to_be_visible()
        assert PERSON.patient_id not in here.page.content()


def test_the_dashboard_tells_of_a_study_that_comes_while_one_looks(
    there: Furnished, browser: Chromium, real_study: Path, tmp_path: Path
) -> None:
    with there.house.window(browser, "erin", "engineer") as here:
        here.go("/")
        delivered = here.page.locator('#order-counts [data-count="delivered"]')
        before = int(delivered.inner_text())
        here.page.evaluate("() => { window.stayed = true; }")
        there.house.bring(small_study(real_study, tmp_path, instances=2), "st-johns")
        expect(delivered).to_have_text(str(before + 1), timeout=90_000)
        assert here.page.evaluate("() => window.stayed"), "the page was loaded again"
