"""Every YAML block in the documentation is valid: a whole table, or a part put into a small one.

The small table is in blocks.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.config import examine
from tests.docs.blocks import Block, blocks_of, completed

BLOCKS = [block for block in blocks_of("yaml") if block.document != "CONTRIBUTING.md"]  # test_contributing.py


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_yaml_block_is_a_valid_table_or_part_of_one(block: Block, tmp_path: Path) -> None:
    part = yaml.safe_load(block.text)
    assert isinstance(part, dict), f"{block}: a part of a table starts with its section, such as `outbound:`"
    path = tmp_path / "routes.yaml"
    path.write_text(block.text if "version" in part else yaml.safe_dump(completed(part), sort_keys=False))
    table, findings = examine(path, surroundings=False)
    assert table is not None, f"{block}\n" + "\n".join(map(str, findings))
