"""`pons schema`: the shape of the table for editors, of results for authors of processors."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from engine.catalog import Catalog
from engine.schema import result_schema, table_schema


class Subject(StrEnum):
    """What there is a schema of."""

    TABLE = "table"
    RESULT = "result"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema(subject: Annotated[Subject, typer.Argument(help="Of what.")] = Subject.TABLE) -> None:
    """Print a JSON Schema: of the table for editors, of results for authors of processors."""
    found = table_schema(Catalog()) if subject is Subject.TABLE else result_schema()
    typer.echo(json.dumps(found, indent=2))
