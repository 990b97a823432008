"""An engine's folder as commands find it: a table, a SQLite database in which it runs, and the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from engine import cli
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from tests.engine.proposal_house import Edit, House


@dataclass
class Desk:
    """The folder, and what an operator types there."""

    folder: Path

    @contextmanager
    def house(self) -> Iterator[House]:
        """The database, open while entered."""
        database = SqliteDatabase(self.folder / "data" / "pons.sqlite")
        try:
            yield House(database, self.folder)
        finally:
            database.close()

    def start(self, edit: Edit = lambda table: None, action: str = "started") -> str:
        """As if an engine had taken the table; its version."""
        with self.house() as house:
            migrate(house.database.engine)
            return house.start(edit, action=action)

    def write(self, edit: Edit = lambda table: None, name: str = "new.yaml") -> str:
        """The table with an edit, as a file; its path."""
        with self.house() as house:
            return str(house.write(edit, name))

    def pons(self, *arguments: str) -> Result:
        return CliRunner().invoke(
            cli.application(),
            [*arguments, "--table", str(self.folder / "routes.yaml")],
            catch_exceptions=True,
        )

    def run(self, *arguments: str, expect: int = 0) -> str:
        """`pons …`; its output."""
        done = self.pons(*arguments)
        assert done.exit_code == expect, (done.output, done.exception)
        return done.output

    def json(self, *arguments: str, expect: int = 0) -> Any:
        """The same with --json."""
        return json.loads(self.run(*arguments, "--json", expect=expect))
