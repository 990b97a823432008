"""`pons orders list | show | cancel | batch`: what somebody wants done, and what has become of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.audit import append_event
from engine.catalog import Catalog
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, ListsByDefault, Since, TablePath, Yes, moment, read, show, who, write
from engine.config import load
from engine.errors import ConfigurationError, PonsError
from engine.order_changes import cancel
from engine.order_model import MAX_PAGE, BatchReport, OrderQuery, OrderState, StudyOrder, Submitter
from engine.order_view import batch_of, order_of
from engine.orders import batch_report, cancelled_of, details
from engine.reason import checked_reason
from engine.spool import write_durably
from engine.store import batches, orders

Site = Annotated[str | None, typer.Option(help="Of this site only.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="Rows at most.")]
After = Annotated[str | None, typer.Option(help="The place where the page before ended.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ListsByDefault, help="Orders: list (by default), show, cancel, batch.")
    group.command("list")(list_orders)
    group.command("show")(show_order)
    group.command("cancel")(cancel_order)
    group.command("batch")(show_batches)
    app.add_typer(group, name="orders")


def list_orders(
    table: TablePath = Path("routes.yaml"),
    search: Annotated[
        str | None,
        typer.Option(help="An accession number, patient ID or UID (* at its end: what begins so), an id."),
    ] = None,
    site: Site = None,
    state: Annotated[list[OrderState] | None, typer.Option(help="In this state; may be repeated.")] = None,
    batch: Annotated[str | None, typer.Option(help="Of this batch only.")] = None,
    submitter: Annotated[
        str | None, typer.Option(help="Given by: channel:NAME, client:NAME or person:NAME.")
    ] = None,
    since: Since = None,
    limit: Limit = 100,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """Orders, the latest first."""
    earliest = moment(since, SteadyClock().now(), "--since")
    query = OrderQuery(
        sites=None if site is None else (site,),
        submitter=None if submitter is None else _submitter(submitter),
        states=tuple(state or ()),
        batch_id=batch,
        search=search,
        since=None if earliest is None else at(earliest),
        limit=limit,
        after=after,
    )
    rows, following = read(table, lambda c: orders.page(c, query))
    found = [order_of(row) for row in rows]
    if as_json:
        page = {"orders": [one.model_dump(mode="json") for one in found], "next": following}
        typer.echo(json.dumps(page, indent=2))
        return
    show([_in_short(one) for one in found], False, "no orders")
    if following is not None:
        typer.echo(f"there are more: --after {following}")


def show_order(
    order: Annotated[str, typer.Argument(help="Id of an order, or a Study Instance UID.")],
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """One order with its results, deliveries and holds; of a study, its latest."""
    order_id = order
    if "." in order:
        of_study = read(table, lambda c: orders.of_study_uid(c, order, None))
        if not of_study:
            raise PonsError(f"no order on study {order[:64]} here")
        order_id = of_study[0].order_id
    told = read(table, lambda c: details(c, order_id))
    if as_json:
        typer.echo(told.model_dump_json(indent=2))
        return
    one = told.order
    lines = {
        "order": one.order_id,
        "state": f"{one.state}{f': {one.failure}' if one.failure else ''}",
        "site": one.site,
        "given by": f"{one.submitter}, {one.created_at.isoformat(timespec='seconds')}",
        "batch": one.batch_id or "",
        "study": one.study_instance_uid,
        "accession": one.accession_number,
        "overridden": ", ".join(one.metadata),
        "revision": f"{told.study_revision}, {told.instances} instances",
    }
    for label, value in lines.items():
        if value:
            typer.echo(f"{label:<11} {value}")
    for result in told.results:
        typer.echo(f"result      {result.status} {result.result_id}: {result.headline}")
    for sent in told.deliveries:
        typer.echo(f"delivery    {sent.destination} [{sent.status}] {sent.state} {sent.reason}".rstrip())
    for reason in told.holds:
        typer.echo(f"hold        {reason}")


def cancel_order(
    order: Annotated[str, typer.Argument(help="Id of an order.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit trail; no patient data.")],
    yes: Yes = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Cancel an order: what has not begun never will; what was delivered stays where it is."""
    words = checked_reason(reason)
    loaded = load(table, surroundings=False)
    actor = Submitter(kind="user", name=who())
    now = SteadyClock().now()
    if not yes:
        state = read(table, lambda c: orders.by_id(c, order)).state
        typer.echo(f"order {order} is {state}; nothing was changed; add --yes to cancel it")
        return
    done = cancelled_of(*write(loaded, lambda c: cancel(c, order, actor, words, None, None, now)))
    typer.echo(done.model_dump_json(indent=2) if as_json else f"order {order}: {done}")


def show_batches(
    batch: Annotated[str | None, typer.Argument(help="Id of a batch; all of them when absent.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Write its report as a file: csv, pdf.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; the batch's id with the format's ending.")
    ] = None,
    site: Site = None,
    limit: Limit = 100,
    after: After = None,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Batches with their counts; or one, with a line for each order, or its report as a file."""
    if batch is None:
        _list_batches(table, site, limit, after, as_json)
        return
    told = read(table, lambda c: batch_report(c, batch))
    if format_ is not None:
        typer.echo(f"{_write_report(table, told, format_, out)}: {len(told.rows)} orders")
        return
    if as_json:
        typer.echo(told.model_dump_json(indent=2))
        return
    typer.echo(f"batch {told.batch_id} {told.name}  {_counts(told.states)}")
    show(
        [
            {
                "order": row.order_id,
                "state": row.state.value,
                "accession": row.accession_number,
                "study": row.study_instance_uid,
                "result": row.result_status,
                "says": row.failure or row.headline,
            }
            for row in told.rows
        ],
        False,
        "no orders in it yet",
    )


def _write_report(table: Path, report: BatchReport, format_: str, out: Path | None) -> Path:
    """Write the report of a batch as a private file (0600); on the trail before anybody has it."""
    try:
        export = Catalog().batch_export(format_)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    path = out or Path(f"{report.batch_id}{export.suffix}")
    content = export.export(report)
    event = {"actor": who(), "action": "batch report exported", "subject": f"batch {report.batch_id}"}
    now = SteadyClock().now()
    write(
        load(table, surroundings=False),
        lambda c: append_event(c, now, **event, detail={"format": format_, "orders": len(report.rows)}),
    )
    write_durably(path, content)
    return path


def _list_batches(table: Path, site: str | None, limit: int, after: str | None, as_json: bool) -> None:
    sites = None if site is None else [site]

    def found(connection: Any) -> tuple[list[Any], str | None]:
        rows, following = batches.page(connection, sites, limit, after)
        counts = batches.states(connection, [row.batch_id for row in rows])
        return [batch_of(row, counts[row.batch_id]) for row in rows], following

    listed, following = read(table, found)
    if as_json:
        page = {"batches": [one.model_dump(mode="json") for one in listed], "next": following}
        typer.echo(json.dumps(page, indent=2))
        return
    show(
        [
            {
                "batch": one.batch_id,
                "name": one.name,
                "site": one.site,
                "given by": str(one.submitter),
                "begun": one.created_at.isoformat(timespec="seconds"),
                "orders": one.orders,
                "states": _counts(one.states),
            }
            for one in listed
        ],
        False,
        "no batches",
    )
    if following is not None:
        typer.echo(f"there are more: --after {following}")


def _counts(states: Any) -> str:
    return ", ".join(f"{count} {state.value}" for state, count in states.items())


def _in_short(one: StudyOrder) -> dict[str, Any]:
    return {
        "order": one.order_id,
        "state": one.state.value,
        "site": one.site,
        "accession": one.accession_number,
        "study": one.study_instance_uid,
        "given by": str(one.submitter),
        "created": one.created_at.isoformat(timespec="seconds"),
        "why": one.failure,
    }


def _submitter(text: str) -> Submitter:
    kind, colon, name = text.partition(":")
    if not colon or kind not in ("channel", "client", "user", "person") or not name:
        raise typer.BadParameter(
            "write it as channel:NAME, client:NAME or person:NAME", param_hint="--submitter"
        )
    return Submitter.model_validate({"kind": kind, "name": name})
