"""The page that one begins with: counts, the last day, what happened, what needs attention, and for whom."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channels.inbound.portal.dashboard import CHART_HEIGHT, bars
from engine.clock import at
from engine.operations_model import Hour
from tests.e2e.studies import PERSON, small_study
from tests.peers.process import wait_until
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.visitor import Visited


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[PortalHouse]:
    folder = tmp_path_factory.mktemp("dashboard")
    with serving_house(folder, free_port, his_answers=["AR"]) as running:
        running.bring(small_study(real_study, folder / "judged"))
        running.bring(small_study(real_study, folder / "other", instances=1, Modality="CT"))
        running.engine.wait_for_states({"hook": ["delivered"], "his": ["dead"]})
        wait_until(lambda: len(running.engine.json("hold")) == 1, "a hold")
        yield running


def counted(page: Visited, name: str) -> int:
    """A figure of the page."""
    assert page.status == 200, page.text[:500]
    found = page.answer.text.partition(f'data-count="{name}">')[2].partition("<")[0]
    return int(found)


def shown(house: PortalHouse, username: str, *roles: str, troubled: int = 2) -> Visited:
    """The figures, once as many orders have failed or are held; an overview serves all for two seconds."""

    def looked() -> Visited | None:
        page = house.person(username, *roles).get("/dashboard")
        return page if counted(page, "failed") + counted(page, "held") == troubled else None

    found = wait_until(looked, f"figures with {troubled} orders in trouble", 30.0)
    assert isinstance(found, Visited)
    return found


def test_an_engineer_sees_the_day_and_what_needs_attention(house: PortalHouse) -> None:
    page = shown(house, "eva", "engineer")
    figures = {name: counted(page, name) for name in ("failed", "held", "dead", "queued", "delivered")}
    assert figures == {"failed": 1, "held": 1, "dead": 1, "queued": 0, "delivered": 0}
    text = html.unescape(page.answer.text)
    for care, address in (
        ("dead_letters", "/dead-letters?destination=his"),
        ("holds", "/holds?site=st-marys"),
    ):
        assert f'data-care="{care}"' in text
        assert address in page.links
    for what in ("received", "dead", "held", "delivered"):
        assert what in text.partition('id="recent"')[2]
    assert "2 studies in, 1 delivery out, 1 gave up" in page.text
    assert not [word for word in PERSON.words if word in text]


def test_the_whole_page_holds_the_figures_and_where_they_come_from_anew(house: PortalHouse) -> None:
    page = house.person("eva", "engineer").get("/")
    text = page.answer.text
    assert page.status == 200
    assert 'data-live="/dashboard"' in text
    assert 'data-events="/events"' in text
    assert 'data-count="held"' in text


def test_a_viewer_sees_counts_and_no_engine_room(house: PortalHouse) -> None:
    page = shown(house, "vera", "viewer")
    assert (counted(page, "failed"), counted(page, "held")) == (1, 1)
    assert 'id="attention"' not in page.answer.text
    assert not [link for link in page.links if not link.startswith("/orders")]


def test_another_hospital_sees_nothing_of_it(house: PortalHouse) -> None:
    page = shown(house, "john", "engineer@st-johns", troubled=0)
    names = ("failed", "held", "dead", "queued", "delivered", "waiting")
    assert {name: counted(page, name) for name in names} == dict.fromkeys(names, 0)
    assert "St. Mary's" not in html.unescape(page.answer.text)
    assert "Nothing has happened yet" in page.text


def test_nobody_sees_it_without_signing_in(house: PortalHouse) -> None:
    with_cookie = house.person("vera", "viewer")
    stranger = type(with_cookie)(house.url)
    try:
        page = stranger.get("/")
        assert (page.status, page.location) == (303, "/sign-in")
        assert stranger.get("/dashboard").status == 303
    finally:
        stranger.http.close()


def test_the_highest_hour_is_as_high_as_the_chart() -> None:
    drawn = bars([Hour(at(0.0), 4, 2, 0), Hour(at(3600.0), 8, 0, 1)])
    assert [(bar.studies, bar.delivered) for bar in drawn] == [
        (CHART_HEIGHT / 2, CHART_HEIGHT / 4),
        (CHART_HEIGHT, 0),
    ]
    assert [bar.studies for bar in bars([Hour(at(0.0), 0, 0, 0)])] == [0]
