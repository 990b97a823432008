"""Objects of a processor leave as they are; a retracted result leaves its rejection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread

from engine.errors import Refused
from engine.model import Acknowledged, Delivery, DeliveryId, History, Result, ResultStatus
from tests.contract.scp import Scp, serving
from tests.peers.dcmtk import Storescp
from tests.peers.part10 import data_set_bytes


@pytest.mark.peers
async def test_storescp_keeps_what_the_processor_wrote_bit_for_bit(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
) -> None:
    peer = storescp("PEER")
    channel = make("dicom_objects", host="127.0.0.1", port=peer.port, ae_title="PEER")
    [written] = [one for one in result.report.artefacts if one.media_type == "application/dicom"]

    answer = await channel.deliver(channel.render(result, history), delivery)

    [kept] = peer.wait_for_files(1)
    assert answer.code == "0000"
    assert data_set_bytes(kept.read_bytes()) == data_set_bytes(written.read())


async def test_an_object_is_never_encoded_anew(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
) -> None:
    peer = storescp("PEER", options=("+xi",))  # takes implicit VR alone
    channel = make("dicom_objects", host="127.0.0.1", port=peer.port, ae_title="PEER")

    with pytest.raises(Refused) as caught:
        await channel.deliver(channel.render(result, history), delivery)

    assert caught.value.code == "no context"


async def test_a_retraction_rejects_what_was_passed_on(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> None:
    with serving(Scp()) as scp:
        channel = make("dicom_objects", host="127.0.0.1", port=scp.port, ae_title="PEER")
        sent = channel.render(result, history).parts[0]
        earlier = Acknowledged(
            DeliveryId("earlier"),
            ResultStatus.FINAL,
            1,
            (sent.identifier,),
            (sent.facts["sop_class_uid"],),
            (sent.facts["series_instance_uid"],),
        )
        taken_back = result.model_copy(update={"status": ResultStatus.RETRACTED})
        payload = channel.render(taken_back, replace(history, acknowledged=(earlier,)))
        await channel.deliver(payload, delivery)

    note = dcmread(BytesIO(payload.parts[0].read()))
    [series] = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == sent.facts["series_instance_uid"]
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == [sent.identifier]
    assert [each.sop_instance_uid for each in scp.stored] == [note.SOPInstanceUID]
