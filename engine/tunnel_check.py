"""What is wrong with a table's tunnels: addresses, forwards, destinations, and the register on this machine.

Enters: a reading. Leave: more findings in it. A destination inside a tunnel must be its own site's, on a port
that leads somewhere: a result must not leave by another hospital's wire, and not to nobody.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from engine.finding import Location
from engine.reading import Reading
from engine.tunnel import called_of, disagreements, parsed
from wg.register import RegisterError
from wg.store import TunnelFolder


def check_tunnels(reading: Reading) -> None:
    """Add every finding about tunnels that the table alone can show."""
    _check_addresses(reading)
    _check_destinations(reading)


def check_register(reading: Reading) -> None:
    """Add where the table and the register of this machine do not agree."""
    hub = reading.tunnel
    if hub is None or not (hub.folder / "register.json").exists():
        return
    try:
        register = TunnelFolder(hub.folder, hub.block).load()
    except (RegisterError, OSError) as error:
        reading.complain(("tunnel",), str(error), "register-disagrees")
        return
    for one in disagreements(reading.sites, register):
        if one.site not in reading.sites:
            reading.warn(("sites",), f"site {one.site} {one.why}", "register-disagrees")
            continue
        tell = reading.complain if one.mistaken else reading.warn
        tell(("sites", one.site, "tunnel"), one.why, "register-disagrees")


def _check_addresses(reading: Reading) -> None:
    hub = reading.tunnel
    if hub is None:
        return
    for key, site in reading.sites.items():
        address = parsed(site.tunnel) if site.tunnel else None
        if address is None:
            continue
        location: Location = ("sites", key, "tunnel")
        if not isinstance(address, IPv4Address) or address not in hub.block.ipv4:
            reading.complain(location, f"is not in the tunnels' block {hub.block.ipv4}", "tunnel-address")
        elif address in (
            hub.block.hub_ipv4,
            hub.block.ipv4.network_address,
            hub.block.ipv4.broadcast_address,
        ):
            message = "is the hub's own, or no host's; `pons site add` gives a free one"
            reading.complain(location, message, "tunnel-address")


def _check_destinations(reading: Reading) -> None:
    by_address = {site.tunnel: site for site in reading.sites.values() if site.tunnel}
    for name, declared in reading.outbound.items():
        called = called_of(declared.settings)
        inside = by_address.get(called[0]) if called else None
        if called is None or inside is None or declared.settings.site not in reading.names("sites"):
            continue
        field = "host" if hasattr(declared.settings, "host") else "url"
        if inside.key != declared.settings.site:
            reading.complain(
                ("outbound", name, field),
                f"lies in the tunnel of site {inside.key}; "
                f"the destination is of site {declared.settings.site}",
                "across-sites",
            )
        elif inside.forwards and called[1] not in dict(inside.forwards):
            ports = ", ".join(str(port) for port, _ in inside.forwards)
            reading.complain(
                ("outbound", name, "port" if field == "host" else field),
                f"no forward of site {inside.key} has port {called[1]}; its forwards are {ports}",
                "no-forward",
            )
