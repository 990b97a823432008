"""Who has to go when there are too many connections without an association."""

from __future__ import annotations

from channels.transport.dimse_connections import Connections


def test_nobody_goes_while_there_is_room() -> None:
    connections: Connections[str] = Connections(4)
    assert [connections.add(name, name) for name in "abcd"] == [None] * 4
    assert len(connections) == 4


def test_one_address_has_half_of_them_and_its_own_oldest_goes() -> None:
    connections: Connections[str] = Connections(4)
    assert connections.add("early", "10.0.0.2") is None
    assert [connections.add(f"flood {n}", "10.0.0.9") for n in range(4)] == [None, None, "flood 0", "flood 1"]
    assert len(connections) == 3


def test_past_the_total_the_oldest_of_the_address_with_the_most_goes() -> None:
    connections: Connections[str] = Connections(5)
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.2"), ("d", "10.0.0.3")):
        assert connections.add(name, address) is None
    assert connections.add("e", "10.0.0.4") is None
    assert connections.add("f", "10.0.0.5") == "b"  # "a" is older, but alone


def test_a_flood_from_many_addresses_loses_its_oldest() -> None:
    connections: Connections[int] = Connections(64)
    gone = [connections.add(n, f"10.0.{n}.1") for n in range(100)]
    assert gone == [None] * 64 + list(range(36))


def test_one_that_has_its_association_is_counted_no_longer_and_never_goes() -> None:
    connections: Connections[str] = Connections(2)
    connections.add("served", "10.0.0.1")
    connections.discard("served")
    connections.discard("served")
    assert [connections.add(name, "10.0.0.1") for name in "ab"] == [None, "a"]
    assert len(connections) == 1
