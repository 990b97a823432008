"""Who fails too often waits, and whoever is the client does not wait for others."""

from __future__ import annotations

import pytest

from engine.oauth.patience import MOST, OF_ADDRESS, OF_CLIENT, PERIOD, REMEMBERED, Patience, network_of

NOW = 1000.0


def test_an_address_waits_after_too_many_failures_and_no_longer_than_a_minute() -> None:
    patience = Patience()
    for number in range(OF_ADDRESS):
        assert patience.wait("192.0.2.1", "his", NOW + number) == 0
        patience.failed("192.0.2.1", f"guess-{number}", NOW + number)
    last = NOW + OF_ADDRESS - 1
    assert patience.wait("192.0.2.1", "his", last) == NOW + PERIOD - last
    assert patience.wait("192.0.2.2", "his", last) == 0
    assert patience.wait("192.0.2.1", "his", NOW + PERIOD) == 0


def test_many_addresses_share_what_one_client_bears() -> None:
    patience = Patience()
    for number in range(OF_CLIENT):
        patience.failed(f"192.0.2.{number}", "his", NOW)
    assert patience.wait("198.51.100.1", "his", NOW) == PERIOD
    assert patience.wait("198.51.100.1", "ris", NOW) == 0


def test_where_a_client_was_itself_it_goes_on_whatever_others_do() -> None:
    patience = Patience()
    patience.succeeded("198.51.100.1", "his", NOW)
    for number in range(OF_CLIENT):
        patience.failed(f"192.0.2.{number}", "his", NOW + REMEMBERED - 1)
    assert patience.wait("198.51.100.1", "his", NOW + REMEMBERED - 1) == 0
    assert patience.wait("198.51.100.1", "his", NOW + REMEMBERED) > 0  # that was too long ago


def test_behind_a_proxy_nobody_locks_the_others_out() -> None:
    patience = Patience()
    patience.succeeded("192.0.2.1", "his", NOW)
    for _ in range(OF_ADDRESS):
        patience.failed("192.0.2.1", "ris", NOW)
    assert patience.wait("192.0.2.1", "his", NOW) == 0
    assert patience.wait("192.0.2.1", "ris", NOW) == PERIOD
    assert patience.worn_out("192.0.2.1", "his", NOW) == PERIOD  # its failures are not written down either


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one /64 is one house
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_it_remembers_no_more_than_it_may() -> None:
    patience = Patience()
    for number in range(MOST + 100):
        patience.failed(f"10.0.{number // 256}.{number % 256}", "", NOW)
        patience.succeeded(f"10.0.{number // 256}.{number % 256}", "his", NOW)
    assert len(patience._failures) == len(patience._own) == MOST
