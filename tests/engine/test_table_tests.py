"""The tests that a table carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import Table, examine, load
from engine.facts import StudyFacts
from engine.table_tests import Verdict, run_tests

HEAD = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A_CT, A_MR]}
  b: {addresses: [10.0.0.2]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112", ae_title: HUB}
  web: {type: stow_rs}
processors: {qc: {type: quality_control}}
outbound:
  archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  pacs: {type: dicom_sr, site: a, host: 10.0.0.1, port: 104, ae_title: A}
routes:
  - {name: archive, match: {site: a}, deliver: [archive]}
  - {name: brain, match: {site: a, series: {Modality: MR, instances: {at_least: 60}}}, process: qc,
     deliver: [pacs]}
  - {name: candidate, mode: shadow, match: {site: a, Modality: MR}, process: qc}
  - {name: rest, otherwise: true, hold: nobody took it}
tests:
"""


def table(folder: Path, *tests: str) -> Table:
    path = folder / "routes.yaml"
    path.write_text(HEAD + "".join(f"  - {{name: t{number}, {test}}}\n" for number, test in enumerate(tests)))
    return load(path)


def verdict(folder: Path, test: str) -> Verdict:
    (found,) = run_tests(table(folder, test))
    return found


MR60 = "given: {site: a, series: [{Modality: MR, instances: 60}]}"

PASSING = [
    f"{MR60}, expect: {{routes: [archive, brain]}}",
    f"{MR60}, expect: {{routes: [archive, brain, candidate]}}",  # a shadow may be named
    f"{MR60}, expect: {{routes: [archive, brain], shadow: [candidate], deliver: [archive, pacs]}}",
    "given: {site: a, Modality: CT}, expect: {routes: [archive], shadow: [], deliver: [archive]}",
    "given: {site: b, Modality: MR}, expect: {routes: [rest], held: nobody took it, deliver: []}",
    "given: {site: a, series: [{Modality: MR, instances: 59}, {Modality: SR}]}, expect: {routes: [archive]}",
    "given: {site: a, series: [{Modality: MR, instances: [{EchoTime: 1}, {EchoTime: 2}]}]}, "
    "expect: {routes: [archive], shadow: [candidate]}",
]


@pytest.mark.parametrize("test", PASSING)
def test_a_table_that_decides_as_told_passes(tmp_path: Path, test: str) -> None:
    found = verdict(tmp_path, test)
    assert found.passed, found.differences


FAILING = [
    (f"{MR60}, expect: {{routes: [brain]}}", [("routes", ("brain",), ("archive", "brain"))]),
    (
        f"{MR60}, expect: {{routes: [brain, archive]}}",
        [("routes", ("brain", "archive"), ("archive", "brain"))],
    ),
    (
        f"{MR60}, expect: {{routes: [archive, brain], shadow: [], deliver: [pacs]}}",
        [("shadow", (), ("candidate",)), ("deliver", ("pacs",), ("archive", "pacs"))],
    ),
    (f"{MR60}, expect: {{routes: [archive, brain], held: why}}", [("held", ("why",), ())]),
    (
        "given: {site: b}, expect: {routes: [rest], held: another reason}",
        [("held", ("another reason",), ("nobody took it",))],
    ),
]


@pytest.mark.parametrize(("test", "differences"), FAILING)
def test_a_table_that_decides_otherwise_says_what_was_expected_and_got(
    tmp_path: Path, test: str, differences: list[tuple[str, tuple[str, ...], tuple[str, ...]]]
) -> None:
    found = verdict(tmp_path, test)
    assert not found.passed
    assert [(one.what, one.expected, one.got) for one in found.differences] == differences


def test_a_failure_gives_the_reason_of_each_route_concerned(tmp_path: Path) -> None:
    found = verdict(
        tmp_path,
        "given: {site: a, series: [{Modality: MR, instances: 9}]}, expect: {routes: [archive, brain]}",
    )
    assert (
        "brain: did not fire, routes.yaml:14:59: wanted one series with instances at least 60, found 9"
        in found.lines
    )


def test_what_is_not_given_is_what_it_most_likely_is(tmp_path: Path) -> None:
    given, web = (
        test.given.study
        for test in table(
            tmp_path,
            "given: {site: a}, expect: {routes: [archive]}",
            "given: {site: b, inbound: web, calling_ae_title: X, called_ae_title: Y, time: '23:59'}, "
            "expect: {routes: []}",
        ).tests
    )
    assert (given.inbound, given.calling_ae_title, given.called_ae_title) == ("pacs", "A_CT", "HUB")
    assert (given.received_at.hour, len(given.instances)) == (12, 1)
    assert (web.inbound, web.calling_ae_title, web.called_ae_title) == ("web", "X", "Y")
    assert StudyFacts(web).minute == 23 * 60 + 59


def test_attributes_of_the_study_hold_for_every_instance_and_the_nearer_wins(tmp_path: Path) -> None:
    (test,) = table(
        tmp_path,
        "given: {site: a, Modality: CT, StudyID: X, "
        "series: [{Modality: MR, instances: [{Modality: SR}, {}]}, {}]}, "
        "expect: {routes: [archive]}",
    ).tests
    found = [(one.attributes["Modality"], one.attributes["StudyID"]) for one in test.given.study.instances]
    assert found == [("SR", "X"), ("MR", "X"), ("CT", "X")]
    assert len({one.series_instance_uid for one in test.given.study.instances}) == 2
    assert len({one.sop_instance_uid for one in test.given.study.instances}) == 3


def test_a_test_with_too_many_instances_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(
        HEAD + "  - {name: t, given: {site: a, series: [{instances: 100001}]}, expect: {routes: []}}\n"
    )
    found = [finding.message for finding in examine(path)[1] if finding.severity == "error"]
    assert found == ["a test has at most 100000 instances"]
