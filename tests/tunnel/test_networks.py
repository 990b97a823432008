"""Hospitals as they are: the same private network in each, a path that carries less than it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.studies import small_study
from tests.peers.process import binary, wait_until
from tests.tunnel.rig import HUB, Rig, rig
from tests.wg.netns import Machine, inside

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]

PACS, SCANNER = "10.0.0.20", "10.0.0.30"  # in both hospitals
SITES = {
    key: {"tunnel": f"100.64.0.{number}", "forwards": {104: f"{PACS}:104", 2575: f"{PACS}:2575"}}
    for number, key in enumerate("ab", start=2)
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, dict[str, Machine]]]:
    """Two hospitals with a gateway each; behind each a machine with the very same addresses."""
    with rig(tmp_path_factory.mktemp("twins"), *SITES) as made:
        made.write_table(SITES)
        machines = {}
        for key in SITES:
            made.join(key)
            gateway = made.site(key)
            machines[key] = inside(made.net, key, "10.0.0.1/8", (f"{PACS}/8", f"{SCANNER}/8"))
            gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        made.start_tunnel()
        made.start_engine()
        for key in SITES:
            made.meet(key)
        yield made, machines
        made.stop_engine()
        made.stop_tunnel()


def test_two_hospitals_of_the_same_network_each_get_their_own_report(
    twins: tuple[Rig, dict[str, Machine]], real_study: Path, tmp_path: Path
) -> None:
    made, machines = twins
    folders = {}
    for key in machines:
        folders[key] = made.receive(f"{key}-lan", PACS, title=f"{key}-PACS".upper())
    for key, machine in machines.items():
        files = small_study(real_study, tmp_path / key, instances=4)
        # The scanner knows its own gateway; what is behind it is not its business.
        said = machine.run(
            binary("storescu", "dcmtk"), "-v", "-aet", f"{key}-MR".upper(), "-aec", "PONS",
            "10.0.0.1", "11112", *map(str, files), timeout=120,
        )  # fmt: skip
        assert said.count("Received Store Response (Success)") == 4
    for key, (pacs, his) in folders.items():
        wait_until(lambda his=his: list(his.glob("*.hl7")), f"the ORU of {key}", 90)  # type: ignore[misc]
        wait_until(lambda pacs=pacs: list(pacs.glob("SR*")), f"the SR of {key}", 60)  # type: ignore[misc]
        assert (len(list(his.glob("*.hl7"))), len(list(pacs.glob("SR*")))) == (1, 1)
    assert {row["from"] for row in made.json("studies")} == {"A-MR", "B-MR"}


def test_a_path_that_carries_less_than_it_says_does_not_hang_a_study(
    twins: tuple[Rig, dict[str, Machine]], real_study: Path, tmp_path: Path
) -> None:
    made, _ = twins
    made.net.drop_longer_than(1400)
    site, hub = made.site("a"), made.hub.address
    assert "bytes from" in site.run("ping", "-c1", "-W1", "-Mdo", "-s", "1372", hub, expect=None)
    assert "bytes from" not in site.run("ping", "-c1", "-W1", "-Mdo", "-s", "1373", hub, expect=None)
    files = small_study(real_study, tmp_path / "study", instances=20)
    assert set(made.storescu("a", files).values()) == {"Success"}
    assert made.site("a").reaches(HUB, 11112)


def test_a_probe_measures_what_is_lost_and_how_large_a_packet_may_be(
    twins: tuple[Rig, dict[str, Machine]],
) -> None:
    made, _ = twins
    made.net.drop_longer_than(1300)  # 1280 inside are 1340 outside, 1200 are 1260
    every_second = (
        "table ip lossy { chain input { type filter hook input priority -50; "
        "icmp type echo-request numgen inc mod 2 0 drop; }; }"
    )
    made.site("a").run("nft", "-f", "-", stdin=every_second)
    made.net.cut("b")
    rows = {row["site"]: row for row in made.json("tunnel", "status", "--probe")}
    made.net.mend("b")
    assert (rows["a"]["loss %"], rows["a"]["mtu"]) == (50.0, 1200)
    assert rows["a"]["round trip ms"] > 0
    assert (rows["b"]["loss %"], rows["b"]["round trip ms"], rows["b"]["mtu"]) == (100.0, 0.0, 0)
    for row in rows.values():
        assert 0 <= row["handshake age s"] < 3600, "heard, if not just now"
