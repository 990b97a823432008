"""Which routes fire, in which order, and what the decision says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from engine.config import Table, load
from engine.facts import StudyFacts
from engine.model import InstanceFacts, Study
from engine.route import (
    EXPLAINED_IN_FULL,
    Decision,
    Failed,
    RouteIndex,
    decide,
    decision_from_json,
    decision_to_json,
)
from engine.when import When

HEAD = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A]}
  b: {addresses: [10.0.0.2], ae_titles: [B]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112"}
  web: {type: stow_rs}
processors: {qc: {type: quality_control}}
outbound:
  a-archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  a-pacs: {type: dicom_sr, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  a-ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}
"""


def table(folder: Path, routes: str) -> Table:
    path = folder / "routes.yaml"
    path.write_text(HEAD + routes)
    return load(path)


def study(site: str = "a", inbound: str = "pacs", *modalities: str) -> Study:
    return Study(
        site=site,
        study_instance_uid="1.2",
        revision=1,
        inbound=inbound,
        calling_ae_title="A",
        called_ae_title="PONS",
        received_at=datetime(2026, 3, 1, 10, 30),
        instances=tuple(
            InstanceFacts(f"1.2.{n}", f"1.2.{n}.1", "1.2.3", "1.2.840.10008.1.2.1", {"Modality": modality})
            for n, modality in enumerate(modalities or ("MR",))
        ),
    )


def fired(decision: Decision) -> list[str]:
    return [hit.route for hit in decision.hits]


ROUTES = """
routes:
  - {name: archive, match: {site: a}, deliver: [a-archive]}
  - name: magnetic
    from: [pacs]
    match: {site: a, Modality: MR}
    select: {Modality: MR}
    process: qc
    transform: [{set: {BodyPartExamined: BRAIN}}, {remove: [StudyID]}]
    deliver: [a-pacs, {to: a-ris, after: a-pacs, when: {status: [final, corrected]}}]
  - {name: candidate, mode: shadow, match: {series: {Modality: {in: [MR, US]}}}, process: qc}
  - {name: odd, match: {site: b, Modality: OT}, hold: look at it}
  - {name: rest of b, otherwise: true, match: {site: b}, hold: nobody took it}
"""

ROWS: list[tuple[Study, list[str], str]] = [
    (study("a", "pacs", "MR"), ["archive", "magnetic", "candidate"], "routed"),
    (study("a", "pacs", "MR", "SR"), ["archive", "magnetic", "candidate"], "routed"),
    (study("a", "web", "MR"), ["archive", "candidate"], "routed"),  # not from where the route listens
    (study("a", "pacs", "CT"), ["archive"], "routed"),
    (study("b", "pacs", "OT"), ["odd"], "held"),  # every route that fired holds
    (study("b", "pacs", "US"), ["candidate", "rest of b"], "held"),  # a shadow takes nothing away
    (study("b", "pacs", "CT"), ["rest of b"], "held"),
    (study("c", "pacs", "CT"), [], "held"),  # a site the table no longer has
]


@pytest.mark.parametrize(("subject", "routes", "verdict"), ROWS)
def test_every_matching_route_fires_in_file_order(
    tmp_path: Path, subject: Study, routes: list[str], verdict: str
) -> None:
    decision = decide(subject, table(tmp_path, ROUTES))
    assert fired(decision) == routes
    assert decision.verdict == verdict


def test_a_hit_says_what_happens_next(tmp_path: Path) -> None:
    loaded = table(tmp_path, ROUTES)
    decision = decide(study("a", "pacs", "SR", "MR"), loaded)
    hit = next(one for one in decision.hits if one.route == "magnetic")
    assert hit.position == "routes.yaml:16:5"
    assert hit.why == "holds: site a, Modality MR; 1 of 2 series selected"
    assert hit.process == "qc"
    assert hit.series == ("1.2.1",)
    assert hit.transform == ({"set": {"BodyPartExamined": "BRAIN"}}, {"remove": ["StudyID"]})
    assert [(one.to, one.after, [each.status for each in one.when]) for one in hit.deliver] == [
        ("a-pacs", (), []),
        ("a-ris", ("a-pacs",), [("final", "corrected")]),
    ]
    assert decision.table_version == loaded.version


def test_without_select_every_series_goes_to_the_processor(tmp_path: Path) -> None:
    decision = decide(study("a", "web", "SR", "MR", "CT"), table(tmp_path, ROUTES))
    shadow = next(one for one in decision.hits if one.shadow)
    assert shadow.series == ("1.2.0", "1.2.1", "1.2.2")


def test_a_route_whose_select_names_no_series_of_the_study_does_not_fire(tmp_path: Path) -> None:
    routes = (
        "routes:\n  - {name: x, match: {site: a}, select: {Modality: CT}, process: qc, deliver: [a-pacs]}\n"
    )
    (outcome,) = decide(study("a", "pacs", "MR"), table(tmp_path, routes)).outcomes
    assert not outcome.hit
    assert outcome.why == "routes.yaml:14:33: wanted a series with Modality CT to process, found none"


SELECTED: list[tuple[str, tuple[str, ...]]] = [
    ("{Modality: MR}", ("1.2.1",)),
    ("{any: [{Modality: MR}, {Modality: CT}]}", ("1.2.1", "1.2.2")),
    ("{not: {Modality: SR}}", ("1.2.1", "1.2.2")),
    ("{all: [{instances: 1}, {Modality: {not: CT}}]}", ("1.2.0", "1.2.1")),
    ("{instance: {Modality: CT}}", ("1.2.2",)),
    ("{series: {Modality: SR}}", ("1.2.0",)),
]


@pytest.mark.parametrize(("select", "series"), SELECTED)
def test_select_names_series_by_the_whole_grammar(
    tmp_path: Path, select: str, series: tuple[str, ...]
) -> None:
    routes = (
        f"routes:\n  - {{name: x, match: {{site: a}}, select: {select}, process: qc, deliver: [a-pacs]}}\n"
    )
    (outcome,) = decide(study("a", "pacs", "SR", "MR", "CT"), table(tmp_path, routes)).outcomes
    assert outcome.series == series


def test_every_route_of_a_table_tells_its_reason(tmp_path: Path) -> None:
    decision = decide(study("a", "web", "CT"), table(tmp_path, ROUTES))
    assert [(outcome.route, outcome.hit, outcome.why) for outcome in decision.outcomes] == [
        ("archive", True, "holds: site a"),
        ("magnetic", False, "routes.yaml:16:5: wanted from pacs, found web"),
        ("candidate", False, "routes.yaml:23:54: wanted one series with Modality MR or US, found 'CT'"),
        ("odd", False, "routes.yaml:24:25: wanted site b, found 'a'"),
        ("rest of b", False, "another route fired: archive"),
    ]
    assert decision.passed_over == 0


def test_a_decision_survives_the_store(tmp_path: Path) -> None:
    loaded = table(tmp_path, ROUTES)
    for subject, _, _ in ROWS:
        decision = decide(subject, loaded)
        stored = decision_to_json(decision)
        assert decision_from_json(stored) == decision
        assert "deliver" not in stored["outcomes"][3], "what is empty is not stored"


def test_a_decision_of_an_earlier_release_is_still_read() -> None:
    """It names the statuses that are sent, and knows neither outcomes, findings nor hours."""
    stored = {
        "table_version": "v",
        "outcomes": [
            {
                "route": "r",
                "position": "routes.yaml:1:1",
                "hit": True,
                "why": "holds",
                "deliver": [{"to": "a-ris", "when_status": ["final", "corrected"]}, {"to": "a-pacs"}],
            }
        ],
    }
    (outcome,) = decision_from_json(stored).outcomes
    assert [one.when for one in outcome.deliver] == [(When(status=("final", "corrected")),), ()]
    assert outcome.schedule == ()


# ── the index ───────────────────────────────────────────────────────────────────────────────────


def test_a_large_table_is_asked_through_its_index_and_counts_the_rest(tmp_path: Path) -> None:
    routes = "routes:\n" + "".join(
        f"  - {{name: r{number}, match: {{site: {'ab'[number % 2]}, Modality: MR}}, hold: x}}\n"
        for number in range(EXPLAINED_IN_FULL + 2)
    )
    loaded = table(tmp_path, routes)
    decision = decide(study("a", "pacs", "MR"), loaded)
    assert fired(decision) == [f"r{number}" for number in range(0, EXPLAINED_IN_FULL + 2, 2)]
    assert (len(decision.outcomes), decision.passed_over) == (101, 101)
    assert loaded.index is loaded.index, "made once"


def test_each_route_stands_under_the_demand_that_the_fewest_share(tmp_path: Path) -> None:
    routes = "routes:\n" + "".join(
        f"  - {{name: r{n}, match: {{site: a, Modality: MR, series: {{ProtocolName: P{n}}}}}, hold: x}}\n"
        for n in range(50)
    )
    routes += "  - {name: everyone, match: {SeriesDescription: {matches: x}}, hold: x}\n"
    index = RouteIndex(table(tmp_path, routes).routes)
    subject = study("a", "pacs", "MR")
    attributes = {"Modality": "MR", "ProtocolName": "P7"}
    subject = replace(subject, instances=(replace(subject.instances[0], attributes=attributes),))
    assert [route.name for route in index.candidates(StudyFacts(subject))] == ["r7", "everyone"]


def test_a_miss_names_the_predicate_that_failed_as_data(tmp_path: Path) -> None:
    decision = decide(study("a", "web", "CT"), table(tmp_path, ROUTES))
    assert [outcome.failed for outcome in decision.outcomes] == [
        None,
        Failed("routes.yaml:16:5", "from pacs", "web"),
        Failed("routes.yaml:23:54", "one series with Modality MR or US", "'CT'"),
        Failed("routes.yaml:24:25", "site b", "'a'"),
        None,  # no predicate of its own: another route fired
    ]


def test_decisions_of_earlier_releases_are_read_without_it(tmp_path: Path) -> None:
    stored = decision_to_json(decide(study("a", "web", "CT"), table(tmp_path, ROUTES)))
    for outcome in stored["outcomes"]:
        outcome.pop("failed", None)
    assert [outcome.failed for outcome in decision_from_json(stored).outcomes] == [None] * 5
