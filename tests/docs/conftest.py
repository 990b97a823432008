"""A copy of the checkout on ports of its own, where the demo has run: what a reader would have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "__pycache__", ".*_cache", "*.egg-info", ".hypothesis"
)
PORTS = ("8080", "11112", "11113", "2575", "8091", "8092")  # as in routes.yaml


@dataclass(frozen=True, slots=True)
class Checkout:
    """The copy: a folder, the environment of its reader, and the ports that replace the usual ones."""

    folder: Path
    environment: dict[str, str]
    ports: dict[str, str]

    def moved(self, text: str) -> str:
        """The text with every usual port replaced by the copy's own."""
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda match: self.ports[match[0]], text)

    def bash(self, script: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a script as a reader would type it."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.moved(script)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Checkout:
    """The copy, set up: its `.venv` is this environment, and counts as made."""
    folder = tmp_path_factory.mktemp("checkout") / "pons"
    for entry in sorted(ROOT.iterdir()):
        if entry.name not in ("demo", "data"):
            if entry.is_file():
                folder.mkdir(exist_ok=True)
                shutil.copy2(entry, folder / entry.name)
            elif entry.name not in LEFT_BEHIND(str(ROOT), [entry.name]):
                shutil.copytree(entry, folder / entry.name, ignore=LEFT_BEHIND)
    venv = folder / ".venv"
    venv.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (venv / part).symlink_to(ROOT / ".venv" / part)
    (venv / ".stamp").touch()
    # What the make that runs the tests was given is not for the make of a reader.
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))
    }
    copy = Checkout(
        folder,
        {**ours, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(folder)},
        {port: str(free_port()) for port in PORTS},
    )
    table = folder / "routes.yaml"
    table.write_text(copy.moved(table.read_text()))
    return copy


@pytest.fixture(scope="session")
def demonstrated(checkout: Checkout) -> Checkout:
    """The copy after `make demo`."""
    done = checkout.bash("make demo", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (checkout.folder / "demo" / "said.txt").write_text(done.stdout)
    return checkout
