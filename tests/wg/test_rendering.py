"""What is rendered, as golden files, and as the programs read it that it is made for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from wg.block import Block
from wg.firewall import Reach, render_hub_rules
from wg.kit import make_kit
from wg.peer import Peer, checked_interface, render_interface
from wg.register import SiteTunnel
from wg.site import Forward, Hub, HubPort, parse_forward, render_forwards, render_site
from wg.unit import render_engine_unit, render_tunnel_unit

GOLDEN = Path(__file__).parent / "golden"

BLOCK = Block()
SITE = SiteTunnel("st-marys", "100.64.0.2", "enrolled", 0.0, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAkA=")
PSK = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA0A="
PRIVATE = "AAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAUA="  # as Curve25519 clamps it
PORTS = (HubPort(8080, "DICOMweb STOW-RS"), HubPort(11112, "DICOM C-STORE, AE title PONS"))
HUB = Hub("BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBEA=", "hub.example:51820", PORTS)
FORWARDS = (parse_forward(104, "10.0.0.20:104"), parse_forward(2575, "10.0.0.30:2575"))

RENDERED: dict[str, Callable[[], str]] = {
    "hub.conf": lambda: render_interface(
        PRIVATE,
        51820,
        (Peer("st-marys", SITE.public_key, (), PSK, "203.0.113.9:4711", 25),),
    ),
    "hub.nft": lambda: render_hub_rules(
        "pons0",
        BLOCK,
        [8080, 11112],
        [Reach(IPv4Address("100.64.0.2"), 104), Reach(IPv6Address("fd6f:6e73::2"), 104)],
    ),
    "hub-closed.nft": lambda: render_hub_rules("pons0", BLOCK, (), ()),
    "site.conf": lambda: render_site(SITE, BLOCK, HUB, PSK),
    "site-with-key.conf": lambda: render_site(SITE, BLOCK, HUB, PSK, private_key=PRIVATE),
    "site.nft": lambda: render_forwards(SITE, BLOCK, HUB, FORWARDS),
    "site-without-forwards.nft": lambda: render_forwards(SITE, BLOCK, HUB, ()),
    "site-own-ports.nft": lambda: render_forwards(SITE, BLOCK, HUB, (), own_ports=(2575, 104)),
    "README.txt": lambda: (
        make_kit(SITE, BLOCK, HUB, PSK, FORWARDS, site_name="St. Mary's").files["README.txt"].decode()
    ),
    "pons.service": lambda: render_engine_unit(
        Path("/usr/lib/pons/bin/pons"),
        Path("/etc/pons/routes.yaml"),
        (Path("/var/lib/pons"), Path("/var/lib/pons/tunnel")),
        "pons",
    ),
    "pons-tunnel.service": lambda: render_tunnel_unit(
        Path("/usr/lib/pons/bin/pons"), Path("/etc/pons/routes.yaml"), Path("/var/lib/pons/tunnel"), "pons"
    ),
}


@pytest.mark.parametrize("name", RENDERED)
def test_it_is_rendered_as_the_golden_file_says(name: str) -> None:
    assert RENDERED[name]() == (GOLDEN / name).read_text()


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{name} is not installed: run .ci/peers.sh as root")
    return found


@pytest.mark.tunnel
@pytest.mark.parametrize("name", [name for name in RENDERED if name.endswith(".nft")])
def test_nft_takes_the_rules(name: str) -> None:
    check = [program("unshare"), "--net", program("nft"), "--check", "--file", str(GOLDEN / name)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.tunnel
@pytest.mark.parametrize("name", ["site.conf", "site-with-key.conf"])
def test_wg_quick_takes_the_configuration_of_a_site(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pons0.conf"
    file.touch(mode=0o600)
    file.write_text((GOLDEN / name).read_text())
    done = subprocess.run(
        [program("wg-quick"), "strip", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Address" not in done.stdout
    assert f"PublicKey = {HUB.public_key}" in done.stdout


@pytest.mark.tunnel
def test_wg_takes_the_configuration_of_the_hub() -> None:
    name = f"wr{os.getpid()}"
    made = f"ip link add {name} type wireguard 2>/dev/null || wireguard-go {name} 2>/dev/null"
    script = (
        f"{{ {made}; }} && wg setconf {name} {GOLDEN / 'hub.conf'} && wg showconf {name}; ip link del {name}"
    )
    done = subprocess.run(
        [program("unshare"), "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in (GOLDEN / "hub.conf").read_text().splitlines():
        assert line.startswith("#") or line in done.stdout, "as wg reads it, it writes it"


@pytest.mark.tunnel
@pytest.mark.parametrize("name", ["pons.service", "pons-tunnel.service"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    unit = (
        (GOLDEN / name)
        .read_text()
        .replace("/usr/lib/pons/bin/pons", "/bin/true")
        .replace("User=pons", "User=root")
    )
    (tmp_path / name).write_text(unit)
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, said) == (0, [])


def test_a_kit_without_a_private_key_has_no_secret_but_the_preshared_key_and_no_picture() -> None:
    kit = make_kit(SITE, BLOCK, HUB, PSK, FORWARDS)
    assert sorted(kit.files) == ["README.txt", "pons-site.nft", "pons0.conf"]
    assert b"PrivateKey" not in b"".join(kit.files.values())
    assert PSK.encode() not in kit.files["README.txt"] + kit.files["pons-site.nft"]


def test_a_kit_with_a_private_key_has_its_picture() -> None:
    kit = make_kit(SITE, BLOCK, HUB, PSK, private_key=PRIVATE)
    assert kit.files["pons0.svg"].startswith(b"<?xml")


@pytest.mark.parametrize("name", ["", "0pons", "pons.0", "sixteen-letters-", "pons 0", 'pons"0', "pons\n0"])
def test_what_is_no_interface_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 15"):
        checked_interface(name)


@pytest.mark.parametrize("target", ["10.0.0.20", "10.0.0.20:", "host:104", "10.0.0.20:0", "10.0.0.20:104;x"])
def test_what_is_no_forward_is_refused(target: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 the address and the port say their own words
        parse_forward(104, target)


@pytest.mark.parametrize("path", ["/srv/pons;reboot", "/srv/pons\nUser=root", "/srv/%h"])
def test_a_path_that_means_something_to_systemd_makes_no_unit(path: str) -> None:
    with pytest.raises(ValueError, match="in a unit"):
        render_engine_unit(Path(path), Path("/etc/pons/routes.yaml"), (Path("/var/lib/pons"),), "pons")


def test_a_forward_keeps_its_port() -> None:
    assert parse_forward(104, "10.0.0.20:11112") == Forward(104, IPv4Address("10.0.0.20"), 11112)
