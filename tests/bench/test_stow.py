"""The bench of STOW-RS: every service takes what is sent to it, and every figure is there."""

from __future__ import annotations

import io

import pydicom
import pytest

from bench.intake.objects import KINDS
from bench.intake.sender import PIXELS
from bench.stow.__main__ import METRICS, WORKS, Load, load_of, once
from bench.stow.receivers import RECEIVERS
from bench.stow.sender import BOUNDARY, instance_head, request
from channels.transport.multipart import MultipartParser, PartBegins, PartData


@pytest.mark.peers
@pytest.mark.parametrize("subject", ["pons", "orthanc-unsynced"])
def test_a_service_stores_each_instance(subject: str) -> None:
    figures = once(Load("mr", 2, 3, 2), subject, 0)
    assert set(figures) == set(METRICS)
    assert all(figures[metric] > 0 for metric in ("MB/s", "instances/s", "rss MB"))


def test_a_request_holds_its_instances_and_tells_its_length() -> None:
    kind = KINDS["mr"]
    between = request("/studies", [instance_head(kind, 0, 0, number) for number in (0, 1)], kind.pixels)
    raw = (PIXELS[: kind.pixels]).join(between)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    parser = MultipartParser(BOUNDARY.decode())
    parts: list[bytes] = []
    for event in parser.feed(body):
        if isinstance(event, PartBegins):
            parts.append(b"")
        elif isinstance(event, PartData):
            parts[-1] += event.data
    parser.close()
    read = [pydicom.dcmread(io.BytesIO(part)) for part in parts]
    assert len({one.SOPInstanceUID for one in read}) == 2
    assert all(len(one.PixelData) == kind.pixels for one in read)


def test_every_work_has_a_short_form() -> None:
    assert {"ct-1", "ct-4", "mr-1", "mr-4", "big-1", "mr-1-batch"} == set(WORKS)
    assert {"pons", "orthanc"} <= set(RECEIVERS)
    for name, load in WORKS.items():
        short = load_of(name, short=True)
        assert short.requests <= load.requests
        assert short.kind in KINDS
