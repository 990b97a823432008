"""Command sets as other implementations write and read them."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as peer_decode
from pynetdicom.dsutils import encode as peer_encode

from channels.transport.dimse_command import (
    C_STORE_RQ,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    Command,
    decode,
    encode_event_report,
    encode_response,
)

REQUEST = Command(C_STORE_RQ, 7, True, "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.5")


def command_set(**elements: object) -> bytes:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    encoded = peer_encode(dataset, True, True)
    assert encoded is not None
    return encoded


def test_a_request_of_another_implementation_is_read() -> None:
    encoded = command_set(
        CommandGroupLength=120,
        AffectedSOPClassUID="1.2.840.10008.5.1.4.1.1.4",
        CommandField=1,
        MessageID=7,
        Priority=2,
        CommandDataSetType=1,
        AffectedSOPInstanceUID="1.2.3.4.5",
        MoveOriginatorApplicationEntityTitle="MOVER",
    )
    assert decode(encoded) == REQUEST


def test_a_response_is_read_by_another_implementation() -> None:
    response = peer_decode(BytesIO(encode_response(REQUEST, 0xC000, "x\\" * 50)), True, True)
    assert response.CommandField == 0x8001
    assert response.MessageIDBeingRespondedTo == 7
    assert response.CommandDataSetType == 0x0101
    assert response.Status == 0xC000
    assert response.ErrorComment == "x/" * 32  # 64 characters, no backslash
    assert response.AffectedSOPClassUID == REQUEST.sop_class_uid
    assert response.AffectedSOPInstanceUID == REQUEST.sop_instance_uid


def test_a_normalized_request_and_an_answer_are_read() -> None:
    action = command_set(
        RequestedSOPClassUID="1.2.840.10008.1.20.1",
        CommandField=0x0130,
        MessageID=3,
        CommandDataSetType=1,
        RequestedSOPInstanceUID="1.2.840.10008.1.20.1.1",
        ActionTypeID=1,
    )
    assert decode(action) == Command(
        N_ACTION_RQ, 3, True, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", type_id=1
    )
    answer = command_set(
        CommandField=0x8100, MessageIDBeingRespondedTo=9, CommandDataSetType=0x0101, Status=0x0110
    )
    read = decode(answer)
    assert (read.responds_to, read.status, read.has_data_set) == (9, 0x0110, False)


def test_an_event_report_is_read_by_another_implementation() -> None:
    encoded = encode_event_report(5, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 2)
    read = peer_decode(BytesIO(encoded), True, True)
    assert (read.CommandField, read.MessageID, read.EventTypeID) == (N_EVENT_REPORT_RQ, 5, 2)
    assert read.CommandDataSetType != 0x0101
    assert read.AffectedSOPClassUID == "1.2.840.10008.1.20.1"
    assert read.AffectedSOPInstanceUID == "1.2.840.10008.1.20.1.1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\0",
        command_set(CommandField=1)[:-1],
        command_set(MessageID=7, CommandDataSetType=1),
        command_set(CommandField=1, MessageID=7),
        b"\x08\0" + command_set(CommandField=1)[2:],
    ],
    ids=["empty", "half an element", "cut short", "no command field", "no data set type", "not group 0000"],
)
def test_what_is_no_command_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="command set"):
        decode(data)
