"""The rig's receivers: what each weather notes, and what it answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.faults.records import Ledger, Receipt, receipts
from bench.faults.text_sinks import Loop, MllpSink, WebhookSink
from bench.faults.weather import Weather

MESSAGE = (
    b"\x0bMSH|^~\\&|PONS||||20260301||ORU^R01^ORU_R01|ID7|P|2.5.1\r"
    b"OBR|1|||X^X^L|||||||||||||||||||||C\r"
    b"OBX|1|ST|113014^DICOM Study^DCM||1.2\r"
    b"OBX|2|NM|MASK^Instances seen^99RIG||5\r\x1c\r"
)
EVENT = json.dumps(
    {
        "id": "msg_7",
        "type": "result.preliminary",
        "data": {"study": {"uid": "1.2"}, "findings": [{"value": "5"}]},
    }
).encode()
REQUEST = b"POST /hook HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(EVENT), EVENT)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def asked(port: int, message: bytes) -> bytes:
    """What comes back, as far as anything does."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(message)
        return wire.recv(4096)


@pytest.mark.parametrize(
    ("weather", "noted", "answer"),
    [
        ("fair", True, b"MSA|AA|ID7\r"),
        ("slow", True, b"MSA|AA|ID7\r"),
        ("mute", True, None),
        ("wrong", True, b"MSA|AA|ID7-OTHER\r"),
        ("busy", False, b"MSA|AE|ID7\r"),
        ("deaf", False, None),
    ],
)
def test_a_his_in_every_weather(
    tmp_path: Path,
    free_port: Callable[[], int],
    loop: Loop,
    weather: Weather,
    noted: bool,
    answer: bytes | None,
) -> None:
    sink = MllpSink("his", free_port(), Ledger(tmp_path / "taken"), loop)
    sink.turn(weather)
    said = asked(sink.port, MESSAGE)
    sink.stop()
    assert said == b"" if answer is None else answer in said
    expected = [Receipt("his", "ID7", "1.2", 5, "corrected", weather)] if noted else []
    assert receipts(tmp_path / "taken") == expected


@pytest.mark.parametrize(
    ("weather", "noted", "answer"),
    [("fair", True, b" 204 "), ("mute", True, b""), ("busy", False, b" 503 "), ("deaf", False, b"")],
)
def test_a_hook_in_every_weather(
    tmp_path: Path, free_port: Callable[[], int], loop: Loop, weather: Weather, noted: bool, answer: bytes
) -> None:
    sink = WebhookSink("hook", free_port(), Ledger(tmp_path / "taken"), loop)
    sink.turn(weather)
    said = asked(sink.port, REQUEST)
    sink.stop()
    assert answer in said if answer else said == b""
    assert [one.identifier for one in receipts(tmp_path / "taken")] == (["msg_7"] if noted else [])


def test_nobody_listens_when_it_is_down_and_somebody_again_when_it_is_fair(
    tmp_path: Path, free_port: Callable[[], int], loop: Loop
) -> None:
    sink = MllpSink("his", free_port(), Ledger(tmp_path / "taken"), loop)
    sink.turn("down")
    with pytest.raises(ConnectionRefusedError):
        asked(sink.port, MESSAGE)
    sink.turn("fair")
    assert b"MSA|AA|ID7" in asked(sink.port, MESSAGE)
    sink.stop()
