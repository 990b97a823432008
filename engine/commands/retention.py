"""`pons retention`: what would be removed now, and why the rest stays.

It reads beside the engine and changes nothing; removing is the engine's own work.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from engine.clock import at
from engine.commands.desk import AsJson, Limit, TablePath, opened, show
from engine.config import load
from engine.retention import keeps
from engine.sections import Retention as Policy
from engine.store import retention as queries


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("retention")(retention)


def retention(
    table: TablePath = Path("routes.yaml"),
    going: Annotated[bool, typer.Option("--going", help="Only what would be removed now.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """What would be removed now, the oldest first, and why the rest stays; nothing is changed."""
    loaded = load(table, surroundings=False)
    now = time.time()

    def work(connection: Connection) -> list[dict[str, Any]]:
        rows = queries.candidates(connection, limit)
        above = _above(connection, loaded.retention)
        found = []
        for row in rows:
            last = queries.last_event(row)
            why = keeps(queries.unfinished(row), last, now, loaded.retention, above=above > 0)
            if not why:
                above -= row.size
            found.append(
                {
                    "site": row.site,
                    "study": row.study_instance_uid,
                    "instances": row.instances,
                    "bytes": int(row.size),
                    "last event": at(last).isoformat(timespec="seconds"),
                    "goes": not why,
                    "stays because": why,
                }
            )
        return [one for one in found if one["goes"] or not going]

    with opened(loaded) as database:
        rows = database.read_now(work)
    show(rows, as_json, "nothing would be removed" if going else "no studies yet")


def _above(connection: Connection, policy: Policy) -> int:
    return queries.total_size(connection) - policy.max_size if policy.max_size is not None else 0
