"""Sites and destinations: how each stands, what is in its way, stopping a destination and letting it go on.

Enter: what `engine.channel.OperationsDesk` says of them. Leave: lists; and pauses and resumptions with their
reasons, as `pons pause` and `pons resume` make them.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal import engineer
from channels.inbound.portal.engineer import actor, desk, sites
from channels.inbound.portal.page import Page, Visit
from engine.channel import OperationRefused, OperationRefusedReason, Role

STATES = {
    "open": ("open", "good"),
    "paused": ("paused", "wait"),
    "breaker": ("down", "bad"),
    "maintenance": ("maintenance", "wait"),
    "unknown": ("not in the table", "bad"),
}


async def show_sites(visit: Visit) -> Response:
    """Every site that he looks after."""
    return visit.render("sites.html", sites=await desk(visit).sites(sites(visit)))


async def show_destinations(visit: Visit) -> Response:
    """Every way out of his sites."""
    return await _destinations(visit)


async def pause(visit: Visit) -> Response:
    """Let nothing more go out."""
    name = visit.parts["destination"]
    reason, errors = await engineer.agreed(visit, 1)
    if errors:
        return await _destinations(visit, {"": f"{name}: {errors['reason']}"})
    try:
        await desk(visit).pause(name, actor=actor(visit), reason=reason, sites=sites(visit))
    except OperationRefused as refused:
        if refused.reason is not OperationRefusedReason.CHANGED:
            raise
        return await _destinations(visit, {"": f"{refused}."})
    return visit.redirect("/destinations", f"{name} is paused: what is queued waits.")


async def resume(visit: Visit) -> Response:
    """Let it go on."""
    name = visit.parts["destination"]
    reason = (await visit.field("reason"))[:500]
    try:
        await desk(visit).resume(name, actor=actor(visit), reason=reason, sites=sites(visit))
    except OperationRefused as refused:
        if refused.reason is not OperationRefusedReason.CHANGED:
            raise
        return await _destinations(visit, {"": f"{refused}."})
    return visit.redirect("/destinations", f"{name} goes on.")


async def _destinations(visit: Visit, errors: dict[str, str] | None = None) -> Response:
    found = await desk(visit).destinations(sites(visit))
    return visit.render(
        "destinations.html", 422 if errors else 200, destinations=found, states=STATES, errors=errors or {}
    )


PAGES = (
    Page("/sites", show_sites, Role.ENGINEER, label="Sites", section="Operations"),
    Page("/destinations", show_destinations, Role.ENGINEER, label="Destinations", section="Operations"),
    Page("/destinations/{destination}/pause", pause, Role.ENGINEER, methods=("POST",), max_body=8 << 10),
    Page("/destinations/{destination}/resume", resume, Role.ENGINEER, methods=("POST",), max_body=8 << 10),
)
