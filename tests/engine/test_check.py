"""Everything wrong with a table is found at once, each with its position, cause and remedy.

`broken_tables/` holds a table for each kind of mistake; its `# finds:` lines are what must be said
of it, in order and to the letter.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import examine, load
from engine.errors import ConfigurationError

BROKEN = Path(__file__).parent / "broken_tables"
ROOT = Path(__file__).parents[2]


def expected(path: Path) -> list[str]:
    lines = [
        line.removeprefix("# finds: ")
        for line in path.read_text().splitlines()
        if line.startswith("# finds: ")
    ]
    return [f"{path.name}:{line.replace('{folder}', str(path.parent))}" for line in lines]


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_table_has_all_its_findings_and_is_refused_for_errors(path: Path) -> None:
    wanted = expected(path)
    table, findings = examine(path)
    assert wanted, f"{path.name} tells nothing to find"
    assert [str(finding) for finding in findings] == wanted
    assert (table is None) is any(finding.severity == "error" for finding in findings)


def test_the_corpus_covers_the_grammar() -> None:
    assert len(list(BROKEN.glob("*.yaml"))) >= 30


@pytest.mark.parametrize(
    "path", [ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/routes.yaml"))], ids=str
)
def test_the_tables_of_the_repository_have_nothing_to_find(path: Path) -> None:
    table, findings = examine(path)
    # A checkout does not keep who may read a file; whose secret it is, a table in use must see to.
    assert [finding for finding in findings if finding.code != "secret-readable"] == []
    assert table is not None


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    table, (finding,) = examine(tmp_path / "none.yaml")
    assert table is None
    assert str(finding) == "none.yaml:1:1: cannot be read: no such file or directory [unreadable]"


def test_loading_a_broken_table_raises_with_every_finding_on_a_line() -> None:
    path = BROKEN / "everything-at-once.yaml"
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert lines == [f"{path.parent}/{line}" for line in expected(path)]


def test_no_finding_repeats_a_secret() -> None:
    _, findings = examine(BROKEN / "channel-literal-secret.yaml")
    assert findings
    assert not any("hunter2" in str(finding) for finding in findings)


# ── warnings: the table runs, but probably not as meant ─────────────────────────────────────────


def test_a_table_in_which_everything_is_used_has_nothing_to_find(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(
        """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A]}
  b: {addresses: [10.0.0.2], ae_titles: [B]}
inbound: {pacs: {type: c_store}}
processors: {qc: {type: quality_control}}
outbound:
  a-archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  b-pacs: {type: dicom_sr, site: b, host: 10.0.0.2, port: 104, ae_title: B}
routes:
- {name: pinned, match: {site: a}, deliver: [a-archive]}
- {name: in service, match: {site: b, calling_ae_title: B, Modality: MR}, process: qc, deliver: [b-pacs]}
- {name: shadow, mode: shadow, match: {site: a}, process: qc}
- {name: rest, otherwise: true, hold: nothing matched}
"""
    )
    assert examine(path)[1] == []


REPORTED = "where the peer reports on an association of its own, "
HEARD = "; only a report on the association that asked would be heard"


@pytest.mark.parametrize(
    ("inbound", "ae_title", "missing"),
    [
        ("", "A", "no c_store listener takes it: declare one under inbound"),
        ("inbound: {web: {type: stow_rs}}\n", "A", "no c_store listener takes it: declare one under inbound"),
        (
            "inbound: {pacs: {type: c_store, ae_title: OTHER}}\n",
            "A",
            "no c_store listener has the AE title PONS that it is asked from",
        ),
        (
            "inbound: {pacs: {type: c_store}}\n",
            "B",
            "B is not among the ae_titles of site a, so it is turned away",
        ),
        ("inbound: {pacs: {type: c_store}}\n", "A", ""),
    ],
)
def test_a_commitment_whose_report_would_be_turned_away_is_a_warning(
    tmp_path: Path, inbound: str, ae_title: str, missing: str
) -> None:
    path = tmp_path / "routes.yaml"
    peer = f"type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: {ae_title}"
    path.write_text(
        "version: 1\nsites: {a: {addresses: [10.0.0.1], ae_titles: [A]}}\n"
        f"{inbound}outbound:\n  a-archive: {{{peer}, storage_commitment: true}}\n"
    )
    table, findings = examine(path)
    assert [finding.message for finding in findings] == [REPORTED + missing + HEARD] * bool(missing)
    assert [(each.path, each.severity) for each in findings] == [
        ("outbound.a-archive.storage_commitment", "warning")
    ] * bool(missing)
    assert table is not None


def test_two_sites_at_one_address_are_told_apart_by_ae_title_only(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(
        "version: 1\nsites:\n"
        "  a: {addresses: [10.0.0.0/8], ae_titles: [A]}\n"
        "  b: {addresses: [10.0.0.2, '::/0'], ae_titles: [B]}\n"
        "  c: {addresses: ['::ffff:10.0.0.2'], ae_titles: [C]}\n"
    )
    table, findings = examine(path)
    assert [(finding.path, finding.severity) for finding in findings] == [
        ("sites.b", "warning"),  # with a
        ("sites.b.addresses", "warning"),  # takes in every IPv6 address
        ("sites.c", "warning"),  # with a
        ("sites.c", "warning"),  # with b
    ]
    assert table is not None


# ── this machine ────────────────────────────────────────────────────────────────────────────────


def test_what_this_machine_lacks_is_asked_for_only_when_the_table_is_to_run_here() -> None:
    for name in ("secret-not-set", "command-not-there", "protocol-not-there"):
        path = BROKEN / f"{name}.yaml"
        assert load(path, surroundings=False).path == path


def test_a_secret_that_is_there_satisfies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONS_TEST_NOT_SET", "whsec_" + "A" * 44)
    table = tmp_path / "routes.yaml"
    table.write_text((BROKEN / "secret-not-set.yaml").read_text())
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "none").write_text("whsec_" + "B" * 44 + "\n")
    assert examine(table)[1] == []


def test_a_program_beside_the_table_satisfies(tmp_path: Path) -> None:
    table = tmp_path / "routes.yaml"
    table.write_text("version: 1\nprocessors:\n  own: {type: command, command: [bin/model]}\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "model"
    program.write_text("#!/bin/sh\n")
    assert [finding.path for finding in examine(table)[1]] == ["processors.own.command[0]"], "not executable"
    program.chmod(0o755)
    assert examine(table)[1] == []


def test_what_a_part_cannot_be_built_from_is_found_before_the_start(tmp_path: Path) -> None:
    table = tmp_path / "routes.yaml"
    table.write_text("version: 1\nprocessors:\n  qc: {type: quality_control, protocol: p.yaml}\n")
    (tmp_path / "p.yaml").write_text("rules: [not a protocol\n")
    loaded, (finding,) = examine(table)
    assert loaded is None
    assert str(finding).startswith("routes.yaml:3:7: processors.qc: cannot be built: ")


def test_a_thousand_sites_and_ten_thousand_routes_are_read(tmp_path: Path) -> None:
    table = tmp_path / "routes.yaml"
    table.write_text(
        "version: 1\nsites:\n"
        + "".join(
            f"  s{n}: {{addresses: [10.{n // 250}.{n % 250}.2], ae_titles: [S{n}]}}\n" for n in range(1000)
        )
        + "routes:\n"
        + "".join(
            f"  - {{name: r{n}, match: {{site: s{n % 1000}, Modality: MR}}, hold: x}}\n"
            for n in range(10_000)
        )
    )
    loaded = load(table)
    assert (len(loaded.sites), len(loaded.routes)) == (1000, 10_000)
