"""The audit trail, for those who manage every site: who did what, when and why, and whether it is whole.

Enter: a filter. Leave: events, the latest first; and, when asked, the proof that the chain of hashes holds
(`engine.audit`). That somebody looked is on the trail, too.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from channels.inbound.portal.engineer import address, desk, number, require_every_site, word
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from engine.channel import Role, TrailProof, TrailQuery


async def show(visit: Visit) -> Response:
    """The trail."""
    return await _trail(visit)


async def verify(visit: Visit) -> Response:
    """The trail, and whether it is whole."""
    require_every_site(visit, Role.ADMIN)
    proof = await desk(visit).verify_trail()
    return await _trail(visit, proof)


async def _trail(visit: Visit, proof: TrailProof | None = None) -> Response:
    require_every_site(visit, Role.ADMIN)
    chosen = {name: word(visit, name) for name in ("action", "actor", "subject", "since", "until")}
    until = _day(chosen["until"], "until")
    query = TrailQuery(
        action=chosen["action"] or None,
        actor=chosen["actor"] or None,
        subject=chosen["subject"] or None,
        since=_day(chosen["since"], "since"),
        until=until + timedelta(days=1) if until is not None else None,
        before=number(visit, "before"),
    )
    page = await desk(visit).trail(query)
    if query.before is None:
        await visit.seen("audit.viewed", "audit trail")
    return visit.render(
        "audit.html",
        page=page,
        chosen=chosen,
        filtered=any(chosen.values()),
        proof=proof,
        details={one.event_id: _detail(one.detail) for one in page.events},
        first=address(visit.url("/audit"), **chosen) if query.before is not None else None,
        next=address(visit.url("/audit"), **chosen, before=page.next) if page.next is not None else None,
    )


def _day(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise PageRaised(400, f"{name} is a day, such as 2026-01-31") from None


def _detail(detail: object) -> str:
    return json.dumps(detail, ensure_ascii=False, sort_keys=True) if detail else ""


PAGES = (
    Page("/audit", show, Role.ADMIN, label="Audit trail", section="Administration"),
    Page("/audit/verify", verify, Role.ADMIN, methods=("POST",), max_body=8 << 10),
)
