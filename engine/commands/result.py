"""`pons result list | show | export | retract`: what was found, as a file, and how it is taken back.

`list` and `show` tell of findings and deliveries and leave the patient out; `export` writes the whole
result, patient included, into a file that only its owner can read. `retract` is the one command that
writes beside a running engine: one short transaction, after a preview.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from engine.audit import append_event
from engine.catalog import Catalog
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, TablePath, opened, read, show, who, write
from engine.config import load
from engine.errors import ConfigurationError, PonsError
from engine.exported import exported
from engine.model import Code, Finding, Result
from engine.reason import checked_reason
from engine.retraction import Retraction, plan, retract
from engine.spool import write_durably
from engine.store import deliveries, look, work
from engine.stored_result import stored_versions

ResultId = Annotated[str, typer.Argument(help="Id of a result, as `pons result list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Results: list, show, export, retract.", no_args_is_help=True)
    group.command("list")(list_results)
    group.command("show")(show_result)
    group.command("export")(export_result)
    group.command("retract")(retract_result)
    app.add_typer(group, name="result")


def list_results(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Every result of a study, oldest first."""

    def rows(connection: Connection) -> list[dict[str, Any]]:
        return [
            {
                "result": row.result_id,
                "site": one.site,
                "status": row.status,
                "revision": row.revision,
                "supersedes": row.supersedes or "",
                "study revision": row.study_revision,
                "route": row.document["route"],
                "shadow": row.shadow,
                "findings": len(row.document["report"]["findings"]),
                "produced": at(row.produced_at).isoformat(timespec="seconds"),
            }
            for one in look.list_studies(connection, site=None, uid=study, limit=100)
            for row in work.results_of(connection, one.id)
        ]

    show(read(table, rows), as_json, f"no result of study {study}")


def show_result(result_id: ResultId, table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """One result: its standing, its findings, where it went; nothing of the patient."""

    def facts(connection: Connection) -> dict[str, Any]:
        row = _row(connection, result_id)
        result = Result.model_validate(row.document)
        sent = deliveries.of_study(connection, row.study_id)
        return {
            "result": result.result_id,
            "site": result.site,
            "route": result.route,
            "study": result.study.study_instance_uid,
            "study revision": row.study_revision,
            "status": result.status.value,
            "revision": result.revision,
            "supersedes": result.supersedes or "",
            "produced": result.produced_at.isoformat(timespec="seconds"),
            "algorithm": f"{result.report.algorithm.name} {result.report.algorithm.version}",
            "artefacts": [one.name for one in result.report.artefacts],
            "findings": [_told(one) for one in result.report.findings],
            "deliveries": [
                {"destination": one.destination, "state": one.state, "attempts": one.attempts}
                for one in sent
                if one.result_id == result_id
            ],
        }

    told = read(table, facts)
    if as_json:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for key, value in told.items():
        if not isinstance(value, list):
            typer.echo(f"{key + ':':16}{value}")
    typer.echo(f"{'artefacts:':16}{', '.join(told['artefacts'])}\n")
    show(told["findings"], False, "no findings")
    typer.echo()
    show(told["deliveries"], False, "no deliveries")


def export_result(
    result_id: ResultId,
    format_: Annotated[str, typer.Option("--format", help="csv, txt, json, xml, png, pdf, sr, fhir.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output when absent.")] = None,
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Write one result as a file, the patient included; the file is private (0600)."""
    catalog = Catalog()
    try:
        export = catalog.export(format_)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    is_text = export.media_type.startswith(
        ("text/", "application/json", "application/xml", "application/fhir")
    )
    if out is None and not is_text and sys.stdout.isatty():
        raise typer.BadParameter("a terminal cannot show it; name a file", param_hint="--out")
    loaded = load(table, surroundings=False)
    with opened(loaded) as database:
        versions = database.read_now(lambda c: _versions(c, result_id, loaded.engine.data))
    try:
        content = exported(export, versions)
    except (OSError, ValueError):  # the result's id is enough to find it
        raise PonsError(f"result {result_id}: an artefact is missing or was changed on the disk") from None
    if content is None:
        raise PonsError(f"result {result_id}: a retraction of nothing, there is nothing to tell as {format_}")
    now = SteadyClock().now()
    write(  # on the trail before anybody has it
        loaded,
        lambda c: append_event(
            c,
            now,
            actor=who(),
            action="result exported",
            subject=f"result {result_id}",
            detail={"format": format_, "to": "standard output" if out is None else "a file"},
        ),
    )
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_durably(out, content)


def retract_result(
    result_id: ResultId,
    reason: Annotated[str, typer.Option(help="Why, for the receivers and the audit trail; no patient data.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")
    ] = False,
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Take a result back: everybody who was sent it gets the retraction."""
    words = checked_reason(reason)
    loaded = load(table, surroundings=False)
    now = SteadyClock().now()
    if not yes:
        _tell(read(table, lambda c: plan(c, result_id, words, loaded.outbound, now)), result_id, "would be")
        typer.echo("nothing was changed; add --yes to do it")
        return
    done = write(loaded, lambda c: retract(c, result_id, words, loaded.outbound, now, actor=who()))
    _tell(done, result_id, "is")


def _tell(retraction: Retraction, result_id: str, verb: str) -> None:
    result = retraction.result
    typer.echo(f"result {result_id} {verb} retracted by version {result.revision}")
    if verb == "is":
        typer.echo(f"the retraction is result {result.result_id}")
    typer.echo(f"told: {', '.join(retraction.tell) or 'nobody, for nobody was sent it'}")
    for name in retraction.unreachable:
        typer.echo(f"not told, for the table no longer has it: {name}; the study is held until a person does")


def _row(connection: Connection, result_id: str) -> Any:
    row = work.result_row(connection, result_id)
    if row is None:
        raise PonsError(f"no result {result_id} here; `pons result list STUDY` lists what there is")
    return row


def _versions(connection: Connection, result_id: str, data: Path) -> tuple[Result, ...]:
    row = _row(connection, result_id)
    return stored_versions(work.versions_of(connection, row.study_id, row.lineage), row.revision, data)


def _told(finding: Finding) -> dict[str, str]:
    value = finding.value.meaning if isinstance(finding.value, Code) else str(finding.value)
    return {
        "group": finding.group,
        "finding": finding.concept.meaning,
        "place": " ".join(code.meaning for code in (finding.laterality, finding.site) if code),
        "value": value,
        "unit": finding.unit.value if finding.unit else "",
        "flag": finding.flag.value if finding.flag else "",
    }
