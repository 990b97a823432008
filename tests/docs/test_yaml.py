"""Every YAML block in the documentation is valid: a whole table, or a part put into a small one.

The small table is in blocks.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.config import examine
from engine.processors.quality.protocol import load_protocol
from tests.docs.blocks import Block, blocks_of, completed

BLOCKS = [block for block in blocks_of("yaml") if block.document != "CONTRIBUTING.md"]  # test_contributing.py


def is_protocol(block: Block) -> bool:
    """Whether a block is a protocol of `quality_control`, which is a file of its own."""
    return "rules" in yaml.safe_load(block.text)


@pytest.mark.parametrize("block", [b for b in BLOCKS if not is_protocol(b)], ids=str)
def test_a_yaml_block_is_a_valid_table_or_part_of_one(block: Block, tmp_path: Path) -> None:
    part = yaml.safe_load(block.text)
    assert isinstance(part, dict), f"{block}: a part of a table starts with its section, such as `outbound:`"
    path = tmp_path / "routes.yaml"
    path.write_text(block.text if "version" in part else yaml.safe_dump(completed(part), sort_keys=False))
    table, findings = examine(path, surroundings=False)
    assert table is not None, f"{block}\n" + "\n".join(map(str, findings))


@pytest.mark.parametrize("block", [b for b in BLOCKS if is_protocol(b)], ids=str)
def test_a_protocol_in_the_documentation_is_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text(block.text)
    assert len(load_protocol(path).rules) == len(yaml.safe_load(block.text)["rules"])
