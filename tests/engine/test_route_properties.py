"""What holds of the router whatever the table and the study: properties, each over random ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.facts import StudyFacts
from engine.model import Algorithm, Order, Patient, Report, Result, ResultStatus, Study, StudyReference
from engine.result_of_run import wanted_of
from engine.route import (
    RouteIndex,
    decide_among,
    decide_in_full,
    decision_from_json,
    decision_to_json,
    forwards_of,
    runs_of,
)
from tests.engine.random_routes import holds, matches, rules, studies

RESULTS = ("a-pacs", "a-ris")
EVERYONE = ("a-archive", *RESULTS)


@st.composite
def routes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to ten routes, `otherwise` routes last."""
    made: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 10))):
        route: dict[str, Any] = {"name": f"r{number}"}
        if draw(st.booleans()):
            route["match"] = draw(matches())
        if draw(st.booleans()):
            route["from"] = draw(st.sampled_from([["pacs"], ["web"], ["pacs", "web"]]))
        kind = draw(st.sampled_from(["hold", "process", "forward"]))
        if kind == "hold":
            route["hold"] = "x"
        else:
            to = draw(st.lists(st.sampled_from(EVERYONE), unique=True, max_size=3))
            when = {"status": draw(st.sampled_from(["final", "failed"]))}
            route["deliver"] = [{"to": one, "when": when} if draw(st.booleans()) else one for one in to]
        if kind == "process":
            route["process"] = draw(st.sampled_from(["qc", "model"]))
            if draw(st.booleans()):
                route["select"] = draw(matches(1, "series"))
        if draw(st.booleans()):
            route["mode"] = "shadow"
        made.append(route)
    for number in range(draw(st.integers(0, 2))):
        made.append({"name": f"otherwise{number}", "otherwise": True, "hold": "y"})
        if draw(st.booleans()):
            made[-1]["match"] = draw(matches())
    return made


def would_fire(route: dict[str, Any], study: Study) -> bool:
    """Whether a route takes a study, but for what other routes do; from the description alone."""
    if study.inbound not in route.get("from", [study.inbound]):
        return False
    if not holds(route.get("match", {}), study, study.instances):
        return False
    uids = {one.series_instance_uid for one in study.instances}
    return "select" not in route or any(
        holds(route["select"], study, [one for one in study.instances if one.series_instance_uid == uid])
        for uid in uids
    )


@settings(max_examples=150, deadline=None)
@given(written=routes(), study=studies())
def test_the_index_and_naive_evaluation_agree(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], study: Study
) -> None:
    loaded = rules(tmp_path_factory.mktemp("routes"), written)
    facts = StudyFacts(study)
    everything = decide_in_full(study, loaded)
    indexed = decide_among(facts, RouteIndex(loaded.routes).candidates(facts), loaded)
    assert indexed.hits == everything.hits
    assert indexed.passed_over + len(indexed.outcomes) == len(everything.outcomes) == len(written)

    ordinary = [one for one in written if not one.get("otherwise")]
    expected = [one["name"] for one in ordinary if would_fire(one, study)]
    live = [one for one in ordinary if one["name"] in expected and one.get("mode") != "shadow"]
    if not live:
        expected += [one["name"] for one in written if one.get("otherwise") and would_fire(one, study)]
    assert [hit.route for hit in everything.hits] == expected


@settings(max_examples=100, deadline=None)
@given(written=routes(), study=studies())
def test_order_and_once_only(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], study: Study
) -> None:
    loaded = rules(tmp_path_factory.mktemp("routes"), written)
    decision = decide_in_full(study, loaded)
    order = [route.name for route in loaded.routes]
    hits = [hit.route for hit in decision.hits]
    assert hits == sorted(hits, key=order.index), "every matching route fires, in file order"

    by_name = {one["name"]: one for one in written}
    others = [hit for hit in decision.hits if not hit.shadow and not by_name[hit.route].get("otherwise")]
    assert not (others and any(by_name[hit].get("otherwise") for hit in hits)), "otherwise means none else"

    forwards = forwards_of(decision.hits, lambda to: to not in RESULTS)
    _once_and_first([sending.to for _, sending in forwards])
    for hit, sending in forwards:
        assert not hit.shadow, "a shadow never delivers"
        named = [one for one in decision.hits if not one.shadow and sending.to in _named(one.deliver)]
        assert hit is named[0], "the first route that names a destination counts"

    runs = runs_of(decision.hits)
    assert sorted(hit.route for run in runs for hit in run) == sorted(
        hit.route for hit in decision.hits if hit.process is not None
    ), "every route that processes has a share in one run"
    for run in runs:
        assert len({(hit.process, hit.shadow, frozenset(hit.series)) for hit in run}) == 1
        for status in (ResultStatus.FINAL, ResultStatus.FAILED):
            wanted = wanted_of(run, _result(status))
            for to, sending in wanted.items():
                naming = [
                    one
                    for hit in run
                    for one in hit.deliver
                    if one.to == to and _wants(by_name[hit.route], to, status)
                ]
                assert sending is naming[0], "the first route that wants it there counts"


@settings(max_examples=50, deadline=None)
@given(written=routes(), study=studies())
def test_every_outcome_has_a_reason_and_survives_the_store(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], study: Study
) -> None:
    decision = decide_in_full(study, rules(tmp_path_factory.mktemp("routes"), written))
    for outcome in decision.outcomes:
        assert outcome.why
        assert not (outcome.hit and outcome.failed), "what fired did not fail"
        if outcome.failed is not None:
            wanted, found = outcome.failed.wanted, outcome.failed.found
            assert outcome.why == f"{outcome.failed.position}: wanted {wanted}, found {found}"
            assert wanted
            assert found
        elif not outcome.hit:
            assert outcome.why.startswith("another route fired: ")
    assert decision_from_json(decision_to_json(decision)) == decision


def _once_and_first(destinations: Sequence[str]) -> None:
    assert len(destinations) == len(set(destinations)), "a destination gets a study once"


def _named(deliver: Sequence[Any]) -> list[str]:
    return [one.to for one in deliver]


def _wants(route: dict[str, Any], to: str, status: ResultStatus) -> bool:
    """Whether the entry for a destination, as it is written, wants results of this status."""
    for entry in route["deliver"]:
        if isinstance(entry, str) and entry == to:
            return status is not ResultStatus.FAILED
        if isinstance(entry, dict) and entry["to"] == to:
            return bool(entry["when"]["status"] == status.value)
    return False


def _result(status: ResultStatus) -> Result:
    return Result(
        result_id="1",
        site="a",
        route="r0",
        status=status,
        produced_at=datetime(2026, 3, 1, tzinfo=UTC),
        patient=Patient(),
        order=Order(),
        study=StudyReference(study_instance_uid="1.2"),
        report=Report(algorithm=Algorithm(name="x", version="1")),
    )
