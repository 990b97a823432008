"""A wire that was pulled in the middle of a study is mended after a minute: all of it arrives, once."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.peers.process import wait_until
from tests.tunnel.changing import Sending
from tests.tunnel.rig import Rig

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]


def test_after_a_minute_without_wire_everything_arrives_once(changing: Rig, outage: Sending) -> None:
    left = 60 - (time.monotonic() - outage.cut_at)
    time.sleep(max(0.0, left))
    assert outage.process.poll() is None, "it still waits"
    changing.net.mend("c")
    try:
        assert outage.end(150) == 0
    except subprocess.TimeoutExpired:
        pytest.fail(f"stuck at {outage.stored()} of {outage.count}")
    assert outage.stored() == outage.count
    home = changing.folder / "site-c"
    wait_until(lambda: list((home / "his").glob("*.hl7")), "the ORU", 90)
    (study,) = [row for row in changing.json("studies") if row["site"] == "c"]
    assert (study["instances"], study["revision"]) == (120, 1)
    wait_until(
        lambda: (
            [row["state"] for row in changing.json("deliveries") if row["site"] == "c"] == ["delivered"] * 2
        ),
        "both deliveries",
        60,
    )
    assert len(list((home / "his").glob("*.hl7"))) == 1
