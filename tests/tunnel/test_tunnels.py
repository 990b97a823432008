"""Real tunnels: a hospital reaches what it may, is who its tunnel says, and nobody else gets near."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from tests.e2e.studies import small_study
from tests.peers.process import wait_until
from tests.tunnel.rig import ADDRESSES, DICOM, HL7, HTTP, HUB, PONS, Rig

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]


def test_a_hospital_stores_and_gets_its_report_and_its_message_back_inside(
    hospitals: Rig, real_study: Path, tmp_path: Path
) -> None:
    files = small_study(real_study, tmp_path / "study")
    statuses = hospitals.storescu("a", files)
    assert set(statuses.values()) == {"Success"}
    home = hospitals.folder / "site-a"
    wait_until(lambda: list((home / "his").glob("*.hl7")), "an ORU at site a", 90)
    wait_until(lambda: list((home / "pacs").glob("SR*")), "an SR at site a", 60)
    assert not list((hospitals.folder / "site-b").glob("his/*.hl7")), "nothing of a's at b"
    report = pydicom.dcmread(next((home / "pacs").glob("SR*")))
    assert pydicom.dcmread(files[0]).StudyInstanceUID == report.StudyInstanceUID
    wait_until(
        lambda: hospitals.deliveries() == {"a-pacs": ["delivered"], "a-his": ["delivered"]}, "both", 30
    )


def test_stow_travels_the_same_way(hospitals: Rig, real_study: Path, tmp_path: Path) -> None:
    (path,) = small_study(real_study, tmp_path / "study", instances=1)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--b--\r\n"
    (tmp_path / "body").write_bytes(body)
    status = hospitals.site("a").run(
        "curl", "-s", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}",
        "--data-binary", f"@{tmp_path}/body",
        "-H", 'Content-Type: multipart/related; type="application/dicom"; boundary=b',
        f"http://{HUB}:{HTTP}/dicomweb/studies",
    )  # fmt: skip
    assert status == "200"
    (study,) = [row for row in hospitals.json("studies") if row["from"] == ADDRESSES["a"]]
    assert study["site"] == "a"
    home = hospitals.folder / "site-a"
    wait_until(lambda: len(list((home / "his").glob("*.hl7"))) == 2, "its ORU at site a", 90)
    wait_until(lambda: len(list((home / "pacs").glob("SR*"))) == 2, "its SR at site a", 60)


def test_another_hospitals_ae_title_is_worth_nothing(
    hospitals: Rig, real_study: Path, tmp_path: Path
) -> None:
    files = small_study(real_study, tmp_path / "study", instances=1)
    assert hospitals.storescu("b", files, calling="A-MR", expect=1) == {}
    assert '"unknown": "calling_ae_title"' in hospitals.log_text()
    sample = 'pons_peers_turned_away_total{inbound="pacs",unknown="calling_ae_title"}'
    assert hospitals.metrics()[sample] == 1
    wait_until(
        lambda: [one for one in hospitals.json("audit", "list") if one["action"] == "peer turned away"],
        "the audit event",
        20,
    )


def test_a_hospital_reaches_the_engines_ports_and_nothing_else_of_the_hub(hospitals: Rig) -> None:
    listener = "import socket, time; s = socket.create_server(('', 9999)); time.sleep(600)"
    hospitals.hub.start("python3", "-c", listener, log=tmp_log(hospitals))
    wait_until(lambda: hospitals.hub.reaches(HUB, 9999), "a port that is none of a hospital's business")
    a = hospitals.site("a")
    assert a.reaches(HUB, DICOM)
    assert a.reaches(HUB, HTTP)
    assert not a.reaches(HUB, 9999)
    assert hospitals.net["outside"].reaches(hospitals.hub.address, 9999), "it does listen"


def test_no_hospital_reaches_another(hospitals: Rig) -> None:
    assert hospitals.site("b").reaches(ADDRESSES["b"], 104), "its PACS does listen"
    assert hospitals.hub.reaches(ADDRESSES["b"], 104), "and the hub does reach it"
    a = hospitals.site("a")
    assert not a.reaches(ADDRESSES["b"], 104)
    # Not even by a site that routes the whole block into its tunnel, nor with forwarding on at the hub.
    hospitals.hub.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    a.run("ip", "route", "replace", f"{ADDRESSES['b']}/32", "dev", a.interface)
    a.run("wg", "set", a.interface, "peer", hub_key(hospitals), "allowed-ips", "100.64.0.0/16")
    assert a.reaches(HUB, DICOM)
    assert not a.reaches(ADDRESSES["b"], 104)


def test_the_hub_reaches_a_hospital_on_its_declared_ports_only(hospitals: Rig) -> None:
    listener = "import socket, time; s = socket.create_server(('', 8888)); time.sleep(600)"
    a = hospitals.site("a")
    a.start("python3", "-c", listener, log=tmp_log(hospitals))
    wait_until(lambda: a.reaches(ADDRESSES["a"], 8888), "another port of the hospital")
    assert hospitals.hub.reaches(ADDRESSES["a"], HL7)
    assert not hospitals.hub.reaches(ADDRESSES["a"], 8888)


def test_a_borrowed_address_goes_nowhere(hospitals: Rig) -> None:
    b = hospitals.site("b")
    b.run("ip", "address", "add", "100.64.0.77/32", "dev", b.interface)
    b.run("ip", "address", "add", f"{ADDRESSES['a']}/32", "dev", b.interface)
    b.run("nft", "flush", "chain", "ip", "pons_site", "postrouting")  # which would put its own address back
    for borrowed in (ADDRESSES["a"], "100.64.0.77"):
        said = b.run("ping", "-c", "2", "-W", "1", "-I", borrowed, HUB, expect=None)
        assert "bytes from" not in said
    assert "bytes from" in b.run("ping", "-c", "1", "-W", "2", "-I", ADDRESSES["b"], HUB)
    for borrowed in (ADDRESSES["a"], "100.64.0.77"):
        b.run("ip", "address", "del", f"{borrowed}/32", "dev", b.interface)


def test_from_outside_nothing_listens_on_any_address(hospitals: Rig) -> None:
    outside, hub = hospitals.net["outside"], hospitals.hub
    # The outsider guesses the tunnel's address and sends its packets to the hub's own wire.
    outside.run("ip", "route", "replace", f"{HUB}/32", "via", hub.address, "dev", "eth0")
    listening = [line.split()[3] for line in hub.run("ss", "-ltnH").splitlines()]
    for port in (DICOM, HTTP):
        assert [one for one in listening if one.endswith(f":{port}")] == [f"{HUB}:{port}"]
    doors = [(address, port) for address in (hub.address, HUB) for port in (DICOM, HTTP, HL7, 104)]
    with ThreadPoolExecutor(len(doors)) as pool:  # each waits in vain
        answered = list(pool.map(lambda door: outside.reaches(*door), doors))
    assert [door for door, yes in zip(doors, answered, strict=True) if yes] == []


def test_no_secret_is_in_a_log_an_argument_list_or_json_and_the_files_are_private(hospitals: Rig) -> None:
    home = hospitals.folder / "tunnel"
    secrets = [path.read_text().strip() for path in (home / "hub.key", *home.glob("preshared/*.key"))]
    secrets += [(hospitals.folder / f"site-{key}" / "private.key").read_text().strip() for key in ADDRESSES]
    said = [
        hospitals.log_text(),
        hospitals.pons("tunnel", "rules"),
        hospitals.hub.run(PONS, "check", str(hospitals.table)),
    ]
    said += [hospitals.pons(*words, "--json") for words in (("tunnel", "status"), ("site", "list"))]
    said += [path.read_text() for path in (home / "status.json", home / "register.json")]
    said += [path.read_bytes().replace(b"\0", b" ").decode(errors="replace") for path in argument_lists()]
    assert len(secrets) == 5
    assert [text[:40] for text in said for secret in secrets if secret in text] == []
    modes = {
        path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_file() and path.name != "lock"
    }
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o077 for path in home.rglob("*") if path.is_dir()} == {0}


def argument_lists() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]


def hub_key(hospitals: Rig) -> str:
    return hospitals.hub.run("wg", "show", hospitals.hub.interface, "public-key").strip()


def tmp_log(hospitals: Rig) -> Path:
    return hospitals.folder / "listeners.log"
