"""The tunnel's folder: private, whole, one change at a time, and its owner's whoever writes."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wg.block import Block
from wg.key import make_private_key, write_secret
from wg.register import Register, RegisterError, admit, revoke
from wg.store import TunnelFolder

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> TunnelFolder:
    return TunnelFolder(tmp_path / "tunnel", Block())


def add(folder: TunnelFolder, site: str) -> str:
    def work(known: Register) -> tuple[Register, str]:
        changed, entry, _ = admit(known, site, NOW)
        return changed, entry.ipv4

    address: str = folder.change(work)
    return address


def test_what_is_kept_is_read_again(folder: TunnelFolder) -> None:
    assert folder.load() == Register(Block())
    add(folder, "north")
    folder.change(lambda known: (revoke(known, "north", NOW), None))
    add(folder, "south")
    assert [(one.site, one.state) for one in folder.load().sites] == [
        ("north", "revoked"),
        ("south", "invited"),
    ]


def test_everything_is_private(folder: TunnelFolder) -> None:
    umask = os.umask(0)
    try:
        add(folder, "north")
        folder.hub_public_key()
        folder.preshared_key("north")
    finally:
        os.umask(umask)
    files = {path for path in folder.folder.rglob("*") if path.is_file() and path.name != "lock"}
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = (folder.folder, folder.folder / "preshared")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_changes_of_many_at_once_are_all_kept(folder: TunnelFolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda number: add(folder, f"site-{number}"), range(24)))
    assert len(set(given)) == 24
    assert len(folder.load().sites) == 24


def test_the_first_key_of_a_site_is_its_key_whoever_asks_at_once(folder: TunnelFolder) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(folder.preshared_key, [f"site-{number}"] * 8))) == 1


def test_a_change_that_fails_changes_nothing(folder: TunnelFolder) -> None:
    add(folder, "north")
    before = folder.file.read_bytes()
    with pytest.raises(RegisterError):
        folder.change(lambda known: (revoke(known, "south", NOW), None))
    assert folder.file.read_bytes() == before
    assert add(folder, "south") == "100.64.0.3", "and the next one waits for nobody"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_secret(tmp_path / "hub.key", "old")
    with pytest.raises(UnicodeEncodeError):
        write_secret(tmp_path / "hub.key", "\ud800")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("hub.key", "old\n")]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "ipv4": "x"}'])
def test_a_register_that_is_none_is_refused_and_left(folder: TunnelFolder, text: str) -> None:
    add(folder, "north")
    folder.file.write_text(text)
    for attempt in (folder.load, lambda: add(folder, "south")):
        with pytest.raises(RegisterError, match=r"register\.json: "):
            attempt()
    assert folder.file.read_text() == text


def test_a_key_that_others_may_read_is_refused(folder: TunnelFolder) -> None:
    folder.hub_public_key()
    (folder.folder / "hub.key").chmod(0o640)
    with pytest.raises(PermissionError, match="may be read by others: chmod 600 it"):
        folder.hub_public_key()


@pytest.mark.tunnel
def test_what_root_writes_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """An operator's `sudo pons site add` must not shut the services out of their own files."""
    home = tmp_path / "etc"
    home.mkdir()
    os.chown(home, 65534, 65534)
    folder = TunnelFolder(home / "tunnel", Block())
    add(folder, "north")
    folder.hub_public_key()
    folder.preshared_key("north")
    write_secret(folder.file, make_private_key(), durable=False)
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in home.rglob("*")}
    assert owners == {(65534, 65534)}
