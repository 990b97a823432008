"""What `pons check` finds in the block of an SFTP channel: each mistake with its place and remedy."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config import examine

pytestmark = pytest.mark.sftp


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A public key, in a file beside the table too."""
    file = tmp_path / "stm"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file.with_suffix(".pub").read_text().strip()


def findings(folder: Path, *, site: dict[str, Any] | None = None, **drop: Any) -> list[str]:
    """What is found, of errors, in a table with this channel."""
    table = {
        "version": 1,
        "sites": {"st-marys": {"name": "St. Mary's", "addresses": ["10.1.2.3"], **(site or {})}},
        "inbound": {
            "pacs": {"type": "c_store", "listen": "127.0.0.1:11112"},
            "drop": {"type": "sftp", **drop},
        },
    }
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False))
    _, found = examine(path)
    return [f"{one.path}: {one.message}" for one in found if one.severity == "error"]


def test_a_channel_with_keys_in_the_table_or_in_a_file_is_sound(tmp_path: Path, key: str) -> None:
    assert findings(tmp_path, users={"a": {"site": "st-marys", "keys": [key]}}) == []
    in_file = {"site": "st-marys", "authorized_keys": {"file": "stm.pub"}}
    assert findings(tmp_path, users={"a": in_file}) == []


def test_mistakes_are_told_with_their_place(tmp_path: Path, key: str) -> None:
    [told] = findings(tmp_path, users={"a": {"site": "nowhere", "keys": [key]}})
    assert "inbound.drop" in told
    assert "users.a.site: there is no site 'nowhere'; add it to sites" in told

    [told] = findings(tmp_path, users={"a": {"site": "st-marys", "authorized_keys": {"file": "gone.pub"}}})
    assert told.startswith("inbound.drop.users.a.authorized_keys.file: ")
    assert "cannot be read" in told

    [told] = findings(tmp_path, users={"a": {"site": "st-marys", "keys": [key]}}, listen="127.0.0.1:11112")
    assert told == "inbound.drop.listen: port 11112 is taken by inbound.pacs; choose another one"

    (tmp_path / "host").write_text("no key")
    (tmp_path / "host").chmod(0o600)
    user = {"site": "st-marys", "keys": [key]}
    [told] = findings(tmp_path, users={"a": user}, host_key={"file": "host"})
    assert "host_key: is no OpenSSH private key without passphrase" in told
    assert findings(tmp_path, users={"a": user}, host_key={"file": "stm"}) == []
