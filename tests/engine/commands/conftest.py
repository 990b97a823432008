"""The desk that the commands work at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.commands.desk_house import House, furnish


@pytest.fixture
def house(tmp_path: Path) -> House:
    return furnish(tmp_path)
