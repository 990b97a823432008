"""Secrets that everybody on the machine can read; what else a machine lacks is told in test_check.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checks.surroundings import readable_secrets
from engine.settings import Secret, Tls


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder to which everybody has a way, while the test lasts."""
    closed = [
        (one, mode) for one in (tmp_path, *tmp_path.parents) if not (mode := one.stat().st_mode) & 0o001
    ]
    for folder, mode in closed:
        folder.chmod(mode | 0o001)
    yield tmp_path
    for folder, mode in closed:
        folder.chmod(mode)


def test_a_key_that_all_can_read_is_told_and_a_certificate_is_no_secret(open_folder: Path) -> None:
    for name in ("key.pem", "certificate.pem", "ca.pem"):
        (open_folder / name).write_text("PEM")
        (open_folder / name).chmod(0o644)
    tls = Tls(
        ca=Secret(file=open_folder / "ca.pem"),
        certificate=Secret(file=open_folder / "certificate.pem"),
        key=Secret(file=open_folder / "key.pem"),
    )
    assert list(readable_secrets(tls)) == [("key", "file")]
    assert list(readable_secrets({"environment": [tls]})) == [("environment", 0, "key", "file")]
    (open_folder / "key.pem").chmod(0o640)
    assert list(readable_secrets(tls)) == []


def test_a_key_in_a_closed_folder_is_safe(open_folder: Path) -> None:
    closed = open_folder / "secrets"
    closed.mkdir(mode=0o700)
    (closed / "key.pem").write_text("PEM")
    (closed / "key.pem").chmod(0o644)
    assert list(readable_secrets(Tls(key=Secret(file=closed / "key.pem")))) == []
    closed.chmod(0o711)
    assert list(readable_secrets(Tls(key=Secret(file=closed / "key.pem")))) == [("key", "file")]


def test_a_secret_of_the_environment_or_that_is_gone_is_not_told(tmp_path: Path) -> None:
    assert list(readable_secrets(Secret(env="X"))) == []
    assert list(readable_secrets(Secret(file=tmp_path / "none"))) == []
