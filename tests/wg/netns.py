"""A small Internet of network namespaces: a hub, sites, an outsider, one wire between them.

    site a ──┐                     every machine has an address 192.0.2.N on the wire;
    site b ──┼── wire ── hub       nothing else of this host is in reach
   outside ──┘

Everything made here is named after this process and removed at the end. It needs root and /dev/net/tun.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_numbers = itertools.count(1)


def demand_prerequisites() -> None:
    """Fail, with the reason, where namespaces, tunnels or a program are not to be had."""
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root")
    if not Path("/dev/net/tun").exists():
        pytest.fail("/dev/net/tun is missing: wireguard-go cannot make an interface")
    for name, package in (("ip", "iproute2"), ("wg", "wireguard-tools"), ("nft", "nftables"),
                          ("wireguard-go", "wireguard-go"), ("ping", "iputils-ping")):  # fmt: skip
        if shutil.which(name) is None and shutil.which(name, path="/usr/sbin:/sbin") is None:
            pytest.fail(f"{name} is not installed: install the package {package}")


@dataclass
class Machine:
    """One namespace with its place on the wire."""

    name: str
    namespace: str
    address: str  # on the wire
    tag: str  # what makes interface names unique on this host
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def interface(self) -> str:
        """The name of its tunnel's interface: control sockets share one folder over all namespaces."""
        return f"w{self.tag}{self.name}"[:15]

    def argv(self, *command: str) -> list[str]:
        """A command as it runs inside."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def run(self, *command: str, expect: int | None = 0, timeout: float = 30, stdin: str = "") -> str:
        """Run to its end; the output of both kinds."""
        done = subprocess.run(
            self.argv(*command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        said = done.stdout + done.stderr
        assert expect is None or done.returncode == expect, (
            f"{self.name}: {command}: {done.returncode}\n{said}"
        )
        return said

    def reaches(self, address: str, port: int, timeout: float = 2.0) -> bool:
        """Whether a TCP connection from here is answered (taken or refused counts only if taken)."""
        script = f"import socket; socket.create_connection(({address!r}, {port}), {timeout}).close()"
        done = subprocess.run(
            self.argv("python3", "-c", script), capture_output=True, timeout=timeout + 10, check=False
        )
        return done.returncode == 0

    def start(self, *command: str, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start something that stays; it is ended with the network."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.argv(*command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self.processes.append(process)
        return process


class Network:
    """The wire and the machines on it."""

    def __init__(self, names: Sequence[str]) -> None:
        demand_prerequisites()
        self.tag = f"{os.getpid() % 100000:x}{next(_numbers)}"
        self._wire = f"pons-{self.tag}-wire"
        self.machines: dict[str, Machine] = {}
        _ip("netns", "add", self._wire)
        _ip("-n", self._wire, "link", "add", "wire", "type", "bridge")
        _ip("-n", self._wire, "link", "set", "wire", "up")
        for number, name in enumerate(names, start=1):
            self._add(name, f"192.0.2.{number}")

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def cut(self, name: str) -> None:
        """Pull a machine's cable."""
        _ip("-n", self._wire, "link", "set", f"to-{name}", "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        _ip("-n", self._wire, "link", "set", f"to-{name}", "up")

    def drop_longer_than(self, size: int) -> None:
        """The wire loses longer packets and tells nobody, as a path does whose ICMP is filtered."""
        rules = f"""
            table bridge narrow {{ chain forward {{
                type filter hook forward priority 0; policy accept;
                ether type ip @nh,16,16 > {size} counter drop
            }}
            }}
            """
        done = subprocess.run(
            ["ip", "netns", "exec", self._wire, "nft", "-f", "-"],
            input=rules, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _add(self, name: str, address: str) -> None:
        machine = Machine(name, f"pons-{self.tag}-{name}", address, self.tag)
        self.machines[name] = machine
        _ip("netns", "add", machine.namespace)
        _ip("-n", self._wire, "link", "add", f"to-{name}", "type", "veth",
            "peer", "name", "eth0", "netns", machine.namespace)  # fmt: skip
        _ip("-n", self._wire, "link", "set", f"to-{name}", "master", "wire", "up")
        _ip("-n", machine.namespace, "link", "set", "lo", "up")
        _ip("-n", machine.namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", machine.namespace, "link", "set", "eth0", "up")
        # As on any machine: what has no better route leaves by the wire.
        _ip("-n", machine.namespace, "route", "add", "default", "via", "192.0.2.254", "onlink", "dev", "eth0")

    def close(self) -> None:
        """End what was started, then remove everything."""
        for machine in self.machines.values():
            for process in machine.processes:
                process.terminate()
            for process in machine.processes:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)
        for machine in self.machines.values():
            # Its daemon ends with its interface.
            subprocess.run(["ip", "-n", machine.namespace, "link", "del", machine.interface],
                           capture_output=True, check=False)  # fmt: skip
            _ip("netns", "del", machine.namespace)
        _ip("netns", "del", self._wire)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def inside(net: Network, site: str, gateway: str, addresses: Sequence[str]) -> Machine:
    """A machine in a site's own network, behind its gateway, with these addresses."""
    outer = net[site]
    name = f"{site}-lan"
    machine = Machine(name, f"pons-{net.tag}-{name}", addresses[0].partition("/")[0], net.tag)
    net.machines[name] = machine
    _ip("netns", "add", machine.namespace)
    _ip("-n", outer.namespace, "link", "add", "lan0", "type", "veth",
        "peer", "name", "eth0", "netns", machine.namespace)  # fmt: skip
    _ip("-n", outer.namespace, "address", "add", gateway, "dev", "lan0")
    _ip("-n", outer.namespace, "link", "set", "lan0", "up")
    for address in addresses:
        _ip("-n", machine.namespace, "address", "add", address, "dev", "eth0")
    _ip("-n", machine.namespace, "link", "set", "lo", "up")
    _ip("-n", machine.namespace, "link", "set", "eth0", "up")
    return machine


@contextlib.contextmanager
def network(*names: str) -> Iterator[Network]:
    """A network that is gone afterwards, whatever happens."""
    made = Network(names)
    try:
        yield made
    finally:
        made.close()
