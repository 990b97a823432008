"""`pons schema`, as an operator types it."""

from __future__ import annotations

import json

import pytest

from tests.engine.commands.table_house import pons


@pytest.mark.parametrize(("arguments", "title"), [([], "Pons routing table"), (["result"], "pons.result/1")])
def test_schemas_are_printed(arguments: list[str], title: str) -> None:
    done = pons("schema", *arguments)
    assert json.loads(done.output)["title"] == title
