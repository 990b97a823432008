"""One page of individual and group orders: found by number, patient or UID, filtered, kept up to date.

Enter: a query. Leaves: a page of the list, or the same page as CSV. Without a question of its own the list
has orders that were given alone beside batches; asked for something it has every order of which that holds.
A text is looked for as it is, and where nothing is called so, as a beginning.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from io import StringIO
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from channels.content.csv_table import cell
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import ORDER_KINDS, ORDER_MEANS
from engine.channel import Role
from engine.model import Batch, Entries, OrderQuery, OrderState, StudyOrder, Submitter

ROWS = 50
CSV_ROWS = 500
LONGEST = 64
COLUMNS = (
    *("order_id", "batch_id", "site", "state", "created_at", "updated_at", "submitter"),
    *("study_instance_uid", "accession_number", "patient_id", "patient_name", "study_description", "failure"),
)
_FIELDS = ("q", "state", "site", "by", "from", "to")
_KINDS = ("person", "client", "channel")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list is asked for."""

    text: str
    state: OrderState | None
    site: str
    by: str
    since: datetime | None
    until: datetime | None
    after: str | None
    fields: dict[str, str]  # as they were typed

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked of single orders, so that batches have their place in the list."""
        return not (self.text or self.state or self.by)


async def show(visit: Visit) -> Response:
    """The list."""
    asked = asked_of(visit)
    rows, following, began = await _found(visit, asked, ROWS)
    shielded = any(not visit.sees_identifiers(one.site) for one in rows)
    await visit.seen("orders.listed", "orders", {"rows": len(rows), "identifiers": not shielded})
    fields = {**asked.fields, **({"q": f"{asked.text}*"} if began else {})}
    return visit.render(
        "orders.html",
        rows=[(one, isinstance(one, Batch), visit.sees_identifiers(one.site)) for one in rows],
        asked=asked,
        began=began,
        states=list(OrderState),
        sites=visit.named_sites(),
        kinds=ORDER_KINDS,
        means=ORDER_MEANS,
        shielded=shielded,
        revealed=not shielded and _is_lifted(visit, rows),
        may_order=visit.person.may(Role.SUBMITTER),
        first=_address(visit, asked.fields) if asked.after else None,
        next=_address(visit, {**fields, "after": following}) if following else None,
        csv=visit.url("/orders.csv")
        + _query(fields if asked.is_everything else {**fields, "after": asked.after}),
        fresh=asked.after is None and not any(asked.fields.values()),
    )


async def as_csv(visit: Visit) -> Response:
    """The list from this page on, with the orders of batches (RFC 4180; no spreadsheet finds a formula)."""
    orders, _, _ = await _orders(visit, asked_of(visit), CSV_ROWS)
    seen = {one.site: visit.sees_identifiers(one.site, of="/orders") for one in orders}
    await visit.seen("orders.exported", "orders", {"rows": len(orders), "identifiers": all(seen.values())})
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(_line(one, shown=seen[one.site]) for one in orders)
    headers = {"Content-Disposition": 'attachment; filename="orders.csv"'}
    content = buffer.getvalue().encode()
    return Response(content, headers=headers, media_type="text/csv; charset=utf-8; header=present")


def asked_of(visit: Visit) -> Asked:
    """The question of an address; PageRaised(400) where it is none."""
    fields = {name: visit.query.get(name, "").strip() for name in _FIELDS}
    if len(fields["q"]) > LONGEST:
        raise PageRaised(400, f"what is searched for has at most {LONGEST} characters; shorten it")
    try:
        state = OrderState(fields["state"]) if fields["state"] else None
    except ValueError:
        raise PageRaised(400, "state: no order has such a state; choose one of the list") from None
    if fields["site"]:
        visit.require(Role.VIEWER, fields["site"])
    zone = ZoneInfo(visit.portal.settings.timezone)
    since, until = _day(fields["from"], "from", zone), _day(fields["to"], "to", zone)
    return Asked(
        text=fields["q"],
        state=state,
        site=fields["site"],
        by=fields["by"],
        since=since,
        until=until + timedelta(days=1) if until else None,
        after=visit.query.get("after") or None,
        fields=fields,
    )


async def _found(
    visit: Visit, asked: Asked, limit: int
) -> tuple[tuple[StudyOrder | Batch, ...], str | None, bool]:
    """The rows, where the next page begins, and whether they only begin with what was searched for."""
    desk, sites = visit.portal.intake.orders, _sites(visit, asked)
    if len(asked.after or "") > 2 * LONGEST:
        raise PageRaised(400, "after: no place in a list; begin at the first page")
    if asked.is_everything:
        found: Entries = await desk.entries(
            sites, since=asked.since, until=asked.until, limit=limit, after=asked.after
        )
        return found.entries, found.next, False
    return await _orders(visit, asked, limit)


async def _orders(visit: Visit, asked: Asked, limit: int) -> tuple[tuple[StudyOrder, ...], str | None, bool]:
    """Orders, one by one."""
    desk, sites = visit.portal.intake.orders, _sites(visit, asked)
    if len(asked.after or "") > LONGEST:
        raise PageRaised(400, "after: no place in this list; begin at the first page")
    query = OrderQuery(
        sites=sites,
        submitter=_submitter(asked.by),
        states=(asked.state,) if asked.state else (),
        search=asked.text or None,
        since=asked.since,
        until=asked.until,
        limit=limit,
        after=asked.after,
    )
    page = await desk.list(query)
    began = False
    if not page.orders and asked.text and not asked.text.endswith("*") and len(asked.text) < LONGEST:
        page = await desk.list(query.model_copy(update={"search": f"{asked.text}*"}))
        began = bool(page.orders)
    return page.orders, page.next, began


def _sites(visit: Visit, asked: Asked) -> tuple[str, ...] | None:
    if asked.site:
        return (asked.site,)
    own = visit.sites(Role.VIEWER)
    return None if own is None else tuple(sorted(own))


def _submitter(text: str) -> Submitter | None:
    """`ris` is the client, channel or person of that kind: `client:ris`; without a kind a person."""
    if not text:
        return None
    kind, colon, name = text.partition(":")
    if not colon:
        kind, name = "person", text
    if kind not in _KINDS or not 1 <= len(name) <= 128:
        raise PageRaised(400, "by: write person:NAME, client:NAME or channel:NAME")
    return Submitter.model_validate({"kind": kind, "name": name})


def _day(text: str, name: str, zone: ZoneInfo) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        return datetime.combine(day, time(), zone) if 1970 <= day.year < 9999 else None
    except ValueError:
        raise PageRaised(400, f"{name}: write a day as 2026-12-31") from None


def _is_lifted(visit: Visit, rows: tuple[StudyOrder | Batch, ...]) -> bool:
    """Whether somebody looks at what his role alone would not show him."""
    return any(not visit.person.sees_identifiers(one.site) for one in rows)


def _line(one: StudyOrder, *, shown: bool) -> tuple[str, ...]:
    def identifier(value: str) -> str:
        return cell(value) if shown else ("shielded" if value else "")

    return (
        one.order_id,
        one.batch_id or "",
        cell(one.site),
        one.state.value,
        one.created_at.isoformat(),
        one.updated_at.isoformat(),
        cell(str(one.submitter)),
        cell(one.study_instance_uid),
        identifier(one.accession_number),
        identifier(one.patient_id),
        identifier(one.patient_name),
        cell(one.study_description),
        cell(one.failure),
    )


def _address(visit: Visit, fields: dict[str, Any]) -> str:
    return visit.url("/orders") + _query(fields)


def _query(fields: dict[str, Any]) -> str:
    given = {name: value for name, value in fields.items() if value}
    return f"?{urlencode(given)}" if given else ""


PAGES = (
    Page("/orders", show, label="Orders", shields=True),
    Page("/orders.csv", as_csv),
)
