"""A result leaves as one image for each picture, all over one association."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom import dcmread

from engine.model import Delivery, History, Result
from tests.contract.scp import Scp, serving


async def test_every_picture_arrives_in_the_study_it_speaks_of(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> None:
    with serving(Scp()) as scp:
        channel = make("dicom_sc", host="127.0.0.1", port=scp.port, ae_title="PEER")
        payload = channel.render(result, history)
        answer = await channel.deliver(payload, delivery)

    images = [dcmread(BytesIO(part.read())) for part in payload.parts]
    pictures = [one for one in result.report.artefacts if one.media_type == "image/png"]
    assert len(images) == len(pictures) == 2
    assert {image.StudyInstanceUID for image in images} == {result.study.study_instance_uid}
    assert [each.sop_instance_uid for each in scp.stored] == [image.SOPInstanceUID for image in images]
    assert (scp.associations, answer.detail) == (1, "2 instances stored")
