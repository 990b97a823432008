"""The channel that CONTRIBUTING.md adds is real: typed, within the contracts, found, and it delivers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.blocks import ROOT, SMALL_TABLE, blocks, completed

BIN = Path(sys.executable).parent
DELIVER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from engine.catalog import Catalog
from engine.channel import OutboundContext
from engine.errors import Refused
from engine.model import *

kind, folder = Catalog().outbound("folder"), Path(sys.argv[1])
settings = kind.settings(site="st-marys", folder=folder)
channel = kind.build(settings, OutboundContext("stm-files", Site("st-marys", "St. Mary's")))
now = datetime(2026, 3, 1, tzinfo=UTC)
result = Result(
    result_id="r1", site="st-marys", route="all", status=ResultStatus.FINAL, produced_at=now,
    patient=Patient(patient_id="P1"), order=Order(), study=StudyReference(study_instance_uid="1.2.3"),
    report=Report(algorithm=Algorithm(name="a", version="1")),
)
payload = channel.render(result, History(DeliveryId("d1"), now))
delivery = Delivery(DeliveryId("d1"), "stm-files", "P1", 1, now)

async def main():
    await channel.probe()
    for _ in range(2):
        print((await channel.deliver(payload, delivery)).code)
    Path(folder).rename(folder.with_name("gone"))
    try:
        await channel.probe()
    except Refused as refused:
        print(refused)

asyncio.run(main())
"""


@pytest.fixture
def tree(checkout: Any, tmp_path: Path) -> Path:
    """The copy of the checkout with the channel's file, and its entry point as an install makes it."""
    texts = {block.language: block.text for block in blocks(ROOT / "CONTRIBUTING.md")}
    (checkout.folder / "channels" / "outbound" / "folder.py").write_text(texts["python"])
    section, point = texts["toml"].strip().splitlines()
    assert section == '[project.entry-points."pons.outbound"]'
    record = tmp_path / "site" / "folder_channel-1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-channel\nVersion: 1\n")
    (record / "entry_points.txt").write_text(f"[pons.outbound]\n{point.replace(chr(34), '')}\n")
    return Path(checkout.folder)


def run(tree: Path, tmp_path: Path, *command: str | Path) -> str:
    environment = {"PYTHONPATH": f"{tree}:{tmp_path / 'site'}", "PATH": f"{BIN}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_file_passes_the_gate(tree: Path, tmp_path: Path) -> None:
    file = "channels/outbound/folder.py"
    run(tree, tmp_path, BIN / "ruff", "format", "--check", file)
    run(tree, tmp_path, BIN / "ruff", "check", file)
    run(tree, tmp_path, BIN / "mypy", "-m", "channels.outbound.folder")
    run(tree, tmp_path, BIN / "lint-imports", "--no-cache")


def test_its_example_is_a_valid_part_of_a_table(tree: Path, tmp_path: Path) -> None:
    (part,) = (yaml.safe_load(b.text) for b in blocks(ROOT / "CONTRIBUTING.md") if b.language == "yaml")
    assert "folder" not in SMALL_TABLE
    table = tmp_path / "routes.yaml"
    table.write_text(yaml.safe_dump(completed(part), sort_keys=False))
    run(tree, tmp_path, sys.executable, "-c", "from engine.cli import main; main()", "check", table)


def test_it_files_a_result_and_says_when_its_folder_is_gone(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    said = run(tree, tmp_path, sys.executable, "-c", DELIVER, folder).splitlines()
    assert said == ["filed", "filed", "the folder is missing or may not be written to"]
    (filed,) = (tmp_path / "gone").iterdir()
    assert filed.name == "d1.json"
    assert '"study_instance_uid": "1.2.3"' in filed.read_text()
