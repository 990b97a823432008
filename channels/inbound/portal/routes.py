"""The routing table: what runs, its versions, and another in its place, planned before it is applied.

Enter: the edited text of a file of the table, or an uploaded file. Leave: what `pons plan` says of it,
and, once confirmed with a reason, the change, as `pons apply` makes it. The routes are seen by who looks
after a site, as far as they concern it; files and changes by who looks after every one.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal import engineer
from channels.inbound.portal.engineer import actor, desk, require_every_site, sites, word
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from engine.channel import OperationRefused, OperationRefusedReason, Role, TableProposal

LARGEST = 2 << 20  # bytes of a form with a table's text
SHOWN = 500  # routes at once


async def show(visit: Visit) -> Response:
    """What runs."""
    table, wanted = await desk(visit).table(sites(visit)), word(visit, "q").lower()
    found = [one for one in table.routes if not wanted or wanted in _text(one).lower()]
    return visit.render(
        "routes.html",
        table=table,
        routes=found[:SHOWN],
        found=len(found),
        q=wanted,
        everywhere=visit.person.may_everywhere(Role.ENGINEER),
    )


def _text(route: object) -> str:
    return " ".join(str(getattr(route, name)) for name in ("name", "match", "process", "deliver", "hold"))


async def versions(visit: Visit) -> Response:
    """Every change of the running table."""
    require_every_site(visit)
    return visit.render("table_versions.html", changes=await desk(visit).versions(200))


async def version(visit: Visit) -> Response:
    """The files of a version, and what it changed."""
    require_every_site(visit)
    named = visit.parts["version"]
    files = await desk(visit).files(named)
    other = word(visit, "with")
    lines = await desk(visit).compare(named, other) if other else ()
    return visit.render(
        "table_version.html",
        version=named,
        files=files,
        other=other,
        lines=lines,
        changes=await desk(visit).versions(200),
    )


async def edit(visit: Visit) -> Response:
    """A file of the running table, to be edited."""
    require_every_site(visit)
    table = await desk(visit).table()
    name = word(visit, "file") or table.main
    files = await desk(visit).files(table.version)
    if name not in files:
        raise PageRaised(404, "the running table has no such file; choose one of its files")
    return visit.render("table_edit.html", table=table, name=name, text=files[name], errors={})


async def plan(visit: Visit) -> Response:
    """What the edited table would change."""
    require_every_site(visit)
    name, text = await _edited(visit)
    return await _planned(visit, name, text)


async def apply(visit: Visit) -> Response:
    """Make it the running table."""
    require_every_site(visit)
    name, text = await _edited(visit)
    form = await visit.form()
    reason, errors = await engineer.agreed(visit, 1)
    if errors:
        return await _planned(visit, name, text, errors)
    expect = str(form.get("expect", ""))
    try:
        done = await desk(visit).apply(
            {name: text},
            expect=int(expect) if expect.isascii() and expect.isdecimal() and len(expect) < 18 else None,
            actor=actor(visit),
            message=reason,
            force=form.get("force") == "yes",
        )
    except OperationRefused as refused:
        if refused.reason is OperationRefusedReason.NOT_FOUND:
            raise
        return await _planned(visit, name, text, {"": f"{refused}."})
    if done.change_id is None:
        return visit.redirect("/routes", "That is the running table already.")
    if done.taken:
        return visit.redirect("/routes", f"{done.version} is the running table.")
    return visit.redirect(
        "/routes", f"{done.version} is applied, and not every engine has taken it: see below."
    )


async def _edited(visit: Visit) -> tuple[str, str]:
    form = await visit.form()
    name, text = str(form.get("file", "")).strip(), str(form.get("text", ""))
    if not name or not text.strip():
        raise PageRaised(422, "the form has no text of a table; edit one of its files")
    return name, text


async def _planned(visit: Visit, name: str, text: str, errors: dict[str, str] | None = None) -> Response:
    proposal: TableProposal = await desk(visit).propose({name: text})
    values = {"name": name, "text": text, "proposal": proposal, "errors": errors or {}}
    return visit.render("table_plan.html", 422 if errors else 200, **values)


PAGES = (
    Page("/routes", show, Role.ENGINEER, label="Routes", section="Operations"),
    Page("/routes/versions", versions, Role.ENGINEER),
    Page("/routes/versions/{version}", version, Role.ENGINEER),
    Page("/routes/edit", edit, Role.ENGINEER),
    Page("/routes/plan", plan, Role.ENGINEER, methods=("POST",), max_body=LARGEST),
    Page("/routes/apply", apply, Role.ENGINEER, methods=("POST",), max_body=LARGEST),
)
