"""`pons tunnel`: the hub's interface, kept as the table and the register say.

Needs CAP_NET_ADMIN; the engine itself does not. `watch` is the service: it makes the interface, follows the
register and the table, writes down where each site was last heard from, and what the engine may tell of the
tunnels. `units` writes the services' files, with the rights that each needs.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.clock import at
from engine.commands.desk import AsJson, TablePath, show
from engine.errors import PonsError
from engine.table_in_force import table_in_force
from engine.tunnel import folder_of, rules
from engine.tunnel_hub import Follower, Hub, told
from wg import device
from wg.health import judge
from wg.probe import measure
from wg.unit import render_engine_unit, render_tunnel_unit

EVERY = 1.0  # seconds between looks at the files
PROBES = 32  # sites that are measured at a time

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
    tunnel.command("units")(show_units)
    app.add_typer(tunnel, name="tunnel")


def up(table: TablePath = Path("routes.yaml")) -> None:
    """Make the interface, load the firewall rules and every site's peer; repeat it freely."""
    hub = Hub(table_in_force(table))
    changed = hub.up()
    typer.echo(f"{hub.name} is up with {len(hub.folder.load().standing())} sites, {changed} peers changed")


def sync(table: TablePath = Path("routes.yaml")) -> None:
    """Change what differs on the interface, and nothing else."""
    hub = Hub(table_in_force(table))
    typer.echo(f"{hub.name}: {hub.sync()} peers changed")


def save(table: TablePath = Path("routes.yaml")) -> None:
    """Write down where each site was last heard from, so that a restart can reach it at once."""
    hub = Hub(table_in_force(table))
    hub.save()
    typer.echo(f"{hub.name}: endpoints saved")


def down(
    rules_too: Annotated[
        bool, typer.Option("--rules", help="Remove the firewall rules as well: for a hub that is given up.")
    ] = False,
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Remove the interface; the rules stay, so that nothing for a site leaves in clear, and the register."""
    hub = Hub(table_in_force(table))
    hub.down(rules_too=rules_too)
    typer.echo(f"{hub.name} is down")


def watch(table: TablePath = Path("routes.yaml"), every: Every = EVERY) -> None:
    """Keep the interface as it should be until told to stop; it stays when this ends."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hub = Hub(table_in_force(table))
    follower = Follower(table, hub)
    follower.start(time.monotonic())
    typer.echo(f"{hub.name} is up")
    said = ""
    while not stop.wait(every):
        try:
            follower.look(time.monotonic())
            said = ""
        except PonsError as error:
            if str(error) != said:  # once, not every second for a night
                said = str(error)
                typer.echo(said, err=True)
    hub.save()


def status(
    site: Annotated[str | None, typer.Argument(help="Of this site only.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also measure loss, round trip and the largest packet.")
    ] = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Each site's tunnel: when it was last heard, from where, how much went through."""
    hub = Hub(table_in_force(table))
    now = time.time()
    with told():
        known = hub.folder.load()
        if site is not None:
            known.site(site)  # or say that it has none
        found = judge(known, device.read(hub.name), now)
    rows: list[dict[str, Any]] = [
        {
            "site": one.site,
            "address": one.address,
            "state": one.state,
            "alive": "yes" if one.alive else "no",
            "last handshake": at(one.last_handshake).isoformat(timespec="seconds")
            if one.last_handshake
            else "never",
            "handshake age s": round(max(0.0, now - one.last_handshake)) if one.last_handshake else None,
            "endpoint": one.endpoint,
            "received": one.rx_bytes,
            "sent": one.tx_bytes,
        }
        for one in found
        if site in (None, one.site)
    ]
    if probe:
        # Side by side: a thousand silent sites would otherwise be three hours.
        with told(), ThreadPoolExecutor(PROBES) as pool:
            for row, quality in zip(
                rows, pool.map(measure, [str(row["address"]) for row in rows]), strict=True
            ):
                row |= {
                    "loss %": quality.loss,
                    "round trip ms": quality.round_trip,
                    "mtu": quality.mtu,
                }
    if not as_json:
        rows = [{name: "" if value is None else value for name, value in row.items()} for row in rows]
    show(rows, as_json, "no site has a tunnel")


def show_rules(table: TablePath = Path("routes.yaml")) -> None:
    """Print the firewall rules that `up` and `sync` load."""
    loaded = table_in_force(table)
    folder_of(loaded)
    typer.echo(rules(loaded), nl=False)


def show_units(
    out: Annotated[Path, typer.Option(help="Folder to write pons.service and pons-tunnel.service into.")],
    user: Annotated[
        str, typer.Option(help="Whom both services run as; owns data and tunnel folder.")
    ] = "pons",
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Write the systemd units: the engine without any right, the tunnels with CAP_NET_ADMIN."""
    loaded = table_in_force(table)
    folder_of(loaded)
    assert loaded.tunnel is not None
    program, here = Path(sys.argv[0]).resolve(), table.resolve()
    try:
        units = {
            "pons.service": render_engine_unit(
                program, here, (loaded.engine.data, loaded.tunnel.folder), user
            ),
            "pons-tunnel.service": render_tunnel_unit(program, here, loaded.tunnel.folder, user),
        }
    except ValueError as error:
        raise PonsError(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    for name, text in units.items():
        (out / name).write_text(text)
    typer.echo(f"{out}: {', '.join(sorted(units))}")
    folders = f"{loaded.engine.data} {loaded.tunnel.folder}"
    typer.echo(f"before the first start: install -d -m 700 -o {user} {folders}")
