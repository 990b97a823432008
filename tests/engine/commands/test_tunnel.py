"""`pons tunnel` where there is no interface: what it prints, what it refuses, how it says so.

What it does to a real interface is in tests/tunnel.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.commands.desk_house import House
from wg.device import exists

NAME = "ponsnot0"  # no interface of this machine

TABLE = f"""
version: 1
engine: {{data: ./data}}
tunnel: {{endpoint: "hub.example:51820", interface: {NAME}}}
sites:
  north: {{tunnel: 100.64.0.2, ae_titles: [N]}}
outbound:
  north-pacs: {{type: dicom_sr, site: north, host: 100.64.0.2, port: 104, ae_title: PACS}}
"""


@pytest.fixture
def hub(tmp_path: Path) -> House:
    assert not exists(NAME)
    (tmp_path / "routes.yaml").write_text(TABLE)
    return House(tmp_path)


def test_the_rules_name_the_ports_of_the_engine_and_of_the_site(hub: House) -> None:
    said = hub.run("tunnel", "rules")
    assert f'iifname "{NAME}" tcp dport {{ 8080 }} ct state new accept' in said
    assert "elements = { 100.64.0.2 . 104 }" in said


@pytest.mark.parametrize("command", ["sync", "save", "status"])
def test_without_an_interface_the_way_to_one_is_told(hub: House, command: str) -> None:
    said = hub.refused("tunnel", command)
    assert said == f"there is no interface {NAME}; `pons tunnel up` makes it"


def test_the_status_of_a_site_without_a_tunnel_says_so(hub: House) -> None:
    assert "site north has no tunnel; `pons site add north`" in hub.refused("tunnel", "status", "north")


@pytest.mark.parametrize("command", ["up", "sync", "save", "down", "watch", "status", "rules", "units"])
def test_a_table_without_tunnels_says_where_to_read(hub: House, command: str) -> None:
    table = hub.folder / "routes.yaml"
    table.write_text("version: 1\nengine: {data: ./data}\nsites: {north: {addresses: [192.0.2.1]}}\n")
    more = ["--out", str(hub.folder / "units")] if command == "units" else []
    said = hub.refused("tunnel", command, *more)
    assert "has no section `tunnel:`; docs/tunnels.md shows one" in said


def test_units_are_written_for_this_table_and_this_user(hub: House) -> None:
    out = hub.folder / "units"
    assert hub.run("tunnel", "units", "--out", str(out), "--user", "radiology").startswith(f"{out}: ")
    engine, tunnel = ((out / name).read_text() for name in ("pons.service", "pons-tunnel.service"))
    for unit in (engine, tunnel):
        assert "\nUser=radiology\n" in unit
        assert f" --table {hub.table}\n" in unit
    assert f"\nReadWritePaths={hub.folder}/data {hub.folder}/tunnel\n" in engine
    assert "\nCapabilityBoundingSet=\n" in engine
    assert "\nCapabilityBoundingSet=CAP_NET_ADMIN\n" in tunnel


@pytest.mark.parametrize("user", ["", "pons;reboot", "pons\nUser=root", "%u"])
def test_a_user_that_means_something_to_systemd_is_refused(hub: House, user: str) -> None:
    out = hub.folder / "units"
    assert "in a unit" in hub.refused("tunnel", "units", "--out", str(out), "--user", user)
    assert not out.exists()
