"""`pons tunnel`: the hub's interface, kept as the table and the register say.

Needs CAP_NET_ADMIN; the engine itself does not. `watch` is the service: it makes the interface, follows the
register and the table, writes down where each site was last heard from, and what the engine may tell of the
tunnels (`status.json` in the tunnel's folder).
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from engine.clock import at
from engine.commands.desk import AsJson, TablePath, show
from engine.config import load
from engine.errors import PonsError
from engine.table import Table
from engine.tunnel import folder_of, rules
from wg import device
from wg.health import heard, judge, with_endpoints
from wg.key import write_secret
from wg.peer import Peer, Standing
from wg.probe import measure
from wg.register import Register, RegisterError, peers, taken_over
from wg.store import TunnelFolder

EVERY = 2.0  # seconds between looks at the register
SAVE_EVERY = 60.0  # seconds between savings of the endpoints

Every = Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between two looks.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tunnel = typer.Typer(no_args_is_help=True, help="The hub's WireGuard interface.")
    tunnel.command("up")(up)
    tunnel.command("sync")(sync)
    tunnel.command("save")(save)
    tunnel.command("down")(down)
    tunnel.command("watch")(watch)
    tunnel.command("status")(status)
    tunnel.command("rules")(show_rules)
    app.add_typer(tunnel, name="tunnel")


def up(table: TablePath = Path("routes.yaml")) -> None:
    """Make the interface, load the firewall rules and every site's peer; repeat it freely."""
    loaded = load(table, surroundings=False)
    hub = _Hub(loaded)
    changed = hub.up()
    typer.echo(f"{hub.name} is up with {len(hub.folder.load().standing())} sites, {changed} peers changed")


def sync(table: TablePath = Path("routes.yaml")) -> None:
    """Change what differs on the interface, and nothing else."""
    hub = _Hub(load(table, surroundings=False))
    typer.echo(f"{hub.name}: {hub.sync()} peers changed")


def save(table: TablePath = Path("routes.yaml")) -> None:
    """Write down where each site was last heard from, so that a restart can reach it at once."""
    hub = _Hub(load(table, surroundings=False))
    hub.save(device.read(hub.name))
    typer.echo(f"{hub.name}: endpoints saved")


def down(table: TablePath = Path("routes.yaml")) -> None:
    """Remove the interface and the rules; the register stays."""
    hub = _Hub(load(table, surroundings=False))
    hub.down()
    typer.echo(f"{hub.name} is down")


def watch(table: TablePath = Path("routes.yaml"), every: Every = EVERY) -> None:
    """Keep the interface as it should be until told to stop; it stays when this ends."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hub = _Hub(load(table, surroundings=False))
    hub.up()
    typer.echo(f"{hub.name} is up")
    saved = time.monotonic()
    while not stop.wait(every):
        hub.follow(table)
        if time.monotonic() - saved >= SAVE_EVERY:
            hub.save(device.read(hub.name))
            saved = time.monotonic()
    hub.save(device.read(hub.name))


def status(
    site: Annotated[str | None, typer.Argument(help="Of this site only.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also measure loss, round trip and the largest packet.")
    ] = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Each site's tunnel: when it was last heard, from where, how much went through."""
    loaded = load(table, surroundings=False)
    hub = _Hub(loaded)
    with _told():
        if site is not None:
            hub.folder.load().site(site)  # or say that it has none
        found = judge(hub.folder.load(), device.read(hub.name), time.time())
    rows = []
    for one in found:
        if site not in (None, one.site):
            continue
        last = at(one.last_handshake).isoformat(timespec="seconds") if one.last_handshake else "never"
        rows.append(
            {
                "site": one.site,
                "address": one.address,
                "state": one.state,
                "alive": "yes" if one.alive else "no",
                "last handshake": last,
                "endpoint": one.endpoint,
                "received": one.rx_bytes,
                "sent": one.tx_bytes,
                **(_probed(one.address) if probe else {}),
            }
        )
    show(rows, as_json, "no site has a tunnel")


def _probed(address: str) -> dict[str, float]:
    quality = measure(address)
    return {"loss %": quality.loss, "round trip ms": quality.round_trip, "mtu": quality.mtu}


def show_rules(table: TablePath = Path("routes.yaml")) -> None:
    """Print the firewall rules that `up` and `sync` load."""
    loaded = load(table, surroundings=False)
    folder_of(loaded)
    typer.echo(rules(loaded), nl=False)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the tunnel's parts refuse, as the command line tells it."""
    try:
        yield
    except (device.DeviceError, RegisterError) as error:
        raise PonsError(str(error)) from None


def _take_over(known: Register, site: str) -> tuple[Register, None]:
    return taken_over(known, site), None


class _Hub:
    """The interface of one table."""

    def __init__(self, table: Table) -> None:
        self.folder: TunnelFolder = folder_of(table)
        self._table = table
        assert table.tunnel is not None
        self.name = table.tunnel.interface
        self._rules = ""

    def up(self) -> int:
        settings = self._table.tunnel
        assert settings is not None
        interface = device.Interface(self.name, settings.listen_port, settings.block, settings.mtu)
        with _told():
            # The rules first: an interface without them would let everyone at everything.
            self._load_rules()
            device.up(interface, self.folder.hub_private_key())
        return self.sync()

    def sync(self) -> int:
        """Make the peers as the register says; a new key that was heard takes over."""
        with _told():
            self._load_rules()
            standing = device.read(self.name)
            known = self.folder.load()
            changed = device.sync(self.name, self._wanted(known, standing))
            for entry in known.standing():
                if entry.next_public_key in heard(standing):
                    self.folder.change(partial(_take_over, site=entry.site))
            if any(one.next_public_key in heard(standing) for one in known.standing()):
                changed += device.sync(self.name, self._wanted(self.folder.load(), standing))
        self._tell(device.read(self.name))
        return changed

    def follow(self, path: Path) -> None:
        """Once more, by the table as it is now; a table with mistakes is not followed."""
        try:
            table = load(path, surroundings=False)
            if table.tunnel is not None and table.tunnel == self._table.tunnel:
                self._table = table
            self.sync()
        except PonsError as error:
            typer.echo(str(error), err=True)

    def save(self, standing: list[Standing]) -> None:
        self.folder.change(lambda now: (with_endpoints(now, standing), None))

    def down(self) -> None:
        with _told():
            if device.exists(self.name):
                self.save(device.read(self.name))
            device.down(self.name)
            device.drop_rules()

    def _load_rules(self) -> None:
        wanted = rules(self._table)
        if wanted != self._rules:
            device.load_rules(wanted)
            self._rules = wanted

    def _wanted(self, known: Register, standing: list[Standing]) -> list[Peer]:
        return peers(known, self.folder.preshared_keys(known), heard(standing))

    def _tell(self, standing: list[Standing]) -> None:
        """What the engine may know of the tunnels: no key is in it."""
        found = [asdict(one) for one in judge(self.folder.load(), standing, time.time())]
        document = {"at": time.time(), "interface": self.name, "sites": found}
        write_secret(self.folder.folder / "status.json", json.dumps(document))
