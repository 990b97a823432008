"""Every way in has a port, or a path on the HTTP server, of its own.

Enters: a reading. Leave: findings about what two listeners would both need.
"""

from __future__ import annotations

import itertools

from engine.directory import is_everywhere, parse_address
from engine.finding import Location
from engine.reading import Reading


def check_listeners(reading: Reading) -> None:
    listeners: list[tuple[str, str, Location, str]] = []
    host, _, port = reading.engine.http.rpartition(":")
    listeners.append((host, port, ("engine", "http"), "engine.http"))
    for name, declared in reading.inbound.items():
        listen = getattr(declared.settings, "listen", None)
        if isinstance(listen, str) and ":" in listen:
            host, _, port = listen.rpartition(":")
            listeners.append((host, port, ("inbound", name, "listen"), f"inbound.{name}"))
    for host, _, location, _ in listeners:
        if is_everywhere(host):
            reading.warn(
                location,
                "listens on every address of this machine; name the tunnel's address or a loopback one",
                "listens-everywhere",
            )
    for (host, port, _, holder), (other, same, location, _) in itertools.combinations(listeners, 2):
        if port == same and port != "0" and _collide(host.strip("[]"), other.strip("[]")):
            message = f"port {port} is taken by {holder}; choose another one"
            reading.complain(location, message, "port-taken")


def check_mounted(reading: Reading) -> None:
    """Of two services under one path, the second would never be asked."""
    holders: dict[str, str] = {}
    for name, declared in reading.inbound.items():
        path = getattr(declared.settings, "path", None)
        if not isinstance(path, str):
            continue
        if path in holders:
            message = f"{path} is taken by inbound.{holders[path]}; choose another one"
            reading.complain(("inbound", name, "path"), message, "path-taken")
        holders.setdefault(path, name)


def _collide(one: str, other: str) -> bool:
    if is_everywhere(one) or is_everywhere(other):
        return True
    first, second = parse_address(one), parse_address(other)
    return one == other or (first is not None and first == second)
