"""The desk that the commands work at, and the table that they read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.commands.desk_house import House, furnish
from tests.engine.commands.table_house import TABLE
from tests.engine.oauth.conftest import Signer


@pytest.fixture
def house(tmp_path: Path) -> House:
    return furnish(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    return path


@pytest.fixture
def signer() -> Signer:
    """A client that signs."""
    return Signer()
