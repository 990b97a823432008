"""The small parts that pages stand on: paths, addresses, the shield, how values are written, settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from channels.inbound.portal.rendering import Rendering, count, plural, seconds, sentence, size
from channels.inbound.portal.security import Guard, local, same
from channels.inbound.portal.settings import PortalSettings
from channels.inbound.portal.shield import SHOWN_FOR, Shield
from engine.directory import Directory
from engine.model import Site


def request(client: str = "192.0.2.1", **headers: str) -> Request:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": lines, "client": (client, 1)}
    return Request(scope)


# ── security ──


@pytest.mark.parametrize(
    ("target", "base", "leads"),
    [
        ("/orders?q=1", "", True),
        ("/portal/orders", "/portal", True),
        ("/portal", "/portal", True),
        ("/portals", "/portal", False),  # another door of the same host
        ("/orders", "/portal", False),
        ("", "", False),
        ("orders", "", False),
        ("//evil.example", "", False),
        ("/\\evil.example", "", False),
        ("/a b", "", False),
        ("/a\r\nb", "", False),
        ("/ü", "", False),
        ("https://evil.example", "", False),
    ],
)
def test_only_a_path_of_the_portal_is_gone_on_to(target: str, base: str, leads: bool) -> None:
    assert local(target, base) == (target if leads else None)


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.5", "192.0.2.1"),  # nobody's proxy
        ("10.0.0.7", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.7", "198.51.100.1, 203.0.113.5", "203.0.113.5"),  # the first was only claimed
        ("10.0.0.7", "203.0.113.5, 10.0.0.8", "203.0.113.5"),  # two proxies, both ours
        ("10.0.0.7", "rubbish", "10.0.0.7"),
        ("10.0.0.7", "", "10.0.0.7"),
        ("::ffff:10.0.0.7", "2001:db8::5", "2001:db8::5"),
    ],
)
def test_who_asks_is_who_the_nearest_stranger_was(client: str, forwarded: str | None, address: str) -> None:
    guard = Guard(PortalSettings(trusted_proxies=("10.0.0.0/24",)))
    headers = {} if forwarded is None else {"x_forwarded_for": forwarded}
    assert guard.address(request(client, **headers)) == address


@pytest.mark.parametrize(
    ("own", "engines", "origin", "prefix"),
    [
        (None, None, "http://localhost:8080", ""),
        (None, "https://pons.example/below", "https://pons.example", "__Host-"),
        ("https://portal.example", "https://pons.example", "https://portal.example", "__Host-"),
        (None, "http://127.0.0.1:8080", "http://localhost:8080", ""),  # this machine, by whichever name
    ],
)
def test_browsers_reach_the_portal_where_the_table_says(
    own: str | None, engines: str | None, origin: str, prefix: str
) -> None:
    guard = Guard(PortalSettings(public_url=own), engines)
    asked = request(host="localhost:8080", origin=origin)
    assert guard.origin(asked) == origin
    assert guard.is_from_us(asked)
    assert guard.session_cookie == f"{prefix}pons-session"
    assert not guard.is_from_us(request(host="localhost:8080", origin="https://evil.example"))


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
def test_without_an_address_of_its_own_it_answers_on_its_machine_only(host: str) -> None:
    guard = Guard(PortalSettings())
    assert guard.is_reachable_by(request(host=host))
    for other in ("pons.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"):
        assert not guard.is_reachable_by(request(host=other))


def test_two_empty_secrets_are_not_the_same() -> None:
    assert same("a", "a")
    assert not same("a", "b")
    assert not same("", "")
    assert not same("\ud800", "a")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"public_url": "http://pons.example"}, "secure_cookie: false"),
        ({"public_url": "https://pons.example/portal"}, "scheme, host and perhaps a port"),
        ({"public_url": "https://user@pons.example"}, "scheme, host and perhaps a port"),
        ({"public_url": "pons.example"}, "scheme, host and perhaps a port"),
        ({"public_url": "https://pöns.example"}, "xn--"),
        ({"timezone": "Dublin"}, "IANA"),
        ({"trusted_proxies": ["proxy"]}, "IP address or network"),
        ({"path": "portal"}, "pattern"),
        ({"max_requests": 0}, "greater than or equal to 1"),
    ],
)
def test_a_setting_that_cannot_be_says_what_it_must_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PortalSettings.model_validate(given)


def test_a_tunnel_may_take_the_place_of_https() -> None:
    settings = PortalSettings(public_url="http://10.90.0.1:8080", secure_cookie=False)
    assert Guard(settings).session_cookie == "pons-session"


# ── the shield ──


def test_identifiers_are_shown_for_five_minutes_to_who_asked_on_that_page() -> None:
    now = [100.0]
    shield = Shield(lambda: now[0])
    shield.lift("s1", "/orders")
    assert shield.is_lifted("s1", "/orders")
    assert not shield.is_lifted("s1", "/orders/1")
    assert not shield.is_lifted("s2", "/orders")
    now[0] += SHOWN_FOR
    assert not shield.is_lifted("s1", "/orders")
    shield.lift("s1", "/orders")
    shield.lower("s1", "/orders")
    assert not shield.is_lifted("s1", "/orders")


# ── how values are written ──


def test_a_time_is_in_the_zone_of_its_site() -> None:
    sites = Directory({"stm": Site("stm", "St. Mary's", timezone="America/New_York")})
    rendering = Rendering(PortalSettings(timezone="Europe/Dublin"), sites)
    summer = 1_782_000_000.0  # 2026-06-21 00:00 UTC
    assert '<time datetime="2026-06-20T20:00:00-04:00"' in rendering.moment(summer, "stm")
    assert ">2026-06-21 01:00<" in rendering.day(summer)
    assert ">2026-06-21 01:00<" in rendering.day(summer, "no longer there")
    assert rendering.moment(None) == "–"
    assert (rendering.site_name("stm"), rendering.site_name("x"), rendering.site_name(None)) == (
        "St. Mary's",
        "x",
        "every site",
    )


def test_numbers_are_written_for_people() -> None:
    assert [size(one) for one in (None, 0, 999, 1500, 123_456, 2.5e9, 7e15)] == [
        "–", "0 B", "999 B", "1.5 kB", "123 kB", "2.5 GB", "7000.0 TB",
    ]  # fmt: skip
    assert [seconds(one) for one in (None, 0.25, 45, 180, 7500, 7200, 3 * 86400)] == [
        "–", "250 ms", "45 s", "3 min", "2 h 5 min", "2 h", "3 d",
    ]  # fmt: skip
    assert (count(1234567), plural(1, "order"), plural(2, "order"), plural(2, "person", "people")) == (
        "1\u202f234\u202f567", "1 order", "2 orders", "2 people",
    )  # fmt: skip
    assert sentence("try again") == "Try again."
    assert sentence("Is it?") == "Is it?"
