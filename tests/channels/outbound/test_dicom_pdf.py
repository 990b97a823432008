"""A result leaves as one encapsulated PDF, and the PDF in it is one."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom import dcmread

from engine.model import Delivery, History, Result
from tests.contract.scp import Scp, serving


async def test_one_pdf_arrives_in_the_study_it_speaks_of(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> None:
    with serving(Scp()) as scp:
        channel = make("dicom_pdf", host="127.0.0.1", port=scp.port, ae_title="PEER")
        payload = channel.render(result, history)
        await channel.deliver(payload, delivery)

    document = dcmread(BytesIO(payload.parts[0].read()))
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.EncapsulatedDocument.startswith(b"%PDF-")
    assert document.StudyInstanceUID == result.study.study_instance_uid
    assert [each.sop_instance_uid for each in scp.stored] == [document.SOPInstanceUID]
