"""What the engine itself needs of its machine: a folder to write, a password, addresses to listen on.

Enters: a reading. Leave: findings about its `engine:` section and its listeners. Nothing is made or bound;
whether a port is free at this moment is for `engine.checks.online`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from engine.checks.surroundings import missing_in
from engine.directory import parse_address
from engine.finding import Location, shown
from engine.reading import Reading


def check_machine(reading: Reading) -> None:
    """The engine could open its folder and its database, and listen where the table says."""
    _check_data(reading)
    password = reading.engine.database_password
    if password is not None:
        for inner, message, code in missing_in(password):
            reading.complain(("engine", "database_password", *inner), message, code)
    for host, location in _hosts(reading):
        if host and parse_address(host) is None and not _is_known(host):
            message = f"this machine knows no address of {shown(host)}; listen on an address of its own"
            reading.complain(location, message, "unknown-address")


def _check_data(reading: Reading) -> None:
    """What nobody could write is refused; what only this user cannot, who may not be the engine's, is not."""
    folder = reading.engine.data.absolute()
    there = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), Path("/"))
    if not there.is_dir():
        message = f"{there} is no folder, so nothing can be kept there; name another, or move it away"
        reading.complain(("engine", "data"), message, "bad-data-folder")
    elif not os.access(there, os.W_OK | os.X_OK):
        message = f"{there} cannot be written by this user; run as the engine's, or give it the folder"
        reading.warn(("engine", "data"), message, "bad-data-folder")


def _hosts(reading: Reading) -> list[tuple[str, Location]]:
    listens: list[tuple[str, Location]] = [(reading.engine.http, ("engine", "http"))]
    listens += [
        (listen, ("inbound", name, "listen"))
        for name, declared in reading.inbound.items()
        if isinstance(listen := getattr(declared.settings, "listen", None), str)
    ]
    return [(listen.rpartition(":")[0].strip("[]"), location) for listen, location in listens]


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return True
