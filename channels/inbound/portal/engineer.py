"""What the pages of those who look after the engine share: their desk, in whose name, for which sites.

Enter: a visit. Leave: the desk, the actor for the trail, the words and numbers of a query or a form that
can be used. A query that makes no sense is told as such; nothing of it reaches the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Visit
from engine.channel import ActionPlan, OperationsDesk, PlannedStep, Role
from engine.errors import Busy

LONGEST = 200  # characters of a word in a query or a form
MOST_IDS = 200  # of one action that is asked for by ids
SHOWN = 100  # steps of a plan that are listed
DELIVERY_STATES = ("queued", "waiting", "delivered", "dead", "superseded", "discarded", "cancelled")


def desk(visit: Visit) -> OperationsDesk:
    """Where to ask; Busy where no engine runs behind the portal."""
    found = visit.portal.context.operations
    if found is None:
        raise Busy("no engine runs behind this portal")
    return found


def actor(visit: Visit) -> str:
    """In whose name something is done, as the trail names who signs in and who looks (`PeopleDesk.seen`)."""
    return f"person {visit.person.username}"


def sites(visit: Visit) -> Collection[str] | None:
    """The sites that he looks after; None for every one."""
    return visit.sites(Role.ENGINEER)


def require_every_site(visit: Visit, role: Role = Role.ENGINEER) -> None:
    """End the visit with 403 where a role is not his for every site: the table is everybody's."""
    if not visit.person.may_everywhere(role):
        raise PageRaised(403, f"this concerns every site: it needs the role {role} for all of them")


def word(visit: Visit, name: str) -> str:
    """One word of the query, stripped; empty where it is not there."""
    return visit.query.get(name, "").strip()[:LONGEST]


def number(visit: Visit, name: str) -> int | None:
    """One number of the query; None where it is not there."""
    text = word(visit, name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise PageRaised(400, f"{name} in the address is a number; begin at the first page")
    return int(text)


def words(values: Sequence[object]) -> tuple[str, ...]:
    """Ids of a query or a form, each once."""
    found = tuple(dict.fromkeys(text for value in values if (text := str(value).strip()[:LONGEST])))
    if len(found) > MOST_IDS:
        raise PageRaised(422, f"choose {MOST_IDS} at most; for more, filter and take all that match")
    return found


def numbers(values: Sequence[object]) -> tuple[int, ...]:
    """The same of ids that are numbers."""
    found = words(values)
    if not all(one.isascii() and one.isdecimal() and len(one) <= 18 for one in found):
        raise PageRaised(400, "an id in the address is none; choose from the list")
    return tuple(map(int, found))


def address(path: str, **query: str | int | None) -> str:
    """A path with the parts of a query that say something."""
    told = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(told)}" if told else path


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is looked at as a plan, then confirmed and done."""

    title: str
    verb: str  # on the button: Replay, Release, Discard
    one: str  # what it is done to
    many: str
    target: str  # where the form goes, below the portal's own path
    back: str
    fields: Sequence[tuple[str, str]]  # what the form repeats of the query
    warning: str = ""


def planned(
    deed: Deed, plan: ActionPlan, errors: Mapping[str, str] | None = None
) -> tuple[str, dict[str, Any]]:
    """The template of a plan that waits for its word, and its values."""
    left_out: dict[str, list[PlannedStep]] = {}
    for step in plan.left_out:
        left_out.setdefault(step.left_out, []).append(step)
    return "action.html", {
        "deed": deed,
        "count": len(plan.going),
        "going": plan.going[:SHOWN],
        "left_out": sorted(left_out.items(), key=lambda one: -len(one[1])),
        "total": len(plan.steps),
        "errors": dict(errors or {}),
    }


async def agreed(visit: Visit, count: int) -> tuple[str, dict[str, str]]:
    """The reason of a form that confirms a deed, and what is wrong with the form.

    Whoever does something to more than one thing types to how many: nobody does that by mistake.
    """
    form = await visit.form()
    reason = " ".join(str(form.get("reason", "")).split())
    errors = {}
    if not reason:
        errors["reason"] = "Say why: it is kept on the audit trail."
    elif len(reason) > 500:
        errors["reason"] = "Say it in 500 characters."
    if count > 1 and str(form.get("typed", "")).strip() != str(count):
        errors["typed"] = f"Type {count} to do it to all of them."
    return reason, errors
