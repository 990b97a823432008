"""The bench of intake: every receiver takes what is sent to it, and every figure is there."""

from __future__ import annotations

import pydicom
import pytest

from bench.intake.__main__ import IN_OTHER_WAYS, METRICS, Load, load_of, once, takes
from bench.intake.objects import KINDS, head
from bench.intake.receivers import RECEIVERS
from bench.intake.sender import PIXELS

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("subject", ["pons", "null", "storescp-bits-fork", "orthanc-unsynced", "pynetdicom"])
def test_a_receiver_answers_each_instance_with_success(subject: str) -> None:
    figures = once(Load("mr", 2, 5), subject, 0)
    assert set(figures) == set(METRICS)
    assert all(figures[metric] > 0 for metric in ("MB/s", "instances/s", "rss MB"))


@pytest.mark.parametrize("work", IN_OTHER_WAYS)
@pytest.mark.parametrize("subject", ["null", "storescp-fork"])
def test_it_does_so_over_tls_and_to_a_stock_sender(work: str, subject: str) -> None:
    load = load_of(work, short=True)
    assert takes(subject, load)
    assert once(load._replace(each=2), subject, 0)["instances/s"] > 0


def test_whoever_speaks_no_tls_is_not_asked_to() -> None:
    assert not takes("orthanc", load_of("ct-1-tls", short=True))


def test_the_objects_are_whole_and_no_two_are_one() -> None:
    kind = KINDS["mr"]
    sets = [head(kind, run, sender, number) for run in (0, 1) for sender in (0, 1) for number in (0, 1)]
    found = [
        pydicom.dcmread(pydicom.filebase.DicomBytesIO(one + PIXELS[: kind.pixels]), force=True)
        for one in sets
    ]
    assert len({one.SOPInstanceUID for one in found}) == 8
    assert len({one.StudyInstanceUID for one in found}) == 4
    assert all(len(one.PixelData) == kind.pixels == 2 * one.Rows * one.Columns for one in found)


def test_every_receiver_can_be_asked_for() -> None:
    assert {"pons", "storescp", "storescp-fork", "storescp-bits", "orthanc", "pynetdicom"} <= set(RECEIVERS)
