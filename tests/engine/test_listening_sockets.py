"""A listening socket passes from one holder to the next, and nobody who connects is refused."""

from __future__ import annotations

import select
import socket

import pytest

from engine.listening_sockets import ListeningSockets


def test_whoever_asks_for_an_address_that_is_held_gets_the_same_queue_of_connections() -> None:
    sockets = ListeningSockets()
    first = sockets.bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    first.close()
    first = sockets.bind("127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)) as early:
        second = sockets.bind("127.0.0.1", port)
        first.close()
        select.select([second], [], [], 10)
        connection, address = second.accept()  # made before the second was there
        assert address == early.getsockname()
        connection.close()
    with socket.create_connection(("127.0.0.1", port)):
        third = sockets.bind("127.0.0.1", port)
        second.close()
        select.select([third], [], [], 10)
        third.accept()[0].close()
    third.close()


def test_of_two_holders_one_gets_a_connection_and_the_other_does_not_wait_for_it() -> None:
    sockets = ListeningSockets()
    probe = sockets.bind("127.0.0.1", 0)
    port = probe.getsockname()[1]
    probe.close()
    first, second = sockets.bind("127.0.0.1", port), sockets.bind("127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)):
        select.select([first], [], [], 10)
        first.accept()[0].close()
        with pytest.raises(BlockingIOError):
            second.accept()
    first.close()
    second.close()


def test_an_address_that_was_let_go_is_bound_anew_and_one_that_a_stranger_has_is_refused() -> None:
    sockets = ListeningSockets()
    probe = sockets.bind("127.0.0.1", 0)
    port = probe.getsockname()[1]
    probe.close()
    sockets.bind("127.0.0.1", port).close()
    again = sockets.bind("127.0.0.1", port)
    with pytest.raises(OSError, match="in use"):
        ListeningSockets().bind("127.0.0.1", port)
    again.close()


def test_an_unnamed_port_is_never_shared() -> None:
    sockets = ListeningSockets()
    first, second = sockets.bind("127.0.0.1", 0), sockets.bind("127.0.0.1", 0)
    assert first.getsockname() != second.getsockname()
    first.close()
    second.close()
