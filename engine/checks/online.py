"""What only the network and the moment can tell: whether destinations answer, whether ports are free.

Enters: a table without errors. Leave: how each destination answered, and findings. A destination is asked
for a sign of life as its channel does it (C-ECHO, an HTTP request, a TCP connection); no patient data is
ever sent, and nothing is bound for longer than a look.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from engine.channel import Inquisitive, OutboundContext, OutboundType
from engine.data_folder import is_in_use
from engine.errors import PonsError
from engine.finding import Finding, Location, Mark
from engine.table import Declared, Table
from engine.tunnel import called_of

AT_ONCE = 16  # destinations asked at a time


@dataclass(frozen=True, slots=True)
class Probe:
    """How one destination answered."""

    destination: str
    type: str
    peer: str  # "10.90.7.2:104"; empty where its settings name none
    seconds: float
    reason: str = ""  # why it counts as not answering; empty when it answered
    takes_not: tuple[str, ...] = ()  # what it would not take, and what becomes of that

    @property
    def answered(self) -> bool:
        """Whether it gave a sign of life."""
        return not self.reason


async def probe_all(table: Table, patience: float) -> list[Probe]:
    """Ask every destination, in the order of the table; each has ``patience`` seconds."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(declared: Declared[OutboundType]) -> Probe:
        async with turn:
            return await _probe(table, declared, patience)

    return list(await asyncio.gather(*(ask(declared) for declared in table.outbound.values())))


async def _probe(table: Table, declared: Declared[OutboundType], patience: float) -> Probe:
    called = called_of(declared.settings)
    peer = f"{called[0]}:{called[1]}" if called else ""
    site = table.sites[declared.settings.site]
    began = time.monotonic()
    reason, took = "", 0.0
    takes_not: tuple[str, ...] = ()
    try:
        channel = declared.type.build(
            declared.settings, OutboundContext(declared.name, site, table.engine.ae_title)
        )
        async with asyncio.timeout(patience):
            await channel.probe()
            took = time.monotonic() - began
            if isinstance(channel, Inquisitive):
                takes_not = tuple(await channel.inquire())
    except TimeoutError:
        reason = f"no answer within {patience:g} s"
    except (PonsError, OSError) as error:
        reason = str(error) or type(error).__name__
    except Exception as error:  # a channel may fail in any way; the others are told of all the same
        reason = f"unexpected {type(error).__name__}"
    took = took or time.monotonic() - began
    return Probe(declared.name, declared.type.name, peer, took, reason, takes_not)


def findings_of(table: Table, probes: list[Probe]) -> Iterator[Finding]:
    """An error for each destination that does not answer, where the table declares it."""
    for probe in probes:
        if not probe.answered:
            mark = _mark(table.outbound[probe.destination].position)
            yield Finding.at(mark, ("outbound", probe.destination), probe.reason, code="no-answer")


# ── ports ───────────────────────────────────────────────────────────────────────────────────────


def ports_in_use(table: Table) -> Iterator[Finding]:
    """A warning for each listener that could not be bound now; none while the engine itself runs."""
    if is_in_use(table.engine.data):
        return
    mark = Mark(table.path.name, 1, 1)
    listeners: list[tuple[str, Mark, Location]] = [(table.engine.http, mark, ("engine", "http"))]
    listeners += [
        (listen, _mark(declared.position), ("inbound", name, "listen"))
        for name, declared in table.inbound.items()
        if isinstance(listen := getattr(declared.settings, "listen", None), str)
    ]
    for listen, where, location in listeners:
        why = _why_not(listen)
        if why:
            yield Finding.at(where, location, f"{listen} {why}", "warning", "port-in-use")


def _why_not(listen: str) -> str:
    """Why an address cannot be bound at this moment; empty when it can."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except socket.gaierror:
        return "is no address that this machine knows"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is taken by another process; stop that or choose another port"
        if error.errno == errno.EADDRNOTAVAIL:
            return "is no address of this machine now; bring its interface up, or name another"
        return f"cannot be bound: {os.strerror(error.errno or 0).lower()}"
    return ""


def _mark(position: str) -> Mark:
    file, line, column = position.rsplit(":", 2)
    return Mark(file, int(line), int(column))
