"""What a destination's own settings say against it: a way back to us, a clear wire, times at odds.

Enters: a reading. Leave: findings about one destination each. Nothing is asked of the network; that is
`engine.checks.online`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from engine.channel import OutboundSettings
from engine.directory import is_everywhere, is_here, parse_address
from engine.finding import Location
from engine.reading import Reading
from engine.table import Declared
from engine.tunnel import called_of
from engine.window import DailyWindow

_NOT_PUBLIC = "localhost local internal intranet lan home corp private test example invalid arpa"
_ENDS_OF_PRIVATE_NAMES = frozenset(_NOT_PUBLIC.split())
WEEK = 7 * 24 * 60  # minutes


def check_destinations(reading: Reading) -> None:
    """No destination is ourselves, is reached over the internet in the clear, or can never be sent to."""
    ours = tuple(_listeners(reading))
    titles = {
        title
        for declared in reading.inbound.values()
        if isinstance(title := getattr(declared.settings, "ae_title", None), str)
    }
    for name, declared in reading.outbound.items():
        location: Location = ("outbound", name)
        if not _check_way_back(reading, location, declared, ours):
            _check_title(reading, location, declared.settings, titles)
            _check_wire(reading, location, declared.settings)
        _check_times(reading, location, declared.settings)


# ── a way back to us ────────────────────────────────────────────────────────────────────────────


def _listeners(reading: Reading) -> Iterator[tuple[str, int, str]]:
    """Host, port and holder of everything we listen on."""
    listens = [("engine.http", reading.engine.http)]
    listens += [
        (f"inbound.{name}", listen)
        for name, declared in reading.inbound.items()
        if isinstance(listen := getattr(declared.settings, "listen", None), str)
    ]
    for holder, listen in listens:
        host, _, port = listen.rpartition(":")
        if port.isdigit() and port != "0":
            yield host.strip("[]"), int(port), holder


def _check_way_back(
    reading: Reading, location: Location, declared: Declared[Any], ours: tuple[tuple[str, int, str], ...]
) -> bool:
    called = called_of(declared.settings)
    if called is None:
        return False
    host, port = called
    for listens, theirs, holder in ours:
        if port == theirs and _is_same(host, listens):
            what = (
                "what it is sent would come in again"
                if declared.type.carries == "study"
                else "it is ourselves"
            )
            field = "port" if hasattr(declared.settings, "port") else "url"
            message = f"leads back to {holder} of this table: {what}; name the receiver's address and port"
            reading.complain((*location, field), message, "sends-to-itself")
            return True
    return False


def _is_same(host: str, listens: str) -> bool:
    """Whether a call to a host reaches what listens there on this machine."""
    if host == listens:
        return True
    first, second = parse_address(host), parse_address(listens)
    if is_everywhere(listens):
        return is_here(host)
    if second is None:
        return False
    return first == second or (host == "localhost" and second.is_loopback)


def _check_title(reading: Reading, location: Location, settings: Any, ours: set[str]) -> None:
    title = getattr(settings, "ae_title", None)
    if isinstance(title, str) and title in ours | {getattr(settings, "calling_ae_title", None)}:
        message = f"{title} is our own AE title; name the peer's, or what comes back could be taken for ours"
        reading.warn((*location, "ae_title"), message, "own-ae-title")


# ── the wire ────────────────────────────────────────────────────────────────────────────────────


def _check_wire(reading: Reading, location: Location, settings: Any) -> None:
    """What names patients does not cross the internet unencrypted."""
    called = called_of(settings)
    if called is None or not _is_public(called[0]):
        return
    url = getattr(settings, "url", None)
    if isinstance(url, str):
        clear, field, remedy = urlsplit(url).scheme == "http", "url", "begin it with https://"
    else:
        clear, field, remedy = getattr(settings, "tls", None) is None, "host", "give it tls"
    if clear:
        message = f"is reached over the internet in the clear, for everybody on the way to read; {remedy}"
        reading.warn((*location, field), f"{message}, or go through a tunnel", "in-the-clear")


def _is_public(host: str) -> bool:
    """Whether a host is one of the internet; a name is unless it ends as private ones do."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        _, dot, last = host.rstrip(".").rpartition(".")
        return bool(dot) and last.lower() not in _ENDS_OF_PRIVATE_NAMES


# ── times ───────────────────────────────────────────────────────────────────────────────────────


def _check_times(reading: Reading, location: Location, settings: OutboundSettings) -> None:
    retry, breaker = settings.retry, settings.breaker
    if retry.give_up_after < retry.first:
        message = "gives up before the first wait is over, so nothing is ever tried twice"
        reading.warn((*location, "retry", "give_up_after"), message, "times-at-odds")
    elif retry.first > retry.cap:
        message = "waits longer at first than it ever may (cap)"
        reading.warn((*location, "retry", "first"), message, "times-at-odds")
    if retry.give_up_after < settings.timeout:
        message = "gives up before one attempt may take its time (timeout)"
        reading.warn((*location, "retry", "give_up_after"), message, "times-at-odds")
    if breaker.open_for >= retry.give_up_after:
        message = "stays closed to deliveries until they are given up (retry.give_up_after)"
        reading.warn((*location, "breaker", "open_for"), message, "times-at-odds")
    elif breaker.open_for > breaker.cap:
        message = "stays open longer at first than it ever may (cap)"
        reading.warn((*location, "breaker", "open_for"), message, "times-at-odds")
    links = getattr(settings, "link_expiry", None)
    keep = reading.retention.keep
    if keep is not None and isinstance(links, float) and links > keep:
        message = "links are promised for longer than files are kept (retention.keep), and would lead nowhere"
        reading.warn((*location, "link_expiry"), message, "times-at-odds")
    if len(settings.maintenance) > 1 and len(_closed(settings.maintenance)) == WEEK:
        message = "its windows leave no minute of the week, so nothing would ever be sent"
        reading.complain((*location, "maintenance"), message, "never-sent")


def _closed(windows: tuple[DailyWindow, ...]) -> set[int]:
    """The minutes of a week, from Monday 00:00, that lie in a window."""
    closed: set[int] = set()
    for window in windows:
        begins = window.begins.hour * 60 + window.begins.minute
        ends = window.ends.hour * 60 + window.ends.minute
        length = (ends - begins) % (24 * 60)
        for day in window.days:
            closed.update((day * 24 * 60 + begins + minute) % WEEK for minute in range(length))
    return closed
