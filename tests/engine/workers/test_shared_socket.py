"""Two who accept on one socket: the one that has less to do is faster."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from engine.listening_sockets import bound
from engine.workers import shared_socket
from engine.workers.shared_socket import SharedSocket


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(shared_socket.time, "sleep", slept.append)
    return slept


def test_who_has_more_open_hesitates_longer(pauses: list[float]) -> None:
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(bound("127.0.0.1", 0))
        shared = stack.enter_context(SharedSocket(os.dup(listening.fileno())))
        address = listening.getsockname()
        for _ in range(3):
            stack.enter_context(socket.create_connection(address, timeout=30))
            stack.enter_context(shared.accept()[0])
    # each connection is two descriptors here, where both its ends are; the first is open at its own accept
    assert pauses == [0.001, 0.003, 0.005]


def test_it_never_hesitates_for_long(pauses: list[float]) -> None:
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(bound("127.0.0.1", 0))
        shared = stack.enter_context(SharedSocket(os.dup(listening.fileno())))
        for _ in range(100):
            stack.callback(os.close, os.dup(listening.fileno()))
        with pytest.raises(BlockingIOError):
            shared.accept()
    assert pauses == [0.05]
