"""A hub whose services run as their systemd units say: as nobody, the tunnels' with CAP_NET_ADMIN only.

`as_unit.py` stands for systemd. The hub has /run and /dev/net of its own, in which the tun device is open to
all, as udev has it. Its operator is the services' user, without any right. A gateway that wants its kit
reaches the engine's HTTP on the wire, as it would reach a public address.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.tunnel.rig import HTTP, PONS, ROOT, Rig
from tests.wg.netns import Network, network
from wg.unit import render_engine_unit, render_tunnel_unit

USER = "nobody"
SITES = {"a": {"tunnel": "100.64.0.2"}}
AS_UNIT = str(Path(__file__).with_name("as_unit.py"))

MACHINE = """
umask 022
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /dev/net
mknod -m 666 /dev/net/tun c 10 200
"""


def machine() -> str:
    """What makes the hub's mount namespace; a Python in somebody's home is laid open to the user there."""
    installed = {str(Path(one).resolve()) for one in (sys.prefix, sys.base_prefix, ROOT)}
    homes = [home for home in ("/home", "/root") if any(one.startswith(f"{home}/") for one in installed)]
    kept = {one: f"/run/kept/{n}" for n, one in enumerate(sorted(installed)) if one.startswith(tuple(homes))}
    steps = [MACHINE]
    steps += [f"mkdir -p {place}\nmount --bind {path} {place}" for path, place in kept.items()]
    steps += [f"mount -t tmpfs -o mode=755 none {home}" for home in homes]
    steps += [f"mkdir -p {path}\nmount --bind {place} {path}" for path, place in kept.items()]
    return "\n".join([*steps, "echo made", "exec sleep infinity"])


class SealedRig(Rig):
    """The arrangement under its units."""

    def __init__(self, net: Network, folder: Path) -> None:
        super().__init__(net, folder)
        log = folder / "machine.log"
        self._machine = self.hub.start("unshare", "--mount", "sh", "-ec", machine(), log=log)
        wait_until(lambda: "made" in log.read_text(), "the hub's own /run and /dev/net", 30)
        here = (folder / "data", folder / "tunnel")
        self.units = {
            "pons": render_engine_unit(Path(PONS), self.table, here, USER),
            "pons-tunnel": render_tunnel_unit(Path(PONS), self.table, folder / "tunnel", USER),
        }
        for path in here:
            path.mkdir(mode=0o700)
        for service, text in self.units.items():
            (folder / f"{service}.service").write_text(text)
        account = pwd.getpwnam(USER)
        for path in (folder, *here):
            os.chown(path, account.pw_uid, account.pw_gid)

    @property
    def public_url(self) -> str:
        """Where the engine's HTTP is on the wire."""
        return f"http://{self.hub.address}:{HTTP}"

    def confined(self, service: str, *command: str) -> list[str]:
        """The command as a process of this unit."""
        return [
            *self._inside(),
            "unshare",
            "--mount",
            sys.executable,
            AS_UNIT,
            str(self.folder / f"{service}.service"),
            *command,
        ]

    def launch(self, service: str, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """A service as its unit says."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.confined(service, *command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.hub.processes.append(process)
        return process

    def run_as(self, service: str, *arguments: str, expect: int = 0) -> str:
        """A command of `pons` with the rights of this unit; what it says."""
        return self.asked(service, self.confined(service), *arguments, expect=expect)

    def pons(self, *arguments: str, expect: int = 0) -> str:
        """The tunnel's commands have its unit's rights, all others have none."""
        return self.run_as("pons-tunnel" if arguments[0] == "tunnel" else "pons", *arguments, expect=expect)

    def shell(self, *arguments: str) -> str:
        """A command of `pons` in a shell of the services' user, `sudo -u`; what it says."""
        became = ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups"]
        words = [*self._inside(), *became, PONS, *arguments, "--table", str(self.table)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _inside(self) -> list[str]:
        """The hub's namespaces: `ip netns exec` and `unshare` have become the process that stays in them."""
        return ["nsenter", "--target", str(self._machine.pid), "--mount", "--net"]


@pytest.fixture(scope="module")
def sealed() -> Iterator[SealedRig]:
    """Hub and engine under their units; site a has a place in the table and no tunnel yet."""
    folder = Path(tempfile.mkdtemp(prefix="pons-", dir="/srv"))  # /tmp and /home are hidden from the units
    try:
        folder.chmod(0o755)
        with network("hub", "a") as net, contextlib.closing(SealedRig(net, folder)) as made:
            made.write_table(SITES, http=f"0.0.0.0:{HTTP}")
            made.start_tunnel()
            made.start_engine()
            yield made
            made.stop_engine()
            made.stop_tunnel()
    finally:
        shutil.rmtree(folder)
