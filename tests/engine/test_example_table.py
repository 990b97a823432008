"""The site stories as `pons init --example` copies them, from a checkout and from an installed wheel."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from engine import example_table
from engine.errors import ConfigurationError
from engine.example_table import copy_example, examples

ROOT = Path(__file__).parents[2]


def test_every_file_of_a_story_travels_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = {
        (folder.removeprefix("share/pons/"), path.relative_to(ROOT / folder.removeprefix("share/pons/")).name)
        for folder, patterns in project["tool"]["setuptools"]["data-files"].items()
        for pattern in patterns
        for path in ROOT.glob(pattern)
    }
    there = {
        (path.parent.relative_to(ROOT).as_posix(), path.name)
        for story in examples().values()
        for path in story.rglob("*")
        if path.is_file() and not {"__pycache__", "data"} & set(path.parts)
    }
    assert carried == there


def test_where_there_is_no_checkout_the_installed_stories_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tmp_path / "share" / "pons" / "examples" / "own-story"
    story.mkdir(parents=True)
    (story / "routes.yaml").write_text("version: 1\n")
    monkeypatch.setattr(example_table, "_PLACES", (tmp_path / "none", story.parent))
    assert examples() == {"own-story": story}


def test_a_secret_is_made_anew_and_kept_from_others(tmp_path: Path) -> None:
    for name, secret in (("stow-only-site", "secrets/hbr-events"), ("fhir-return", "secrets/rvs-fhir-token")):
        copy_example(name, tmp_path / name, {})
        copied, original = tmp_path / name / secret, ROOT / "examples" / name / secret
        assert copied.read_text() != original.read_text()
        assert copied.read_text().startswith("whsec_") == original.read_text().startswith("whsec_")
        assert stat.S_IMODE(copied.stat().st_mode) == 0o600


def test_where_one_file_is_there_none_is_written(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "northside.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"northside\.yaml is there already and is not overwritten"):
        copy_example("hospital-group", tmp_path, {})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["northside.yaml"]
