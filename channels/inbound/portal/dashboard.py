"""The page that one begins with: how the engine fares, for the sites that one may see, kept up to date.

Enter: an overview of `engine.channel.OperationsDesk`. Leave: counts, the last day as a chart, what
happened last, and, for who looks after a site, what needs attention, each with the page where something
can be done about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from channels.inbound.portal import engineer
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import ORDER_KINDS
from engine.channel import Attention, Care, Hour, Overview, Role
from engine.model import OrderState

CHART_HEIGHT = 120  # units of the drawing, as are the next two
CHART_STEP = 20
CHART_FOOT = 16
TITLES = {
    Care.HOLDS: "Studies wait for a person",
    Care.DEAD_LETTERS: "Deliveries gave up",
    Care.PAUSED: "Paused",
    Care.CIRCUIT: "Down",
    Care.TUNNEL: "Tunnel silent",
    Care.SILENT: "Sends nothing",
    Care.ENGINE: "Engine",
}
KINDS = {"dead": "bad", "held": "wait", "delivered": "good", "received": "busy"}


async def show(visit: Visit) -> Response:
    """The whole page."""
    return visit.render("dashboard.html", **_values(visit, await _overview(visit)))


async def figures(visit: Visit) -> Response:
    """What of it changes, for the script that keeps it up to date."""
    return visit.fragment("dashboard_figures.html", **_values(visit, await _overview(visit)))


async def _overview(visit: Visit) -> Overview:
    return await engineer.desk(visit).overview(visit.sites(Role.VIEWER))


def _values(visit: Visit, overview: Overview) -> dict[str, Any]:
    counts = [(state.value, overview.day.get(state, 0), ORDER_KINDS[state]) for state in OrderState]
    return {
        "overview": overview,
        "states": counts,
        "bars": bars(overview.hours),
        "chart": (len(overview.hours) * CHART_STEP, CHART_HEIGHT + CHART_FOOT),
        "sums": [
            sum(getattr(hour, name) for hour in overview.hours) for name in ("studies", "delivered", "died")
        ],
        "attention": [
            (TITLES[one.care], _about(one), one, _where(one))
            for one in overview.attention
            if _is_his(visit, one)
        ],
        "engineer": visit.person.may(Role.ENGINEER),
        "looks_after": lambda site: visit.person.may(Role.ENGINEER, site),
        "kinds": KINDS,
    }


def _is_his(visit: Visit, one: Attention) -> bool:
    """Whether he looks after what it is about."""
    return visit.person.may(Role.ENGINEER, one.site or None)


def _about(one: Attention) -> str:
    return one.name if one.care in (Care.DEAD_LETTERS, Care.PAUSED, Care.CIRCUIT) else ""


def _where(one: Attention) -> str:
    """The page where something can be done about it."""
    if one.care is Care.HOLDS:
        return engineer.address("/holds", site=one.name)
    if one.care is Care.DEAD_LETTERS:
        return engineer.address("/dead-letters", destination=one.name)
    if one.care in (Care.PAUSED, Care.CIRCUIT):
        return f"/destinations#{one.name}"
    if one.care in (Care.TUNNEL, Care.SILENT):
        return f"/sites#{one.name}"
    return "/routes"


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour of the chart."""

    hour: Hour
    x: int
    studies: float  # height
    delivered: float
    labelled: bool


def bars(hours: Sequence[Hour]) -> list[Bar]:
    """The hours as heights, the highest as high as the chart."""
    most = max([1, *(hour.studies for hour in hours), *(hour.delivered for hour in hours)])
    return [
        Bar(
            hour,
            number * CHART_STEP,
            round(hour.studies / most * CHART_HEIGHT, 1),
            round(hour.delivered / most * CHART_HEIGHT, 1),
            number % 6 == 0,
        )
        for number, hour in enumerate(hours)
    ]


PAGES = (
    Page("/", show, label="Dashboard"),
    Page("/dashboard", figures),
)
