"""One study as its engineer sees it: its whole story, and why it goes where it goes.

Enter: a Study Instance UID. Leave: the trace that `pons trace` tells, and the decisions that `pons
explain` explains, beside what the table in force makes of it now. What a predicate found in an attribute
of the patient is behind a shield until it is revealed.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from channels.inbound.portal.engineer import address, desk, sites, word
from channels.inbound.portal.page import Page, Visit
from engine.channel import Explained, OperationRefused, Role

KINDS = {
    "received": "busy",
    "stable": "busy",
    "held": "wait",
    "waiting": "wait",
    "dead": "bad",
    "denied": "bad",
    "overdue": "wait",
    "committed": "good",
    "result": "good",
}


async def find(visit: Visit) -> Response:
    """On to a study, by its UID."""
    uid = word(visit, "study")
    return visit.redirect(f"/studies/{uid}" if uid and "/" not in uid else "/routes")


async def show(visit: Visit) -> Response:
    """The study."""
    uid = visit.parts["uid"]
    story = await desk(visit).trace(uid, sites(visit))
    senders = tuple(dict.fromkeys(one.site for one in story))
    revealed = all(visit.sees_identifiers(site) for site in senders)
    explained: Sequence[Explained] = ()
    undecided = ""
    try:
        explained = await desk(visit).explain(uid, sites(visit), revealed=revealed)
    except OperationRefused as refused:  # not decided yet, or its files are gone
        undecided = str(refused)
    await visit.seen("study.viewed", f"study {uid}")
    return visit.render(
        "study.html",
        uid=uid,
        story=story,
        senders=senders,
        explained=explained,
        undecided=undecided,
        kinds=KINDS,
        seen=revealed,
        deliveries=address(visit.url("/deliveries"), q=uid),
    )


PAGES = (
    Page("/studies", find, Role.ENGINEER),
    Page("/studies/{uid}", show, Role.ENGINEER, shields=True),
)
