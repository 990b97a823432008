"""The commands of a fresh machine: what `make` passes on, what it refuses, what it says is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"demo", "run", "test", "check", "bench", "peers", "docs", "pictures", "venv", "clean"}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as if the environment were made, and as if no other make ran this test."""
    command = ["make", "--old-file=.venv/.stamp", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=outside)


def test_bare_make_lists_every_target() -> None:
    listed = re.findall(r"^make (\w+)", make().stdout, re.MULTILINE)
    assert set(listed) == TARGETS


@pytest.mark.parametrize("target", ["test", "demo", "run"])
def test_arguments_are_passed_on(target: str) -> None:
    said = make("--dry-run", target, 'ARGS=-m "peers and not faults" -q').stdout
    assert said.splitlines()[-1].endswith(' -m "peers and not faults" -q')


def test_the_tests_run_after_the_checks_have_passed_and_the_peers_are_there() -> None:
    said = make("--dry-run", "test").stdout
    steps = [
        said.index(step) for step in ("ruff format --check", "lint-imports", ".ci/peers.sh", "-m pytest")
    ]
    assert steps == sorted(steps)


def test_a_bench_without_a_name_is_asked_for_one() -> None:
    done = make("bench")
    assert done.returncode == 2
    assert "make bench NAME=" in done.stderr


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "constraints.txt", tmp_path / ".ci")
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.exit(sys.version_info < (3, 11))` does there
    old.chmod(0o755)
    command = ["make", "venv", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"{old} is older than 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def bare_machine(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who is not root, on a machine without any peer in its PATH."""
    for tool in ("bash", "dirname", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    who = tmp_path / "id"
    who.write_text(f"#!{shutil.which('sh')}\necho 1000\n")
    who.chmod(0o755)
    return {"PATH": str(tmp_path)}


def peers(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / ".ci" / "peers.sh"], env=environment, capture_output=True, text=True)


def test_without_root_the_missing_packages_are_named(bare_machine: dict[str, str]) -> None:
    done = peers(bare_machine)
    assert done.returncode == 0, done.stderr
    (command,) = re.findall(r"apt-get install --no-install-recommends (.+)", done.stderr)
    assert {"dcmtk", "dicom3tools", "poppler-utils", "nodejs", "npm"} <= set(command.split())


def test_without_root_a_missing_peer_fails_the_gate(bare_machine: dict[str, str]) -> None:
    done = peers({**bare_machine, "CI": "true"})
    assert done.returncode == 1
    assert "dcmtk" in done.stderr


def test_what_is_there_is_not_installed_again() -> None:
    subprocess.run([ROOT / ".ci" / "peers.sh"], capture_output=True, check=True)
    done = subprocess.run([ROOT / ".ci" / "peers.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
