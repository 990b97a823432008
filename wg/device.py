"""The hub's interface on this machine: made, read, changed by differences, taken down.

Enter: the wanted state. Leave: a kernel WireGuard interface, or wireguard-go where the kernel has none, with
exactly the wanted peers, addresses and rules. Needs CAP_NET_ADMIN, and nothing else of root's powers. Keys
reach `wg` by files of mode 0600 in a folder that only we can read: an argument list is open to everyone.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError
from wireguard_tools.wireguard_config import WireguardConfig
from wireguard_tools.wireguard_device import WireguardDevice

from wg.block import Block
from wg.difference import commands, difference, secret_file
from wg.key import write_secret
from wg.peer import Peer, Standing, checked_interface

PATIENCE = 30.0  # seconds for one command; loading ten thousand peers takes two
SOCKETS = Path("/var/run/wireguard")


class DeviceError(Exception):
    """The machine did not do what was asked; the message says which command and why."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What the hub's interface should be, apart from its peers."""

    name: str
    listen_port: int
    block: Block
    mtu: int = 1280

    def __post_init__(self) -> None:
        checked_interface(self.name)


def up(interface: Interface, private_key: str) -> bool:
    """Make the interface, or leave it as it stands; whether it was made. Peers are `sync`'s."""
    made = not exists(interface.name)
    if made:
        _create(interface.name)
    with _secrets() as folder:
        file = folder / "hub"
        write_secret(file, private_key)
        _run("wg", "set", interface.name, "listen-port", str(interface.listen_port), "private-key", str(file))
    block = interface.block
    _run("ip", "address", "replace", f"{block.hub_ipv4}/{block.ipv4.prefixlen}", "dev", interface.name)
    _run(
        "ip", "address", "replace", f"{block.hub_ipv6}/{block.ipv6.prefixlen}", "dev", interface.name, "nodad"
    )
    _run("ip", "link", "set", interface.name, "mtu", str(interface.mtu), "up")
    return made


def down(name: str) -> None:
    """Remove the interface; harmless when it is not there."""
    if exists(name):
        _run("ip", "link", "delete", checked_interface(name))


def exists(name: str) -> bool:
    """Whether the interface stands."""
    try:
        socket.if_nametoindex(checked_interface(name))
    except OSError:
        return False
    return True


def sync(name: str, wanted: Sequence[Peer]) -> int:
    """Give the interface exactly these peers, touching only those that differ; how many changed."""
    changes = difference(wanted, [one.peer for one in read(name)])
    if not changes:
        return 0
    with _secrets() as folder:
        for change in changes:
            if change.preshared_key_differs and change.peer.preshared_key:
                write_secret(secret_file(folder, change.peer), change.peer.preshared_key)
        for command in commands(name, changes, folder):
            _run(*command)
    return len(changes)


def read(name: str) -> list[Standing]:
    """The peers of the interface and when each was last heard.

    Raises:
        DeviceError: there is no such interface, or nobody answers for it.
    """
    if not exists(name):
        raise DeviceError(f"there is no interface {name}; `pons tunnel up` makes it")
    try:
        with closing(WireguardDevice.get(name)) as device:
            config: WireguardConfig = device.get_config()
    except (OSError, RuntimeError, NetlinkError) as error:
        raise DeviceError(f"interface {name} cannot be read: {type(error).__name__}") from None
    found = []
    for key, one in config.peers.items():
        endpoint = f"{one.endpoint_host}:{one.endpoint_port}" if one.endpoint_host else ""
        if one.endpoint_host and ":" in str(one.endpoint_host):
            endpoint = f"[{one.endpoint_host}]:{one.endpoint_port}"
        peer = Peer(
            "unknown",
            str(key),
            tuple(ip_network(str(each)) for each in one.allowed_ips),
            str(one.preshared_key) if one.preshared_key else "",
            endpoint,
            one.persistent_keepalive or 0,
        )
        found.append(Standing(peer, one.last_handshake or 0.0, one.rx_bytes or 0, one.tx_bytes or 0))
    return found


def load_rules(rules: str) -> None:
    """Put a table of nftables in place of its earlier self, in one transaction."""
    _run("nft", "-f", "-", stdin=rules)


def rules_stand(table: str = "pons") -> bool:
    """Whether there is such a table."""
    return f"table inet {table}\n" in _run("nft", "list", "tables", "inet")


def drop_rules(table: str = "pons") -> None:
    """Remove the table; harmless when it is not there."""
    _run("nft", "-f", "-", stdin=f"table inet {table}\ndelete table inet {table}\n")


def _create(name: str) -> None:
    """By the kernel when it can, else by wireguard-go, which goes on by itself in the background."""
    try:
        _run("ip", "link", "add", name, "type", "wireguard")
        return
    except DeviceError as error:
        if shutil.which("wireguard-go") is None:
            raise DeviceError(f"{error}; wireguard-go, which would do instead, is not installed") from None
    (SOCKETS / f"{name}.sock").unlink(missing_ok=True)  # left by a daemon that was killed
    _run("wireguard-go", name)
    deadline = time.monotonic() + 5
    while not (SOCKETS / f"{name}.sock").exists():
        if time.monotonic() > deadline:
            raise DeviceError("wireguard-go did not open its control socket within 5 s")
        time.sleep(0.01)


@contextmanager
def _secrets() -> Iterator[Path]:
    folder = Path("/dev/shm")  # noqa: S108 memory, never a disk; mkdtemp makes a private folder
    with tempfile.TemporaryDirectory(prefix="pons-", dir=folder if folder.is_dir() else None) as made:
        yield Path(made)


def _run(*command: str, stdin: str | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 our own words, every value checked when it was made
            command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise DeviceError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{' '.join(command[:3])} did not end within {PATIENCE:g} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise DeviceError(f"{' '.join(command[:3])}: {said}")
    return done.stdout
