"""The tunnel's folder: the register and the keys, what outlives every process.

Enter: changes to the register. Leave: `register.json`, `hub.key`, `preshared/SITE.key`, each of mode 0600,
whole or not at all, changed by one process at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from wg.block import Block
from wg.key import (
    give_to_owner_of,
    make_preshared_key,
    make_private_folder,
    make_private_key,
    public_key,
    read_secret,
    write_secret,
)
from wg.register import Register, RegisterError, SiteTunnel

VERSION = 1


class TunnelFolder:
    """One hub's state on disk."""

    def __init__(self, folder: Path, block: Block) -> None:
        self.folder = folder
        self.file = folder / "register.json"
        self._block = block

    def load(self) -> Register:
        """The register as it is; an empty one before the first change."""
        file = self.file
        if not file.exists():
            return Register(self._block)
        try:
            document = json.loads(file.read_text())
            if document["version"] != VERSION:
                raise RegisterError(f"{file}: written by another release (version {document['version']})")
            block = Block(IPv4Network(document["ipv4"]), IPv6Network(document["ipv6"]))
            sites = tuple(SiteTunnel(**one) for one in document["sites"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegisterError(
                f"{file}: cannot be read ({type(error).__name__}); restore a backup"
            ) from None
        if sites and block != self._block:
            raise RegisterError(
                f"{file}: addresses were given from {block.ipv4}; the block cannot be changed"
            )
        return Register(self._block, sites)

    def change(self, work: Callable[[Register], tuple[Register, Any]]) -> Any:
        """Change the register while nobody else does; returns what ``work`` gives beside it.

        ``work`` asks this folder for nothing: it would wait for itself.
        """
        with self._locked():
            register, value = work(self.load())
            document = {
                "version": VERSION,
                "ipv4": str(register.block.ipv4),
                "ipv6": str(register.block.ipv6),
                "sites": [asdict(one) for one in register.sites],
            }
            write_secret(self.file, json.dumps(document, indent=1))
        return value

    def hub_private_key(self) -> str:
        """The hub's private key, made at the first call."""
        file = self.folder / "hub.key"
        if not file.exists():
            with self._locked():
                if not file.exists():
                    write_secret(file, make_private_key())
        return read_secret(file)

    def hub_public_key(self) -> str:
        """What sites know the hub by."""
        return public_key(self.hub_private_key())

    def preshared_key(self, site: str) -> str:
        """The preshared key of a site, made at the first call."""
        file = self._preshared(site)
        if not file.exists():
            with self._locked():
                if not file.exists():
                    write_secret(file, make_preshared_key())
        return read_secret(file)

    def preshared_keys(self, register: Register) -> dict[str, str]:
        """Those of all enrolled sites."""
        return {one.site: self.preshared_key(one.site) for one in register.standing() if one.public_key}

    def forget(self, site: str) -> None:
        """Remove the preshared key of a revoked site: who comes again gets another."""
        self._preshared(site).unlink(missing_ok=True)

    def _preshared(self, site: str) -> Path:
        return self.folder / "preshared" / f"{site}.key"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_folder(self.folder)
        with (self.folder / "lock").open("a") as lock:
            give_to_owner_of(self.folder, lock.fileno())
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
