"""What a table's test may give and expect, and what is complained of."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import examine
from engine.table_tests import run_tests

TABLE = """version: 1
sites: {a: {addresses: [10.0.0.1], ae_titles: [A]}}
inbound: {web: {type: stow_rs}}
processors: {qc: {type: quality_control}, both: {type: quality_control}}
outbound:
  ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}
  both: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2576}
routes:
  - {name: r, match: {Modality: MR}, process: qc, deliver: [ris, both]}
  - {name: s, match: {Modality: CT}, process: both, deliver: [ris]}
tests:
  - {name: t, given: {%s}, expect: {%s}}
"""

ROWS: list[tuple[str, str, str, str]] = [  # given, expect, where below the test, what
    ("", "", "expect", "expects nothing; give it routes, deliver, held, or another outcome"),
    ("", "route: [r]", "expect.route", "unknown key 'route'; did you mean 'routes'?"),
    ("", "routes: [q]", "expect.routes[0]", "no route 'q'; there is r, s"),
    ("", "deliver: [his]", "expect.deliver[0]", "no destination 'his'; did you mean 'ris'?"),
    ("", "rendered: {qc: {x: y}}", "expect.rendered.qc", "no destination 'qc'; there is both, ris"),
    (
        "",
        "transformed: {rix: {Modality: MR}}",
        "expect.transformed.rix",
        "no destination or processor 'rix'; did you mean 'ris'?",
    ),
    (
        "",
        "transformed: {both: {Modality: MR}}",
        "expect.transformed.both",
        "is a destination and a processor; rename one",
    ),
    (
        "",
        "transformed: {qc: {Modalitty: MR}}",
        "expect.transformed.qc.Modalitty",
        "no DICOM attribute 'Modalitty'; did you mean 'Modality'?",
    ),
    (
        "",
        "transformed: {qc: {Modality: [MR]}}",
        "expect.transformed.qc.Modality",
        "is a list; write {in: [...]} for any one of several values",
    ),
    (
        "",
        "rendered: {ris: {OBX-5: {match: x}}}",
        "expect.rendered.ris.OBX-5.match",
        "no test 'match'; did you mean 'matches'?",
    ),
    ("dicom_json: none.json", "routes: [r]", "given.dicom_json", "no file 'none.json' in "),
    ("folder: none", "routes: [r]", "given.folder", "no folder 'none' in "),
    ("folder: 5", "routes: [r]", "given.folder", "must be a path, relative to this file"),
    ("folder: '.', series: [{}]", "routes: [r]", "given.series", "folder says already what the study holds"),
    ("result: none.json", "routes: [r]", "given.result", "no file 'none.json' in "),
    (
        "result: {status: done}",
        "routes: [r]",
        "given.result.status",
        "no status 'done'; one of preliminary, ",
    ),
    (
        "result: {finding: []}",
        "routes: [r]",
        "given.result.finding",
        "unknown key 'finding'; did you mean 'findings'?",
    ),
    (
        "result: {findings: [{value: 1}]}",
        "routes: [r]",
        "given.result.findings[0].concept",
        "missing key 'concept'",
    ),
]


@pytest.mark.parametrize(("given", "expect", "where", "what"), ROWS)
def test_what_a_test_cannot_give_or_expect_is_found(
    tmp_path: Path, given: str, expect: str, where: str, what: str
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE % (given, expect))
    (found,) = [one for one in examine(path)[1] if one.path.startswith("tests")]
    assert (found.file, found.line, found.path) == ("routes.yaml", 12, f"tests[0].{where}")
    assert found.message.startswith(what)


def test_paths_start_at_the_file_that_holds_the_test(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(
        (TABLE % ("", "routes: []")).partition("tests:")[0] + "include: [sites/*.yaml]\n"
    )
    (tmp_path / "sites" / "studies").mkdir(parents=True)
    (tmp_path / "sites" / "studies" / "one.json").write_text("{}")
    (tmp_path / "sites" / "a.yaml").write_text(
        "tests: [{name: t, given: {dicom_json: studies/one.json}, expect: {holds: []}}]\n"
    )
    table, findings = examine(tmp_path / "routes.yaml")
    assert table is not None, findings
    (test,) = table.tests
    assert test.given.files == (tmp_path / "sites" / "studies" / "one.json").resolve()
    assert test.expect.positions == {"holds": "sites/a.yaml:1:67"}


def test_an_engine_runs_without_the_files_of_its_tests(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE % ("dicom_json: none.json", "routes: [r]"))
    table, findings = examine(path)
    assert table is not None
    assert [(one.code, one.severity) for one in findings if one.path.startswith("tests")] == [
        ("missing-file", "warning")
    ]
    (verdict,) = run_tests(table)
    assert verdict.trouble == f"{tmp_path / 'none.json'}: no such file or directory"
