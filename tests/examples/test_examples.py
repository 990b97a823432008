"""Every example table runs unedited: it is checked, its own tests pass, and its page tells its story."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.model import Report
from examples.phantom import make_phantom
from tests.engine.commands.table_house import pons

ROOT = Path(__file__).resolve().parents[2]
TABLES = [ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/routes.yaml"))]
STORIES = [table.parent for table in TABLES[1:]]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("table", TABLES, ids=name)
def test_a_table_has_no_finding(table: Path) -> None:
    done = pons("check", table)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("table", TABLES, ids=name)
def test_the_tests_of_a_table_pass(table: Path) -> None:
    assert len(yaml.safe_load(table.read_text())["tests"]) >= 2
    done = pons("test", table)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("table", TABLES, ids=name)
def test_the_tests_of_a_table_can_fail(table: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(table.read_text())
    assert content["tests"][0]["expect"]["routes"]
    content["tests"][0]["expect"] = {"routes": []}
    changed = table.with_name(f"changed-{tmp_path.name}.yaml")  # beside it, where its files are
    try:
        changed.write_text(yaml.safe_dump(content, sort_keys=False))
        done = pons("test", changed)
    finally:
        changed.unlink()
    assert done.exit_code == 1
    assert content["tests"][0]["name"] in done.output


def test_there_are_stories_enough_and_each_has_its_page() -> None:
    assert len(STORIES) >= 8
    assert [name(story) for story in STORIES if not (story / "README.md").is_file()] == []


@pytest.mark.parametrize("story", STORIES, ids=name)
def test_a_story_is_named_in_the_readme(story: Path) -> None:
    assert f"({name(story)}/README.md)" in (ROOT / "README.md").read_text()


def test_the_candidate_of_the_shadow_trial_keeps_the_folder_contract(tmp_path: Path) -> None:
    series, out = tmp_path / "in" / "series", tmp_path / "out"
    make_phantom(series, slices=2, volumes=2, size=32, b0=1)
    out.mkdir()
    candidate = ROOT / "examples" / "shadow-trial" / "candidate.py"
    subprocess.run([sys.executable, candidate, tmp_path / "in", out], check=True, timeout=60)
    report = Report.model_validate(json.loads((out / "result.json").read_text()))
    assert [finding.concept.value for finding in report.findings] == ["PONS-STB"]
    assert float(str(report.findings[0].value)) > 1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what `python -m examples.demo` needs, and something of an earlier demo."""
    for part in ("examples", "engine", "channels", "wg"):
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "kept").touch()
    return tmp_path


def demo(place: Path, table: str) -> str:
    """What a demo on this table says when it fails."""
    (place / "routes.yaml").write_text(table)
    command = [sys.executable, "-m", "examples.demo"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (place / "demo" / "kept").exists()
    return done.stdout


def test_a_taken_port_is_named_before_anything_is_emptied(place: Path, free_port: Callable[[], int]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port()))
        holder.listen()
        port = holder.getsockname()[1]
        said = demo(place, (ROOT / "routes.yaml").read_text().replace("11113", str(port)))
    assert f"pacs cannot listen on 127.0.0.1:{port}" in said


def test_a_mistake_in_the_table_is_shown_with_its_line(place: Path) -> None:
    said = demo(place, (ROOT / "routes.yaml").read_text().replace("hl7_oru", "hl7_orru"))
    assert "routes.yaml:37:19" in said
    assert "did you mean 'hl7_oru'?" in said
    assert "Traceback" not in said
