"""What waits for a person, and having things done again: holds, dead letters, replay.

Enter: what is chosen from a list. Leave: a plan that says of each thing what happens to it; then,
confirmed with a reason (and, for more than one, with their number), the deed. Where something changed in
between, nothing is done and the plan is shown anew. All of it is as the commands `hold`, `dead` and
`replay` do it.
"""

from __future__ import annotations

from typing import Literal, cast

from starlette.datastructures import FormData
from starlette.responses import Response

from channels.inbound.portal import engineer
from channels.inbound.portal.engineer import Deed, actor, address, desk, number, sites, word
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from engine.channel import (
    ActionPlan,
    DeliveryQuery,
    OperationRefused,
    OperationRefusedReason,
    PlannedStep,
    ReplayQuery,
    Role,
)

Begin = Literal["assemble", "route", "process", "deliver"]
BEGINS = ("deliver", "process", "route", "assemble")
THEN = {
    "": "it goes on as it was decided",
    "route": "it is routed by the table of now",
    "process": "it is processed again",
}
TITLES = {
    "deliver": "Deliver again",
    "process": "Process again",
    "route": "Route again",
    "assemble": "Assemble again",
}
FIELDS = ("begin", "study", "site", "destination", "route", "state", "to")


# ── holds ───────────────────────────────────────────────────────────────────────────────────────


async def holds(visit: Visit) -> Response:
    """What waits for a person."""
    site, own = word(visit, "site"), sites(visit)
    if site:
        own = (site,) if own is None or site in own else ()
    shown = await desk(visit).holds(own)
    return visit.render(
        "holds.html", holds=shown, site=site, sites=visit.named_sites(Role.ENGINEER), then=THEN
    )


async def plan_release(visit: Visit) -> Response:
    """What releasing the chosen ones would do."""
    ids = engineer.numbers(visit.request.query_params.getlist("id"))
    return await _release_planned(visit, ids, word(visit, "then"))


async def release(visit: Visit) -> Response:
    """Release them."""
    form = await visit.form()
    ids, then = engineer.numbers(form.getlist("id")), str(form.get("then", ""))
    plan = await desk(visit).plan_release(ids, _then(then), sites(visit))
    reason, errors = await engineer.agreed(visit, len(plan.going))
    if errors or not plan.going:
        return await _release_planned(visit, ids, then, errors)
    done = await desk(visit).release(ids, _then(then), actor=actor(visit), reason=reason, sites=sites(visit))
    return visit.redirect("/holds", f"{_counted(len(done.going), 'hold', 'holds')} released.")


async def _release_planned(
    visit: Visit, ids: tuple[int, ...], then: str, errors: dict[str, str] | None = None
) -> Response:
    if not ids:
        return visit.redirect("/holds", "Choose at least one hold.")
    plan = await desk(visit).plan_release(ids, _then(then), sites(visit))
    deed = Deed(
        title="Release holds",
        verb="Release",
        one="hold",
        many="holds",
        target="/holds/release",
        back="/holds",
        fields=[*(("id", str(one)) for one in ids), ("then", then)],
    )
    template, values = engineer.planned(deed, plan, errors)
    return visit.render(template, 422 if errors else 200, **values)


def _then(text: str) -> Literal["route", "process"] | None:
    if text not in THEN:
        raise PageRaised(400, "after a hold a study goes on, is routed or is processed again")
    return cast("Literal['route', 'process'] | None", text or None)


# ── dead letters ────────────────────────────────────────────────────────────────────────────────


async def dead_letters(visit: Visit) -> Response:
    """Deliveries that gave up."""
    destination, site, before = word(visit, "destination"), word(visit, "site"), number(visit, "before")
    query = DeliveryQuery(
        sites=sites(visit),
        site=site or None,
        destination=destination or None,
        states=("dead",),
        limit=100,
        before=before,
    )
    page = await desk(visit).deliveries(query)
    here = {"destination": destination, "site": site}
    return visit.render(
        "dead_letters.html",
        page=page,
        chosen=here,
        filtered=destination or site,
        destinations=[one.destination for one in await desk(visit).destinations(sites(visit))],
        sites=visit.named_sites(Role.ENGINEER),
        replay_all=address(visit.url("/replay"), begin="deliver", state="dead", **here),
        first=address(visit.url("/dead-letters"), **here) if before is not None else None,
        next=address(visit.url("/dead-letters"), **here, before=page.next) if page.next is not None else None,
    )


async def plan_discard(visit: Visit) -> Response:
    """What is given up."""
    return await _discard_planned(visit, engineer.words(visit.request.query_params.getlist("id")))


async def discard(visit: Visit) -> Response:
    """Give dead letters up."""
    ids = engineer.words((await visit.form()).getlist("id"))
    plan = await _discarding(visit, ids)
    reason, errors = await engineer.agreed(visit, len(plan.going))
    if errors or not plan.going:
        return await _discard_planned(visit, ids, errors)
    going = [step.id for step in plan.going]
    count = await desk(visit).discard(going, actor=actor(visit), reason=reason, sites=sites(visit))
    return visit.redirect("/dead-letters", f"{_counted(count, 'dead letter', 'dead letters')} discarded.")


async def _discard_planned(
    visit: Visit, ids: tuple[str, ...], errors: dict[str, str] | None = None
) -> Response:
    if not ids:
        return visit.redirect("/dead-letters", "Choose at least one dead letter.")
    deed = Deed(
        title="Discard dead letters",
        verb="Discard",
        one="dead letter",
        many="dead letters",
        target="/dead-letters/discard",
        back="/dead-letters",
        fields=[("id", one) for one in ids],
        warning="They stay on record, and are not delivered any more.",
    )
    template, values = engineer.planned(deed, await _discarding(visit, ids), errors)
    return visit.render(template, 422 if errors else 200, **values)


async def _discarding(visit: Visit, ids: tuple[str, ...]) -> ActionPlan:
    steps = []
    for one in ids:
        row = (await desk(visit).delivery(one, sites(visit))).row
        why = "" if row.state == "dead" else f"it is {row.state}, no dead letter"
        effect = "" if why else f"given up; {row.destination} does not get it"
        steps.append(
            PlannedStep(one, row.site, row.study_instance_uid, row.destination, row.state, effect, why)
        )
    return ActionPlan(tuple(steps))


# ── replay ──────────────────────────────────────────────────────────────────────────────────────


async def plan_replay(visit: Visit) -> Response:
    """What a replay would do."""
    told = {name: word(visit, name) for name in FIELDS}
    return await _replay_planned(visit, told, engineer.words(visit.request.query_params.getlist("id")))


async def replay(visit: Visit) -> Response:
    """Carry it out."""
    form = await visit.form()
    told = {name: str(form.get(name, "")).strip()[: engineer.LONGEST] for name in FIELDS}
    ids = engineer.words(form.getlist("id"))
    query = _query(visit, told, ids)
    plan = await desk(visit).plan_replay(query)
    reason, errors = await engineer.agreed(visit, len(plan.going))
    if errors or not plan.going:
        return await _replay_planned(visit, told, ids, errors)
    try:
        done = await desk(visit).replay(query, expect=_expected(form), actor=actor(visit), reason=reason)
    except OperationRefused as refused:
        if refused.reason is not OperationRefusedReason.CHANGED:
            raise
        return await _replay_planned(visit, told, ids, {"": f"{refused}."})
    what = ("delivery", "deliveries") if told["begin"] == "deliver" else ("study", "studies")
    return visit.redirect(_back(told), f"{_counted(len(done.going), *what)} replayed from {told['begin']}.")


async def _replay_planned(
    visit: Visit, told: dict[str, str], ids: tuple[str, ...], errors: dict[str, str] | None = None
) -> Response:
    query = _query(visit, told, ids)
    plan = await desk(visit).plan_replay(query)
    deliver = told["begin"] == "deliver"
    deed = Deed(
        title=TITLES[told["begin"]] + (f", to {told['to']}" if told["to"] else ""),
        verb="Replay",
        one="delivery" if deliver else "study",
        many="deliveries" if deliver else "studies",
        target="/replay",
        back=_back(told),
        fields=[
            *((name, value) for name, value in told.items() if value),
            *(("id", one) for one in ids),
            ("expect", str(len(plan.going))),
        ],
        warning="The receiver gets the same bytes under the same identifiers."
        if deliver and not told["to"]
        else "",
    )
    template, values = engineer.planned(deed, plan, errors)
    return visit.render(template, 422 if errors else 200, **values)


def _query(visit: Visit, told: dict[str, str], ids: tuple[str, ...]) -> ReplayQuery:
    if told["begin"] not in BEGINS:
        raise PageRaised(400, f"a replay begins with {', '.join(BEGINS)}")
    return ReplayQuery(
        begin=cast("Begin", told["begin"]),
        sites=sites(visit),
        ids=ids,
        study=told["study"] or None,
        site=told["site"] or None,
        destination=told["destination"] or None,
        route=told["route"] or None,
        states=(told["state"],) if told["state"] else (),
        to=told["to"] or None,
    )


def _expected(form: FormData) -> int:
    text = str(form.get("expect", "")).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


def _back(told: dict[str, str]) -> str:
    if told["begin"] == "deliver":
        return "/dead-letters"
    return f"/studies/{told['study']}" if told["study"] else "/deliveries"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


PAGES = (
    Page("/holds", holds, Role.ENGINEER, label="Holds", section="Operations"),
    Page("/holds/release", plan_release, Role.ENGINEER),
    Page("/holds/release", release, Role.ENGINEER, methods=("POST",)),
    Page("/dead-letters", dead_letters, Role.ENGINEER, label="Dead letters", section="Operations"),
    Page("/dead-letters/discard", plan_discard, Role.ENGINEER),
    Page("/dead-letters/discard", discard, Role.ENGINEER, methods=("POST",)),
    Page("/replay", plan_replay, Role.ENGINEER),
    Page("/replay", replay, Role.ENGINEER, methods=("POST",)),
)
