"""A study goes onward as it is filed, or uncompressed where nothing is lost by it, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom.dsutils import decode

from channels.outbound.dicom_forward import Settings
from engine.errors import Refused
from engine.model import Delivery, History, Study
from tests.contract import instances
from tests.contract.instances import IMPLICIT, JPEG_2000
from tests.contract.scp import Scp, serving
from tests.peers.dcmtk import Storescp
from tests.peers.part10 import data_set_bytes


def test_a_study_is_rendered_by_naming_its_files(
    make: Callable[..., Any], study: Study, history: History
) -> None:
    payload = make("dicom_forward", host="127.0.0.1", port=104, ae_title="PEER").render(study, history)

    stored = sorted(study.stored, key=lambda each: each.sop_instance_uid)
    assert [part.identifier for part in payload.parts] == [each.sop_instance_uid for each in stored]
    assert [part.content for part in payload.parts] == [each.path for each in stored]
    assert payload.summary == "study of 2 instances"


async def test_every_instance_arrives_byte_for_byte(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    with serving(Scp()) as scp:
        channel = make("dicom_forward", host="127.0.0.1", port=scp.port, ae_title="PEER")
        await channel.deliver(channel.render(study, history), delivery)

    sent = {each.sop_instance_uid: data_set_bytes(each.path.read_bytes()) for each in study.stored}
    assert {each.sop_instance_uid: each.data_set for each in scp.stored} == sent


async def test_a_compressed_image_is_not_changed_where_the_table_forbids_it(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    first = study.stored[0]
    first.path.write_bytes(instances.file(first.sop_instance_uid, transfer_syntax_uid=JPEG_2000))
    with serving(Scp()) as scp:
        channel = make("dicom_forward", host="127.0.0.1", port=scp.port, ae_title="PEER", reencode="never")
        with pytest.raises(Refused, match="cannot be sent without changing its encoding"):
            await channel.deliver(channel.render(study, history), delivery)


async def test_a_hospitals_image_is_not_even_given_other_vrs_where_the_table_forbids_it(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    with serving(Scp(transfer_syntaxes=[IMPLICIT])) as scp:
        channel = make("dicom_forward", host="127.0.0.1", port=scp.port, ae_title="PEER", reencode="never")
        with pytest.raises(Refused, match="Explicit VR Little Endian"):
            await channel.deliver(channel.render(study, history), delivery)

    assert scp.requests == []


async def test_an_image_is_sent_uncompressed_to_a_peer_that_takes_it_in_no_other_way(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    path = get_testdata_file("MR_small_RLE.dcm")
    assert isinstance(path, str)
    image = dcmread(path)
    for stored in study.stored:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = stored.sop_instance_uid
        image.save_as(stored.path, enforce_file_format=True)
    with serving(Scp(transfer_syntaxes=[IMPLICIT])) as scp:
        channel = make("dicom_forward", host="127.0.0.1", port=scp.port, ae_title="PEER")
        answer = await channel.deliver(channel.render(study, history), delivery)

    assert answer.detail == "2 instances stored"
    assert {each.sop_instance_uid for each in scp.stored} == {each.sop_instance_uid for each in study.stored}
    for each in scp.stored:
        received = decode(BytesIO(each.data_set), is_implicit_vr=True, is_little_endian=True)
        assert received.PixelData == image.pixel_array.tobytes()


async def test_a_study_without_instances_is_not_called_delivered(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    channel = make("dicom_forward", host="127.0.0.1", port=104, ae_title="PEER")

    with pytest.raises(Refused, match="no instance"):
        await channel.deliver(channel.render(replace(study, stored=()), history), delivery)


def test_a_whole_study_is_given_more_time_than_a_report() -> None:
    block = {"site": "st-marys", "host": "10.90.7.2", "port": 104, "ae_title": "STM_PACS"}

    assert Settings.model_validate(block).timeout == 600
    with pytest.raises(ValidationError):
        Settings.model_validate({**block, "timeout": 600})  # a duration has a unit


@pytest.mark.peers
async def test_storescp_keeps_a_forwarded_study_bit_for_bit(
    make: Callable[..., Any],
    study: Study,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
) -> None:
    peer = storescp("PEER")
    channel = make("dicom_forward", host="127.0.0.1", port=peer.port, ae_title="PEER")

    await channel.deliver(channel.render(study, history), delivery)

    kept = sorted(data_set_bytes(path.read_bytes()) for path in peer.wait_for_files(2))
    assert kept == sorted(data_set_bytes(each.path.read_bytes()) for each in study.stored)
