"""The bench of sending: every sender sends all there is, and the arithmetic is that of its table."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from bench.intake.__main__ import METRICS, Load
from bench.send.__main__ import RECEIVERS, figures, once, shown
from bench.send.files import write
from bench.send.senders import SENDERS, Sent


@pytest.mark.peers
@pytest.mark.parametrize("receiver", ["null", "storescp", "storescp-stock"])
@pytest.mark.parametrize("subject", ["pons", "storescu", "pynetdicom"])
def test_each_sender_is_answered_with_success_for_every_instance(
    tmp_path: Path, subject: str, receiver: str
) -> None:
    load = Load("mr", 2, 3)
    found = once(load, subject, receiver, write(tmp_path, load))

    assert set(found) == set(METRICS)
    assert all(found[metric] > 0 for metric in ("MB/s", "instances/s", "rss MB"))


def test_the_files_are_dicom_and_no_two_are_one(tmp_path: Path) -> None:
    folders = write(tmp_path, Load("mr", 2, 3))
    found = [pydicom.dcmread(path) for folder in folders for path in sorted(folder.iterdir())]

    assert len({one.SOPInstanceUID for one in found}) == 6
    assert all(one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID for one in found)
    assert all(len(one.PixelData) == 2 * 128 * 128 for one in found)


def test_a_run_in_which_something_was_not_stored_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="pons: 1 instances were not answered with success"):
        figures(Load("ct", 4, 10), "pons", Sent(1.0, 1.0, 1.0, 39))


def test_figures_are_of_pixels_seconds_and_instances() -> None:
    found = figures(Load("ct", 4, 10), "pons", Sent(2.0, 0.4, 50.0, 40))

    assert found == {
        "MB/s": pytest.approx(40 * 0.524288 / 2),
        "instances/s": 20.0,
        "cpu ms": pytest.approx(10.0),
        "rss MB": 50.0,
    }


def test_the_ratio_is_to_storescu_on_the_same_work_and_receiver() -> None:
    def rows(receiver: str, subject: str, rate: float) -> list[dict[str, object]]:
        return [
            {"work": "ct-1", "receiver": receiver, "subject": subject, "metric": metric, "value": rate}
            for metric in METRICS
        ]

    table = shown(
        [*rows("null", "pons", 300.0), *rows("null", "storescu", 200.0), *rows("storescp", "pons", 100.0)]
    )
    [*_, ratios] = table.columns

    assert list(ratios.cells) == ["1.50", "1.00", ""]


def test_every_sender_and_receiver_can_be_asked_for() -> None:
    assert {"pons", "storescu", "storescu-stock", "pynetdicom"} <= set(SENDERS)
    assert {"null", "storescp", "orthanc"} <= set(RECEIVERS)
