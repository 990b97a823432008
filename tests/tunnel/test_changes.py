"""Tunnels that change while they are used: keys, sites, processes.

The wire of another site is pulled at the beginning, for a minute that passes while everything else is shown.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.studies import small_study
from tests.peers.process import wait_until
from tests.tunnel.changing import SITES, Sending
from tests.tunnel.rig import DICOM, HL7, HUB, Rig
from tests.wg.netns import Machine
from wg.block import Block
from wg.store import TunnelFolder

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]

IDLE = 40.0  # seconds


def test_a_wire_is_pulled(changing: Rig, outage: Sending) -> None:
    """The minute runs while the other tests do their work; the last test sees what became of the study."""
    assert outage.stored() < outage.count
    assert outage.process.poll() is None


def test_a_key_is_changed_during_a_study_and_nothing_is_lost(
    changing: Rig, real_study: Path, tmp_path: Path
) -> None:
    files = small_study(real_study, tmp_path / "study", instances=200)
    sending = Sending(changing, "a", files, tmp_path / "log")
    sending.wait_until_under_way()
    before = site_key(changing, "a")
    changing.new_key("a")
    a, home = changing.site("a"), changing.folder / "site-a"
    a.run("wg", "set", a.interface, "private-key", str(home / "private.key"))
    assert sending.end() == 0
    assert sending.stored() == 200
    wait_until(lambda: site_key(changing, "a") != before, "the new key to take over", 30)
    changing.meet("a")


def test_a_site_comes_and_goes_during_anothers_study(changing: Rig, real_study: Path, tmp_path: Path) -> None:
    files = small_study(real_study, tmp_path / "study", instances=200)
    sending = Sending(changing, "a", files, tmp_path / "log")
    sending.wait_until_under_way()
    changing.join("d")
    changing.meet("d")
    changing.pons("site", "revoke", "d", "--yes")
    wait_until(lambda: not changing.site("d").reaches(HUB, DICOM, 1), "the revoked site to be cut", 20)
    assert sending.end() == 0
    assert sending.stored() == 200


def test_a_revoked_site_is_cut_in_the_middle_of_its_association(
    changing: Rig, real_study: Path, tmp_path: Path
) -> None:
    files = small_study(real_study, tmp_path / "study", instances=260) * 10
    sending = Sending(changing, "b", files, tmp_path / "log")
    sending.wait_until_under_way()
    changing.pons("site", "revoke", "b", "--yes")
    changing.pons("tunnel", "sync")
    stored = sending.stored()
    time.sleep(3)
    assert sending.stored() <= stored + 1, "one answer may have been on its way"
    assert sending.stored() < len(files)
    sending.process.kill()
    assert "b" not in [row["site"] for row in changing.json("tunnel", "status")]


def test_after_a_restart_of_the_hub_a_site_idle_for_40_s_is_reached_within_2_s(changing: Rig) -> None:
    time.sleep(max(0.0, IDLE - (time.monotonic() - changing.idle_since)))
    changing.stop_tunnel()
    changing.hub.run("ip", "link", "del", changing.hub.interface)
    changing.start_tunnel()
    took = connected_after(changing)
    print(f"a site idle for {IDLE:g} s and more was reached {took:.3f} s after the restart")
    assert took < 2


def test_it_is_the_saved_endpoint_that_does_it(changing: Rig) -> None:
    changing.stop_tunnel()
    changing.hub.run("ip", "link", "del", changing.hub.interface)
    folder = TunnelFolder(changing.folder / "tunnel", Block())
    saved = folder.load().site("e").endpoint
    folder.change(lambda known: (known.with_site(replace(known.site("e"), endpoint="")), None))
    changing.start_tunnel()
    assert not changing.hub.reaches(SITES["e"]["tunnel"], HL7, 2), "nobody knows where it is"
    folder.change(lambda known: (known.with_site(replace(known.site("e"), endpoint=saved)), None))
    wait_until(lambda: changing.hub.reaches(SITES["e"]["tunnel"], HL7, 5), "the site", 60)


def connected_after(made: Rig) -> float:
    """Seconds until the hub has a connection to site e, by one process that is there already."""
    script = (
        "import socket, time; began = time.monotonic();"
        f"socket.create_connection(({SITES['e']['tunnel']!r}, {HL7}), 60).close();"
        "print(time.monotonic() - began)"
    )
    return float(made.hub.run("python3", "-c", script, timeout=90))


@contextlib.contextmanager
def nothing_in_clear(machine: Machine, neighbour: str, folder: Path) -> Iterator[None]:
    """No packet with an address of the tunnels passes the machine's wire meanwhile; an echo to a neighbour on
    the wire ends the capture, and shows that it heard what there was."""
    heard, log = folder / f"{machine.name}.pcap", folder / f"{machine.name}.log"
    capture = machine.start("tcpdump", "-i", "eth0", "-w", str(heard), "-U", "net", "100.64.0.0/16 or icmp",
                            log=log)  # fmt: skip
    wait_until(lambda: "listening on" in log.read_text(), "tcpdump", 20)
    yield
    machine.run("ping", "-c", "1", "-W", "5", neighbour)
    wait_until(lambda: neighbour in machine.run("tcpdump", "-n", "-r", str(heard), expect=None), "it", 20)
    capture.terminate()
    capture.wait(10)
    said = machine.run("tcpdump", "-n", "-r", str(heard))
    assert [line for line in said.splitlines() if "100.64." in line and " > " in line] == []


def test_without_its_daemon_a_site_sends_nothing_in_clear(changing: Rig, tmp_path: Path) -> None:
    a = changing.site("a")
    with nothing_in_clear(a, changing.hub.address, tmp_path):
        a.run("ip", "link", "del", a.interface)
        assert not a.reaches(HUB, DICOM, 2)
        a.run("ping", "-c", "3", "-i", "0.2", "-W", "1", HUB, expect=None)
    changing.site_up("a")
    changing.meet("a")


def test_without_its_interface_the_hub_sends_nothing_in_clear(changing: Rig, tmp_path: Path) -> None:
    changing.stop_tunnel()
    with nothing_in_clear(changing.hub, changing.site("a").address, tmp_path):
        changing.pons("tunnel", "down")
        assert not changing.hub.reaches(SITES["a"]["tunnel"], HL7, 1)
        changing.hub.run("ping", "-c", "3", "-i", "0.2", "-W", "1", SITES["a"]["tunnel"], expect=None)
    changing.start_tunnel()
    wait_until(lambda: changing.hub.reaches(SITES["a"]["tunnel"], HL7, 5), "site a again", 60)


def test_after_a_minute_without_wire_everything_arrives_once(changing: Rig, outage: Sending) -> None:
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


def site_key(made: Rig, key: str) -> str:
    facts: dict[str, str] = made.json("site", "show", key)
    return facts["public_key"]
