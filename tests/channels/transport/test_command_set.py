"""Command sets as a requestor writes and reads them."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import decode as decode_by_pynetdicom

from channels.transport import command_set
from channels.transport.command_set import decode, encode, has_data_set, number, uid

STORE = {
    command_set.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.4",
    command_set.COMMAND_FIELD: 0x0001,
    command_set.MESSAGE_ID: 7,
    command_set.PRIORITY: 0,
    command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
    command_set.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
}


def test_pynetdicom_reads_what_is_written() -> None:
    data = encode(STORE)
    read = decode_by_pynetdicom(BytesIO(data), is_implicit_vr=True, is_little_endian=True)

    assert read.CommandGroupLength == len(data) - 12
    assert read.AffectedSOPInstanceUID == "1.2.3"
    assert (read.MessageID, read.CommandField) == (7, 1)
    assert {element.keyword for element in read} <= {each.keyword for each in C_STORE_RQ().command_set}


def test_what_is_written_reads_back_without_its_padding() -> None:
    elements = decode(encode(STORE))

    assert uid(elements, command_set.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert number(elements, command_set.MESSAGE_ID) == 7
    assert has_data_set(elements)


@pytest.mark.parametrize("data", [b"", b"\0" * 7, encode(STORE)[:15], b"\xff" * 40])
def test_what_is_no_command_set_has_nothing_in_it(data: bytes) -> None:
    elements = decode(data)

    assert number(elements, command_set.STATUS) is None
    assert uid(elements, command_set.AFFECTED_SOP_INSTANCE_UID) == ""
    assert not has_data_set(elements)
