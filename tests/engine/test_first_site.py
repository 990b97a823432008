"""What `pons init` writes passes `check` and its own tests, whatever the hospital looks like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.config import examine
from engine.first_site import DicomPeer, FirstSite, Socket, site_file, table_file

QC = {"type": "quality_control"}
FULL = FirstSite(
    key="st-marys",
    name="St. Mary's",
    timezone="Europe/Dublin",
    addresses=("10.1.0.0/16",),
    tunnel="10.90.7.2",
    ae_titles=("STM_PACS", "STM_CT1"),
    pacs=DicomPeer("10.90.7.2", 104, "STM_PACS"),
    ris=Socket("10.90.7.2", 2575),
    fhir="https://fhir.st-marys.example/r4",
    fhir_token="STM_FHIR_TOKEN",
    webhook="https://his.st-marys.example/hook",
    description="dti 64 (2mm)",
)
PLAIN = FirstSite(key="b", name="b", addresses=("127.0.0.1",), ae_titles=("B",), ris=Socket("::1", 1))
SITES = [
    pytest.param(FULL, id="everything"),
    pytest.param(PLAIN, id="the least"),
    pytest.param(replace(PLAIN, modality="US"), id="the modality of the other test"),
    pytest.param(replace(PLAIN, name='# "no": {yes}, \\'), id="a name full of YAML"),
    pytest.param(replace(PLAIN, webhook="https://b.example", webhook_secret="B_HOOK"), id="a secret by name"),
]


@pytest.mark.parametrize("site", SITES)
def test_its_files_are_a_table_without_a_finding(tmp_path: Path, site: FirstSite) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "routes.yaml").write_text(
        table_file("qc", QC, listen="127.0.0.1:11112", http="127.0.0.1:8080")
    )
    (tmp_path / "sites" / f"{site.key}.yaml").write_text(site_file(site))
    table, findings = examine(tmp_path / "routes.yaml", surroundings=False)
    assert findings == []
    assert table is not None
    assert table.sites[site.key].name == site.name
    assert len(table.tests) == (3 if site.description else 2)


def test_the_ris_hears_of_a_report_when_the_pacs_has_it() -> None:
    (route,) = yaml.safe_load(site_file(FULL))["routes"]
    pacs, ris, *others = route["deliver"]
    assert (pacs, ris) == ("st-marys-pacs", {"to": "st-marys-ris", "after": ["st-marys-pacs"]})
    assert others == ["st-marys-fhir", "st-marys-hook"]


def test_a_secret_is_never_in_a_file_of_the_table() -> None:
    outbound = yaml.safe_load(site_file(FULL))["outbound"]
    assert outbound["st-marys-hook"]["secret"] == {"file": "secrets/st-marys-hook"}
    assert outbound["st-marys-fhir"]["auth"]["token"] == {"env": "STM_FHIR_TOKEN"}
