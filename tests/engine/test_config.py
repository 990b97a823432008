"""A table that loads: its defaults, its paths, what it reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.config import examine, load, settings_of
from engine.errors import ConfigurationError
from engine.settings import Secret

ROOT = Path(__file__).parents[2]

DESIGNED = """
version: 1
engine: {data: ./data, database: "sqlite", instances: "file", http: "127.0.0.1:8080"}   # all defaulted
include: [sites/*.yaml]                      # one file per hospital
assembly: {stable_after: 60s, force_after: 45m, on_late: rerun, on_conflict: version}
sites:
  st-marys: {name: St. Mary's, timezone: Europe/Dublin, tunnel: 10.90.7.2, ae_titles: [STM_PACS],
             issuer_of_patient_id: {namespace: STM, oid: 1.2.3.4}}
inbound:
  pacs: {type: c_store, listen: "10.90.0.1:11112", ae_title: PONS}
  web:  {type: stow_rs}
processors:
  dti-qc: {type: quality_control, protocol: protocols/dti.yaml}
  model:  {type: command, command: [run-model, "{in}", "{out}"], timeout: 20m}
outbound:
  stm-pacs: {type: dicom_sr, site: st-marys, host: 10.90.7.2, port: 104, ae_title: STM_PACS}
  stm-ris:  {type: hl7_oru, site: st-marys, host: 10.90.7.2, port: 2575,
             tls: {ca: {file: secrets/stm-ca.pem}}}
  stm-hook: {type: webhook, site: st-marys, url: "https://his.st-marys.example/hook",
             secret: {env: STM_HOOK_SECRET}}
routes:
  - name: brain dti
    from: [pacs, web]
    match:
      all:
        - {site: st-marys}
        - {series: {Modality: MR, SeriesDescription: {matches: "(?i)dti"}, instances: {at_least: 60}}}
    transform: [{set: {BodyPartExamined: BRAIN}}]      # study-level edits on what goes onward
    process: dti-qc
    deliver:
      - stm-pacs
      - {to: stm-ris, after: [stm-pacs], when: {status: [final, corrected]}}
  - {name: candidate model, mode: shadow, match: {series: {Modality: MR}}, process: model}
  - {name: nothing matched, otherwise: true, hold: no route matched}
tests:
  - {name: knee is held, given: {site: st-marys, series: [{Modality: MR, BodyPartExamined: KNEE}]},
     expect: {routes: [nothing matched]}}
"""


@pytest.fixture
def designed(tmp_path: Path) -> Path:
    """The table that the design shows, with an included hospital."""
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "county.yaml").write_text(
        "sites:\n  county: {timezone: America/New_York, tunnel: 10.90.8.2, addresses: [10.1.0.0/16]}\n"
    )
    path = tmp_path / "routes.yaml"
    path.write_text(DESIGNED)
    return path


def test_the_table_of_the_design_loads(designed: Path) -> None:
    table = load(designed, surroundings=False)
    assert [route.name for route in table.routes] == ["brain dti", "candidate model", "nothing matched"]
    assert [(name, one.type.name) for name, one in table.outbound.items()] == [
        ("stm-pacs", "dicom_sr"),
        ("stm-ris", "hl7_oru"),
        ("stm-hook", "webhook"),
    ]
    assert table.inbound["pacs"].settings.listen == "10.90.0.1:11112"
    assert table.inbound["pacs"].position == "routes.yaml:10:3"
    assert table.processors["model"].settings.timeout == 1200
    assert table.keywords() == {"Modality", "SeriesDescription"}
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", table.version)
    county, st_marys = table.sites["county"], table.sites["st-marys"]
    assert (county.name, county.timezone, county.addresses) == (
        "county",
        "America/New_York",
        ("10.90.8.2", "10.1.0.0/16"),
    )
    assert (st_marys.name, st_marys.issuer_of_patient_id.oid) == ("St. Mary's", "1.2.3.4")


def test_on_a_machine_without_its_secrets_and_programs_it_says_which(designed: Path) -> None:
    table, findings = examine(designed)
    assert table is None
    assert [finding.path for finding in findings if finding.severity == "error"] == [
        "processors.dti-qc.protocol",
        "processors.model.command[0]",
        "outbound.stm-ris.tls.ca.file",
        "outbound.stm-hook.secret.env",
    ]


def test_an_empty_table_has_every_default(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\n")
    table = load(path)
    assert table.engine.data == tmp_path / "data"
    assert (table.engine.database, table.engine.instances) == ("sqlite", "file")
    assert (table.engine.http, table.engine.ae_title) == ("127.0.0.1:8080", "PONS")
    assert (table.engine.max_instance, table.engine.min_free) == (8 * 1024**3, 1024**3)
    assert (table.engine.reserve, table.engine.log) == (64 * 1024**2, "json")
    assert (table.assembly.stable_after, table.assembly.force_after) == (60.0, 2700.0)
    assert (table.assembly.on_late, table.assembly.on_conflict) == ("rerun", "version")
    assert (table.sites, table.routes, table.tests) == ({}, (), ())


def test_relative_paths_start_at_the_tables_folder_wherever_the_engine_starts(
    designed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(designed.parent.parent)
    table = load(designed.relative_to(designed.parent.parent), surroundings=False)
    base = designed.parent
    assert table.base == base
    assert table.engine.data == base / "data"
    assert table.processors["dti-qc"].settings.protocol == base / "protocols/dti.yaml"
    assert table.outbound["stm-ris"].settings.tls.ca == Secret(file=base / "secrets/stm-ca.pem")


DURATIONS: list[tuple[str, float | None]] = [
    ("60s", 60.0),
    ("1h30m", 5400.0),
    ("250ms", 0.25),
    ("2d", 172800.0),
    ("60", None),
    ("1 hour", None),
    ("-5s", None),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_a_duration_has_a_unit(tmp_path: Path, text: str, seconds: float | None) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(f"version: 1\nassembly: {{stable_after: {text}, force_after: 3d}}\n")
    table, findings = examine(path)
    if seconds is None:
        assert [str(finding) for finding in findings] == [
            "routes.yaml:2:26: assembly.stable_after: "
            "a duration needs a unit, for example 250ms, 60s, 20m, 72h [bad-value]"
        ]
    else:
        assert table is not None
        assert table.assembly.stable_after == seconds


SIZES: list[tuple[str, int | None]] = [
    ("4GB", 4 * 1024**3),
    ("512 MB", 512 * 1024**2),
    ("1048576", 1048576),
    ("64KB", None),
    ("lots", None),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_size_is_bytes_or_has_a_unit(tmp_path: Path, text: str, size: int | None) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(f"version: 1\nengine: {{max_instance: {text}}}\n")
    table, findings = examine(path)
    assert [finding.path for finding in findings] == ([] if size else ["engine.max_instance"])
    assert (table.engine.max_instance if table else None) == size


def test_where_the_engine_is_can_be_read_of_a_table_that_is_broken_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./here}\nroutes: [{name: a, deliver: [nobody]}, {nme: b}]\n")
    assert settings_of(path).data == tmp_path / "here"
    assert settings_of(path, tmp_path / "other").data == tmp_path / "other" / "here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {data: ./here, htp: 1}\n", "routes.yaml:1:24: engine.htp: unknown key 'htp'"),
        ("engine: [\n", "not YAML"),
    ],
)
def test_where_the_engine_is_must_be_said_without_mistakes(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        settings_of(path)
    with pytest.raises(ConfigurationError, match="no such file"):
        settings_of(tmp_path / "gone.yaml")
