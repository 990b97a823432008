"""The example HIS, spoken to by python-hl7's MLLP client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hl7
import hl7.client
import pytest

Peer = Callable[..., tuple[int, Path]]
ORU = "MSH|^~\\&|PONS|HUB|HIS|STM|20260301120000+0000||ORU^R01^ORU_R01|{id}|P|2.5.1\rPID|||P1\rOBR|1\r"


@pytest.mark.peers
def test_each_message_of_a_connection_is_filed_and_acknowledged_by_its_control_id(start_peer: Peer) -> None:
    port, folder = start_peer("his")
    with hl7.client.MLLPClient("127.0.0.1", port) as client:
        for control_id in ("M1", "M2"):
            answer = client.send_message(ORU.format(id=control_id)).strip(b"\x0b\x1c\r").decode()
            acknowledgement = hl7.parse(answer + "\r")
            assert str(acknowledgement.segment("MSH")[9]) == "ACK^R01^ACK"
            assert (acknowledgement["MSH.F3"], acknowledgement["MSH.F5"]) == ("HIS", "PONS")
            assert (acknowledgement["MSA.F1"], acknowledgement["MSA.F2"]) == ("AA", control_id)
    assert sorted(path.name for path in folder.iterdir()) == ["M1.hl7", "M2.hl7"]
    assert (folder / "M1.hl7").read_bytes() == ORU.format(id="M1").encode()


# what is wrong with it          the message                       what it is answered
UNFIT = [
    pytest.param(ORU.format(id=""), "AR", id="no control id"),
    pytest.param("PID|||P1\r", "AR", id="no MSH"),
]


@pytest.mark.peers
@pytest.mark.parametrize(("message", "code"), UNFIT)
def test_what_cannot_be_identified_is_rejected(start_peer: Peer, message: str, code: str) -> None:
    port, folder = start_peer("his")
    with hl7.client.MLLPClient("127.0.0.1", port) as client:
        answer = client.send_message(message).decode()
    assert f"MSA|{code}|" in answer
    assert list(folder.iterdir()) == []


@pytest.mark.peers
def test_a_control_id_never_becomes_a_path(start_peer: Peer) -> None:
    port, folder = start_peer("his")
    with hl7.client.MLLPClient("127.0.0.1", port) as client:
        answer = client.send_message(ORU.format(id="../../escape")).decode()
    assert "MSA|AA|../../escape" in answer
    (filed,) = folder.iterdir()
    assert filed.stem.isalnum()
