"""A result leaves as one structured report, under a UID of its delivery."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom import dcmread

from engine.model import Delivery, DeliveryId, History, Result
from tests.contract.scp import Scp, serving


async def test_one_structured_report_arrives_in_the_study_it_speaks_of(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> None:
    with serving(Scp()) as scp:
        channel = make("dicom_sr", host="127.0.0.1", port=scp.port, ae_title="PEER")
        payload = channel.render(result, history)
        await channel.deliver(payload, delivery)

    report = dcmread(BytesIO(payload.parts[0].read()))
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == result.study.study_instance_uid
    assert [each.sop_instance_uid for each in scp.stored] == [report.SOPInstanceUID]


def test_another_delivery_of_the_same_result_is_another_report(
    make: Callable[..., Any], result: Result, history: History
) -> None:
    channel = make("dicom_sr", host="127.0.0.1", port=104, ae_title="PEER")
    other = History(DeliveryId("another"), history.rendered_at)

    uids = [channel.render(result, each).parts[0].identifier for each in (history, history, other)]

    assert uids[0] == uids[1] != uids[2]
