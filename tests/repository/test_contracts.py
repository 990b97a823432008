"""The import contracts hold, and they can fail: each is broken once on purpose."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOOR = {"engine.channel", "engine.model", "engine.errors"}
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

BREACHES = [  # where, what is written there
    pytest.param("wg/breach.py", "import engine.model", id="wg looks up to the engine"),
    pytest.param("engine/breach.py", "import channels", id="the engine knows a channel"),
    pytest.param(
        "channels/outbound/breach.py", "import engine.spool", id="a channel reaches past the contract"
    ),
    pytest.param("channels/outbound/breach.py", "import channels.inbound", id="a way out knows a way in"),
    pytest.param("channels/content/breach.py", "import socket", id="content opens a socket"),
    pytest.param("channels/content/breach.py", "import channels.transport", id="content knows a transport"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in ("engine", "channels", "wg"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "breach"), BREACHES)
def test_a_breach_is_found(tree: Path, path: str, breach: str) -> None:
    (tree / path).write_text(breach + "\n")
    done = lint(tree)
    assert done.returncode != 0
    assert path.removesuffix(".py").replace("/", ".") in done.stdout


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
            if node.module == "engine":
                names.update(f"engine.{alias.name}" for alias in node.names)
    return names - {"engine"}


def test_a_channel_imports_the_engine_by_its_one_door() -> None:
    files = sorted((ROOT / "channels").rglob("*.py"))
    assert len(files) > 10
    others = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if name.split(".")[0] == "engine" and name not in DOOR
    }
    assert others == set()
