"""`pons schema`: the shape of the table for editors, of results for authors of processors,
of explanations for programs.

With `--write` also the reference pages, which are made from the same models (`make docs`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.catalog import Catalog
from engine.explanation import explanation_schema
from engine.reference import reference_pages
from engine.schema import included_schema, result_schema, table_schema


class Subject(StrEnum):
    """What there is a schema of."""

    TABLE = "table"
    INCLUDED = "included"
    RESULT = "result"
    EXPLANATION = "explanation"


_FILES = {
    Subject.TABLE: "routes.schema.json",
    Subject.INCLUDED: "included.schema.json",
    Subject.RESULT: "result.schema.json",
    Subject.EXPLANATION: "explanation.schema.json",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="Of what: the table, a file that it includes, a processor's result, an explanation."
        ),
    ] = Subject.TABLE,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write every schema and the reference pages to this folder instead.", file_okay=False
        ),
    ] = None,
) -> None:
    """Print a JSON Schema: of the table for editors, of results for authors of processors."""
    catalog = Catalog()
    if write is None:
        typer.echo(_schema(catalog, subject), nl=False)
        return
    write.mkdir(parents=True, exist_ok=True)
    schemas = {name: _schema(catalog, one) for one, name in _FILES.items()}
    for name, text in {**schemas, **reference_pages(catalog)}.items():
        (write / name).write_text(text, "utf-8")
        typer.echo(str(write / name))


def _schema(catalog: Catalog, subject: Subject) -> str:
    found: dict[str, Any]
    if subject is Subject.RESULT:
        found = result_schema()
    elif subject is Subject.EXPLANATION:
        found = explanation_schema()
    else:
        found = table_schema(catalog) if subject is Subject.TABLE else included_schema(catalog)
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
