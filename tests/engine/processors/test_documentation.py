"""What docs/processors says is what the software does."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.channel import Job, ProcessorContext, ProcessorType
from engine.processors import command, quality_control
from engine.processors.outcome import read_report
from engine.processors.quality.protocol import load_protocol

PAGES = Path(__file__).parents[3] / "docs" / "processors"
TYPES: dict[str, ProcessorType] = {
    "command": command.PROCESSOR,
    "quality_control": quality_control.PROCESSOR,
}


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", TYPES)
def test_the_documented_block_builds(name: str, tmp_path: Path) -> None:
    documented: dict[str, dict[str, Any]] = yaml.safe_load(blocks(name, "yaml")[0])["processors"]
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "ours.yaml").write_bytes(quality_control.PACKAGED_PROTOCOL.read_bytes())
    for key, block in documented.items():
        kind = TYPES[block.pop("type")]
        assert kind.name == name
        assert kind.build(kind.settings.model_validate(block), ProcessorContext(key, tmp_path)) is not None


@pytest.mark.parametrize("name", TYPES)
def test_every_field_is_documented_and_no_other(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text("utf-8")
    table = text.partition("| field |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(TYPES[name].settings.model_fields)


def test_the_documented_rule_is_a_protocol(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(blocks("quality_control", "yaml")[1])
    assert [rule.id for rule in load_protocol(tmp_path / "ours.yaml").rules] == ["echo-time"]


def test_the_documented_result_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(blocks("command", "json")[0])
    (tmp_path / "overlay.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = read_report(tmp_path, 10_000)
    assert str(report.findings[0].value) == "3.50"


async def test_the_example_candidate_keeps_the_contract(
    phantom: Path, job: Callable[[Path], Job], tmp_path: Path
) -> None:
    candidate = Path(__file__).parents[3] / "examples" / "shadow-trial" / "candidate.py"
    block = command.CommandSettings.model_validate(
        {"command": [sys.executable, str(candidate), "{in}", "{out}"], "timeout": "60s"}
    )
    report = await command.PROCESSOR.build(block, ProcessorContext("candidate", tmp_path)).process(
        job(phantom)
    )
    assert report.findings
    assert all(finding.unit is not None for finding in report.findings)
