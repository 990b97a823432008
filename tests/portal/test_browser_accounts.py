"""The portal's door in a browser: the first admin, the second factor, passwords, the end of a session."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pyotp
import pytest
from playwright.sync_api import expect

from tests.portal.browser import Chromium, Window
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.visitor import PASSWORD, invited

pytestmark = pytest.mark.browser

Make = Callable[..., Window]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


def enrolled(here: Window, invitation: str, password: str = PASSWORD) -> tuple[pyotp.TOTP, list[str]]:
    """Come by an invitation, in the browser; the authenticator and the recovery codes."""
    here.page.goto(invitation)
    here.page.get_by_label("Password").fill(password)
    here.page.get_by_label("The same again").fill(password)
    here.page.get_by_role("button", name="Go on").click()
    expect(here.page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    picture = here.page.get_by_alt_text(re.compile("QR code"))
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0"), "the QR code is not shown"
    here.page.get_by_text("Type it instead").click()
    app = pyotp.TOTP(here.page.locator("#secret").inner_text().replace(" ", ""))
    here.page.get_by_label("Code").fill(app.now())
    here.page.get_by_role("button", name="Confirm").click()
    expect(here.page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    codes = here.page.locator(".codes code").all_inner_texts()
    assert len(set(codes)) == 10
    here.page.get_by_role("link", name="I have kept them").click()
    return app, codes


def first_step(here: Window, username: str, password: str = PASSWORD) -> None:
    """Name and password."""
    here.page.get_by_label("User name").fill(username)
    here.page.get_by_label("Password").fill(password)
    here.page.get_by_role("button", name="Sign in").click()


def sign_out(here: Window) -> None:
    """And wait for the door."""
    here.page.get_by_role("button", name="Sign out").click()
    expect(here.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_first_admin_sets_himself_up_and_comes_back_by_code_and_by_recovery_code(
    house: PortalHouse, window: Make
) -> None:
    here = window(house.url)
    here.go("/")
    assert here.path == "/sign-in"
    here.page.get_by_text("First time here?").click()
    here.see("pons user invite")
    app, codes = enrolled(here, invited(house.engine, "ada", "admin"))
    assert here.path == "/"
    expect(here.page.get_by_role("navigation", name="Main")).to_contain_text("People")
    sign_out(here)
    first_step(here, "ada")
    expect(here.page.get_by_role("heading", name="Second factor")).to_be_visible()
    here.page.get_by_label("Code").fill(app.at(time.time() + 30))  # the one of now was used to enrol
    here.page.get_by_role("button", name="Sign in").click()
    expect(here.page.get_by_role("link", name="ada")).to_be_visible()
    sign_out(here)
    first_step(here, "ada")
    here.page.get_by_label("Code").fill(codes[0].upper())
    here.page.get_by_role("button", name="Sign in").click()
    expect(here.page.get_by_role("link", name="ada")).to_be_visible()
    sign_out(here)
    first_step(here, "ada")
    with here.announcing(401):
        here.page.get_by_label("Code").fill(codes[0])  # good for once
        here.page.get_by_role("button", name="Sign in").click()
        expect(here.page.get_by_role("alert").or_(here.page.locator(".error")).first).to_be_visible()
    assert house.audited("person.signed_in")


def test_a_wrong_password_is_told_without_telling_which_part_is_wrong(
    house: PortalHouse, window: Make
) -> None:
    house.person("bea", "viewer@st-marys")
    here = window(house.url)
    here.go("/sign-in")
    said = []
    for name in ("bea", "nobody"):
        with here.announcing(401):
            first_step(here, name, "not her password at all")
            expect(here.page.locator("#mistakes")).to_be_visible()
        said.append(here.page.locator("#mistakes").inner_text())
    assert said[0] == said[1]
    assert here.page.get_by_label("Password").input_value() == ""


def test_somebody_signs_in_with_the_keyboard_alone(house: PortalHouse, window: Make) -> None:
    codes = list(house.person("kay", "viewer@st-marys").codes)
    here = window(house.url)
    here.go("/profile")
    keyboard = here.page.keyboard
    expect(here.page.get_by_label("User name")).to_be_focused()
    keyboard.type("kay")
    keyboard.press("Tab")
    expect(here.page.get_by_label("Password")).to_be_focused()
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    expect(here.page.get_by_label("Code")).to_be_focused()
    keyboard.type(codes[0])
    keyboard.press("Enter")
    expect(here.page.get_by_role("heading", name="kay")).to_be_visible()
    assert here.path == "/profile"  # where she wanted to go
    keyboard.press("Tab")
    skip = here.page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    keyboard.press("Enter")
    expect(here.page.locator("main")).to_be_focused()


def test_a_password_is_changed_and_other_windows_are_signed_out(
    house: PortalHouse, browser: Chromium
) -> None:
    with (
        house.window(browser, "pam", "viewer@st-marys") as here,
        browser.window(house.url) as there,
    ):
        there.go("/sign-in")
        first_step(there, "pam")
        there.page.get_by_label("Code").fill(house.person("pam").codes[0])
        there.page.get_by_role("button", name="Sign in").click()
        expect(there.page.get_by_role("link", name="pam")).to_be_visible()
        here.go("/profile/password")
        fields = here.page.locator("form input[type=password]")
        for place, text in enumerate((PASSWORD, f"{PASSWORD} again", f"{PASSWORD} again")):
            fields.nth(place).fill(text)
        here.page.locator("main form button").first.click()
        expect(here.page.get_by_role("status")).to_be_visible()
        here.go("/profile")
        assert here.path == "/profile"
        there.go("/profile")
        assert there.path == "/sign-in"


def test_an_admin_invites_a_viewer_and_disables_him(house: PortalHouse, browser: Chromium) -> None:
    with (
        house.window(browser, "anne", "admin") as here,
        browser.window(house.url) as there,
    ):
        here.go("/people")
        here.page.get_by_role("link", name="Invite somebody").click()
        here.page.get_by_label("User name").fill("vic")
        here.page.locator("#role-1").select_option("viewer")
        here.page.locator("#site-1").select_option("st-marys")
        here.page.get_by_role("button", name="Invite").click()
        invitation = here.page.locator("#invitation").inner_text()
        enrolled(there, invitation)
        expect(there.page.get_by_role("link", name="vic")).to_be_visible()
        here.page.get_by_role("link", name="To the account").click()
        here.page.get_by_role("button", name="Disable…").click()
        dialog = here.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        here.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        here.page.get_by_role("button", name="Disable…").click()
        dialog.get_by_role("button", name="Disable").click()
        expect(here.page.get_by_text("disabled").first).to_be_visible()
        there.go("/profile")
        assert there.path == "/sign-in"


def test_a_client_is_made_and_its_secret_is_shown_once(house: PortalHouse, browser: Chromium) -> None:
    with house.window(browser, "anne", "admin") as here:
        here.go("/clients/new")
        here.page.get_by_label("client_id").fill("marys-his")
        here.page.get_by_label("Site").select_option("st-marys")
        here.page.get_by_label("orders:read").check()
        here.page.get_by_role("button", name="Add").click()
        expect(here.page.get_by_text("marys-his").first).to_be_visible()
