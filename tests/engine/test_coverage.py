"""What a table's tests exercise, and what they leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from engine.config import load
from engine.coverage import Coverage, cover
from engine.facts import StudyFacts
from engine.model import Study
from engine.table_tests import cover_tests
from tests.engine.random_routes import HEAD, matches, rules, studies

ROUTES = """routes:
  - name: brain
    from: [pacs]
    match: {site: a, series: {Modality: MR, any: [{SeriesDescription: dti}, {not: {ProtocolName: t1}}]}}
    select: {Modality: MR}
    process: qc
    deliver: [a-pacs]
  - {name: rest, otherwise: true, hold: nobody took it}
tests:
"""

MR = "{Modality: MR, SeriesDescription: dti}"


def covered(folder: Path, *tests: str) -> Coverage:
    path = folder / "routes.yaml"
    lines = [f"  - {{name: t{number}, {test}, expect: {{}}}}\n" for number, test in enumerate(tests)]
    path.write_text(HEAD + ROUTES + "".join(lines).replace("expect: {}", "expect: {shadow: []}"))
    return cover_tests(load(path, surroundings=False))


def unseen(coverage: Coverage) -> dict[str, tuple[str, ...]]:
    return {
        name: missing
        for name, missing in [
            *((route.route, route.unseen) for route in coverage.routes),
            *((leaf.predicate, leaf.unseen) for leaf in coverage.leaves),
        ]
        if missing
    }


def test_without_tests_nothing_is_exercised(tmp_path: Path) -> None:
    found = covered(tmp_path, "given: {site: b}")
    assert unseen(found)["brain"] == ("fires",)
    assert [leaf.predicate for leaf in found.leaves] == [
        "from pacs",
        "site a",
        "Modality MR",
        "SeriesDescription dti",
        "ProtocolName t1",
        "Modality MR",  # of select
    ]
    assert [leaf.position for leaf in found.leaves][:3] == [
        "routes.yaml:14:5",
        "routes.yaml:16:13",
        "routes.yaml:16:31",
    ]


def test_a_predicate_counts_where_a_study_reaches_it(tmp_path: Path) -> None:
    """Of a study of another site nobody asks the modality."""
    found = covered(tmp_path, "given: {site: b, Modality: CT}")
    modality = found.leaves[2]
    assert (modality.held, modality.failed) == (False, False)
    found = covered(tmp_path, "given: {site: a, Modality: CT}")
    assert (found.leaves[2].held, found.leaves[2].failed) == (False, True)


def test_tests_that_show_everything_cover_the_whole_table(tmp_path: Path) -> None:
    found = covered(
        tmp_path,
        f"given: {{site: a, series: [{MR}, {{Modality: SR}}]}}",
        f"given: {{site: b, series: [{MR}]}}",
        f"given: {{site: a, inbound: web, series: [{MR}]}}",
        "given: {site: a, Modality: CT}",
        "given: {site: a, series: [{Modality: MR, ProtocolName: t1}]}",
        "given: {site: a, series: [{Modality: MR, ProtocolName: t2}]}",
    )
    assert unseen(found) == {}
    assert found.percent == 100.0


def test_the_percentage_is_never_rounded_up(tmp_path: Path) -> None:
    found = covered(tmp_path, f"given: {{site: a, series: [{MR}]}}")
    every = 2 * (len(found.routes) + len(found.leaves))
    missing = sum(len(one.unseen) for one in found.routes) + sum(len(one.unseen) for one in found.leaves)
    seen = every - missing
    assert found.percent == seen * 1000 // every / 10


def test_what_cannot_fail_need_not_be_seen_to(tmp_path: Path) -> None:
    """The site of a table with one site, the way in of a table with one."""
    path = tmp_path / "routes.yaml"
    path.write_text(
        "version: 1\nsites: {a: {addresses: [10.0.0.1]}}\ninbound: {web: {type: stow_rs}}\n"
        "routes: [{name: all, from: [web], match: {site: a}, hold: x}]\n"
        "tests: [{name: t, given: {}, expect: {routes: [all]}}]\n"
    )
    found = cover_tests(load(path, surroundings=False))
    assert (unseen(found), found.percent) == ({}, 100.0)


@settings(max_examples=60, deadline=None)
@given(tree=matches(), study=studies())
def test_watching_a_route_decides_as_the_route_does(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], study: Study
) -> None:
    table = rules(tmp_path_factory.mktemp("coverage"), [{"name": "r", "match": tree, "hold": "x"}])
    (route,) = cover(table, [study], {}).routes
    held = table.routes[0].match.miss(StudyFacts(study), StudyFacts(study).whole) is None
    assert (route.fired, route.missed) == (held, not held)
    assert all(leaf.held or leaf.failed for leaf in route.leaves[:1]), "the first is always asked"
