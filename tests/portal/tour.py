"""Every page of the portal, reached as people reach it: by links and forms, where much has happened.

A `Stop` is a page: the path that the portal declares for it, the name of its picture, who looks at it. What
answers a GET and is no page (a file, a part of a page, a stream, a way on) is in ``NO_PAGE``; a page that is
in neither fails the tour's own test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import expect

from tests.e2e.studies import PERSON
from tests.portal.browser import Chromium, Window
from tests.portal.furnished import Furnished
from tests.portal.visitor import PASSWORD, invited

NO_PAGE: Mapping[str, str] = {
    "/dashboard": "the figures alone",
    "/orders.csv": "a file",
    "/orders/{order_id}/live": "a part of its page",
    "/orders/{order_id}/upload/{upload_id}": "what of an upload is there",
    "/orders/{order_id}/results/{result_id}/{name}": "a file",
    "/batches/{batch_id}/live": "a part of its page",
    "/batches/{batch_id}/report/{name}": "a file",
    "/sign-in/outside": "a way on",
    "/sign-in/outside/return": "a way on",
    "/events": "a stream",
    "/studies": "a way on",
}
EVERYTHING = ("admin", "submitter")  # an admin who treats patients, too
ENGINEER = ("engineer",)
DOOR = ()  # nobody


@dataclass(frozen=True)
class Stop:
    """One page."""

    path: str  # as the portal declares it; after the way to it where a form leads there
    picture: str
    roles: tuple[str, ...]
    reach: Callable[[Window, Furnished], Any]


def _at(path: str) -> Callable[[Window, Furnished], Any]:
    return lambda here, there: here.go(path)


def _order(here: Window, there: Furnished) -> None:
    here.go(f"/orders?q={there.johns}")
    here.page.locator("#order-list tbody th code").first.click()
    expect(here.page.locator("#standing")).to_be_visible()


def _new_order(here: Window, there: Furnished) -> None:
    here.go("/orders/new")
    here.page.get_by_label("Site").select_option("st-marys")
    here.page.get_by_role("button", name="Give the order", exact=True).click()
    expect(here.page.get_by_role("heading", name=re.compile("Upload for order"))).to_be_visible()


def _metadata(here: Window, there: Furnished) -> None:
    _new_order(here, there)
    here.page.locator("#to-order").click()
    here.page.locator("#change-metadata").click()
    expect(here.page.locator("#metadata-form")).to_be_visible()


def _batch(here: Window, there: Furnished) -> None:
    here.go("/batches/new")
    here.page.get_by_label("Name").fill("autumn")
    here.page.get_by_role("button", name="Begin").click()
    expect(here.page.get_by_role("heading", name=re.compile("autumn"))).to_be_visible()


def _delivery(here: Window, there: Furnished) -> None:
    here.go(f"/deliveries/{there.delivery('his')['delivery']}")


def _chosen(page: str, button: str) -> Callable[[Window, Furnished], None]:
    def reach(here: Window, there: Furnished) -> None:
        here.go(page)
        here.page.locator("tbody input[type=checkbox]").first.check()
        here.page.locator(button).click()
        expect(here.page.locator("#summary")).to_be_visible()

    return reach


def _first(page: str, way: str) -> Callable[[Window, Furnished], None]:
    def reach(here: Window, there: Furnished) -> None:
        here.go(page)
        here.page.locator(way).first.click()
        here.page.wait_for_url(re.compile(rf"{page}/."))

    return reach


def _planned(here: Window, there: Furnished) -> None:
    here.go("/routes/edit")
    text = here.page.locator("textarea")
    text.fill(text.input_value().replace("hold: no route matched", "hold: nobody asked for it"))
    here.page.get_by_role("button", name="See what it would change").click()
    expect(here.page.locator("#effect")).to_be_visible()


def _clients(here: Window, there: Furnished) -> None:
    here.go("/clients")
    if not here.page.locator("tbody th a").count():
        there.house.engine.json("client", "add", "marys-his", "--site", "st-marys", "--scope", "orders:read")
        here.page.reload()
    expect(here.page.locator("tbody th a")).to_be_visible()


def _client(here: Window, there: Furnished) -> None:
    _clients(here, there)
    here.page.locator("tbody th a").click()
    expect(here.page.get_by_role("heading", name="marys-his")).to_be_visible()


def _second_factor(here: Window, there: Furnished) -> None:
    there.house.person("wilma", "viewer")
    here.go("/sign-in")
    here.page.get_by_label("User name").fill("wilma")
    here.page.get_by_label("Password").fill(PASSWORD)
    here.page.get_by_role("button", name="Sign in").click()
    expect(here.page.get_by_role("heading", name="Second factor")).to_be_visible()


def _invitation(here: Window, there: Furnished) -> None:
    here.page.goto(invited(there.house.engine, "nora", "viewer@st-marys"))


def _enrolment(here: Window, there: Furnished) -> None:
    _invitation(here, there)
    here.page.get_by_label("Password").fill(PASSWORD)
    here.page.get_by_label("The same again").fill(PASSWORD)
    here.page.get_by_role("button", name="Go on").click()
    expect(here.page.get_by_alt_text(re.compile("QR code"))).to_be_visible()


def _nowhere(here: Window, there: Furnished) -> None:
    with here.announcing(404):
        here.go("/nowhere")


STOPS: tuple[Stop, ...] = (
    Stop("/sign-in", "sign-in", DOOR, _at("/sign-in")),
    Stop("/sign-in/second-factor", "second-factor", DOOR, _second_factor),
    Stop("/invitation/{token}", "invitation", DOOR, _invitation),
    Stop("/enrolment", "enrolment", DOOR, _enrolment),
    Stop("/", "dashboard", EVERYTHING, _at("/")),
    Stop("/orders", "orders", EVERYTHING, _at("/orders")),
    Stop("/orders/new", "new-order", EVERYTHING, _at("/orders/new")),
    Stop("/orders/{order_id}/upload", "upload", EVERYTHING, _new_order),
    Stop("/orders/{order_id}/metadata", "metadata", EVERYTHING, _metadata),
    Stop("/orders/{order_id}", "order", EVERYTHING, _order),
    Stop("/batches/new", "new-batch", EVERYTHING, _at("/batches/new")),
    Stop("/batches/{batch_id}", "batch", EVERYTHING, _batch),
    Stop("/profile", "profile", EVERYTHING, _at("/profile")),
    Stop("/profile/password", "password", EVERYTHING, _at("/profile/password")),
    Stop("/profile/recovery-codes", "recovery-codes", EVERYTHING, _at("/profile/recovery-codes")),
    Stop("/deliveries", "deliveries", ENGINEER, _at("/deliveries")),
    Stop("/deliveries/{delivery_id}", "delivery", ENGINEER, _delivery),
    Stop("/holds", "holds", ENGINEER, _at("/holds")),
    Stop("/holds/release", "release", ENGINEER, _chosen("/holds", "#release")),
    Stop("/dead-letters", "dead-letters", ENGINEER, _at("/dead-letters")),
    Stop("/dead-letters/discard", "discard", ENGINEER, _chosen("/dead-letters", "#discard")),
    Stop("/replay", "replay", ENGINEER, _chosen("/dead-letters", "#replay")),
    Stop("/studies/{uid}", "study", ENGINEER, lambda here, there: here.go(f"/studies/{there.delivered}")),
    Stop("/routes", "routes", ENGINEER, _at("/routes")),
    Stop("/routes/edit", "edit-table", ENGINEER, _at("/routes/edit")),
    Stop("/routes/plan", "plan", ENGINEER, _planned),
    Stop("/routes/versions", "versions", ENGINEER, _at("/routes/versions")),
    Stop(
        "/routes/versions/{version}",
        "version",
        ENGINEER,
        _first("/routes/versions", "main a[href^='/routes/versions/']"),
    ),
    Stop("/sites", "sites", ENGINEER, _at("/sites")),
    Stop("/destinations", "destinations", ENGINEER, _at("/destinations")),
    Stop("/people", "people", EVERYTHING, _at("/people")),
    Stop("/people/invite", "invite", EVERYTHING, _at("/people/invite")),
    Stop("/people/{person_id}", "person", EVERYTHING, _first("/people", "tbody th a")),
    Stop("/clients", "clients", EVERYTHING, _clients),
    Stop("/clients/new", "new-client", EVERYTHING, _at("/clients/new")),
    Stop("/clients/{client_id}", "client", EVERYTHING, _client),
    Stop("/audit", "audit", EVERYTHING, _at("/audit")),
    Stop("/nowhere", "not-found", EVERYTHING, _nowhere),
)
BEYOND = ("/routes/plan", "/nowhere")  # stops that answer no GET of their own


@contextmanager
def before(stop: Stop, there: Furnished, browser: Chromium, **options: Any) -> Iterator[Window]:
    """A window with the page before whoever looks at it."""
    who = {EVERYTHING: "alex", ENGINEER: "emil"}.get(stop.roles)
    manager = (
        browser.window(there.house.url, **options)
        if who is None
        else there.house.window(browser, who, *stop.roles, **options)
    )
    with manager as here:
        stop.reach(here, there)
        there_it_is = re.sub(r"\{\w+\}", "[^/]+", stop.path)
        assert re.fullmatch(there_it_is, here.path), f"{here.path} is not {stop.path}"
        yield here


PATIENT = (*PERSON.name.split("^"), PERSON.patient_id)
"""Words that the page of an engineer holds only once they are revealed."""
