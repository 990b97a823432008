"""The webhook's event: bounded, honest about what it left out, sparing with patient data."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content import event
from engine.channel import Link
from engine.model import Algorithm, History, InstanceReference, Patient, Result, ResultStatus

Standing = Callable[..., tuple[Result, History]]


def loaded(result: Result, past: History, phi: Any = "minimal") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.render(result, past, phi).parts[0].read())
    return found


def test_the_envelope_is_a_cloud_event(full: Result, history: Any) -> None:
    part = event.render(full, history()).parts[0]
    body = json.loads(part.read())
    assert body["specversion"] == "1.0"
    assert body["id"] == part.identifier
    assert part.identifier.startswith("msg_")
    assert (body["type"], body["source"]) == ("result.final", "/sites/st-marys")
    assert body["subject"] == full.study.study_instance_uid
    assert body["time"] == "2026-11-24T10:00:00+00:00"
    assert body["datacontenttype"] == "application/json"
    assert part.media_type == "application/json"


def test_numbers_travel_as_text_with_unit_range_and_flag(full: Result, history: Any) -> None:
    findings = loaded(full, history())["data"]["findings"]
    assert len(findings) == len(full.report.findings)
    assert findings[1] == {
        "concept": {"value": "in-plane", "scheme": "99PONS", "meaning": "In-plane resolution"},
        "group": "Geometry",
        "value": "1.60",
        "unit": {"value": "mm", "scheme": "UCUM", "meaning": "millimeter"},
        "range": {"low": "1.85", "high": "2.15"},
        "flag": "L",
    }
    assert findings[0]["code"]["value"] == "out-of-protocol"
    assert findings[5]["text"] == "first line ~ ^ & \\ |\nzweite Zeile µ"
    assert findings[2]["laterality"]["meaning"] == "Left"


PHI = [
    # phi, words that must be there, words that must not
    (
        "none",
        ["1.60"],
        ["P|1", "ACC-1", "PL-1", "Yamada", "1970", "Ref^Ann", "MR brain", "zweite", "DTI | 3 T"],
    ),
    ("minimal", ["P|1", "ACC-1", "PL-1", "zweite"], ["Yamada", "山田", "1970", "Ref^Ann", "MR brain"]),
    ("full", ["P|1", "ACC-1", "Yamada", "山田", "1970-03-01", "Ref^Ann", "MR brain"], []),
]


@pytest.mark.parametrize(("phi", "present", "absent"), PHI)
def test_a_receiver_sees_as_much_of_the_patient_as_it_may(
    full: Result, history: Any, phi: Any, present: list[str], absent: list[str]
) -> None:
    text = event.render(full, history(), phi).parts[0].read().decode("utf-8")
    assert [word for word in present if word not in text] == []
    assert [word for word in absent if word in text] == []


def test_text_that_is_withheld_is_counted(full: Result, history: Any) -> None:
    data = loaded(full, history(), "none")["data"]
    assert data["cut"]["findings"] == {"shown": 5, "of": 6}
    assert "cut" not in loaded(full, history(), "full")["data"]


STANDINGS = [
    (ResultStatus.PRELIMINARY, (), "result.preliminary"),
    (ResultStatus.FINAL, (), "result.final"),
    (ResultStatus.CORRECTED, (), "result.final"),
    (ResultStatus.CORRECTED, (ResultStatus.FINAL,), "result.corrected"),
    (ResultStatus.RETRACTED, (ResultStatus.FINAL,), "result.retracted"),
    (ResultStatus.FAILED, (), "result.failed"),
]


@pytest.mark.parametrize(("status", "before", "kind"), STANDINGS)
def test_the_type_follows_what_this_destination_acknowledged(
    full: Result, history: Any, status: ResultStatus, before: tuple[ResultStatus, ...], kind: str
) -> None:
    past = history(*before)
    body = loaded(full.model_copy(update={"status": status}), past)
    assert body["type"] == kind
    replaced = past.acknowledged[0].identifiers[0] if before else None
    assert body["data"]["result"]["replaces_event"] == replaced


def test_many_findings_are_cut_and_the_event_says_so(full: Result, history: Any) -> None:
    report = full.report.model_copy(update={"findings": full.report.findings * 100})
    content = event.render(full.model_copy(update={"report": report}), history()).parts[0].read()
    data = json.loads(content)["data"]
    assert 15_000 < len(content) < event.MAX_BYTES
    assert data["cut"]["findings"] == {"shown": len(data["findings"]), "of": 600}
    assert len(data["findings"]) > 30


def test_a_long_narrative_is_cut_and_the_event_says_so(full: Result, history: Any) -> None:
    report = full.report.model_copy(update={"narrative": "日本語" * 3000})
    content = event.render(full.model_copy(update={"report": report}), history()).parts[0].read()
    data = json.loads(content)["data"]
    assert len(content) < event.MAX_BYTES
    assert data["text"]["narrative"].endswith("…")
    assert data["cut"]["narrative"]["of"] == 9000


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(character=st.characters(), phi=st.sampled_from(["none", "minimal", "full"]))
def test_no_result_is_too_large_for_an_event(full: Result, history: Any, character: str, phi: Any) -> None:
    words = character * 5000
    finding = full.report.findings[-1].model_copy(
        update={"value": words, "comment": words, "group": words, "tracking_id": words}
    )
    number = full.report.findings[1].model_copy(update={"value": Decimal("1E+5000")})
    algorithm = Algorithm(name=words, version=words, manufacturer=words, udi=words)
    report = full.report.model_copy(
        update={
            **dict.fromkeys(("title", "narrative", "impression", "disclaimer"), words),
            "algorithm": algorithm,
            "findings": (number, finding) * 30,
        }
    )
    series = tuple(
        InstanceReference(series_instance_uid=f"1.{n}", sop_class_uid="1.3", sop_instance_uid=f"1.4.{n}")
        for n in range(500)
    )
    study = full.study.model_copy(
        update={"instances": series, "description": words, "modalities": (words,) * 50}
    )
    result = full.model_copy(
        update={
            "report": report,
            "study": study,
            "patient": Patient(patient_id=words),
            "site": words,
            "route": words,
            "result_id": words,
            "supersedes": words,
        }
    )
    content = event.render(result, history(), phi).parts[0].read()
    assert len(content) < event.MAX_BYTES
    assert json.loads(content)["data"]["cut"]["series"] == {"shown": 20, "of": 500}


def made_links(count: int, address: str = "https://pons.example/artefacts/r") -> list[Link]:
    expires = datetime(2026, 12, 1, 10, 5, tzinfo=UTC)
    return [
        Link(
            f"file-{n}.png", "image/png", f"{address}/file-{n}.png?expires=1&signature=2", expires, "ab" * 32
        )
        for n in range(count)
    ]


def test_links_are_told_with_kind_end_and_digest(full: Result, history: Any) -> None:
    part = event.render(full, history(), "minimal", made_links(2)).parts[0]
    links = json.loads(part.read())["data"]["links"]
    assert [one["name"] for one in links] == ["file-0.png", "file-1.png"]
    assert links[0] == {
        "name": "file-0.png",
        "media_type": "image/png",
        "url": "https://pons.example/artefacts/r/file-0.png?expires=1&signature=2",
        "expires": "2026-12-01T10:05:00+00:00",
        "sha256": "ab" * 32,
    }


def test_who_may_see_no_patient_gets_no_link_to_one(full: Result, history: Any) -> None:
    part = event.render(full, history(), "none", made_links(2)).parts[0]
    assert json.loads(part.read())["data"]["links"] == []


@pytest.mark.parametrize("address", ["https://pons.example/a", "https://pons.example/" + "x" * 3000])
def test_links_that_do_not_fit_are_left_out_whole_and_said(full: Result, history: Any, address: str) -> None:
    words = "ü\n" * 20_000
    report = full.report.model_copy(update={"narrative": words, "impression": words, "disclaimer": words})
    crowded = full.model_copy(update={"report": report})
    part = event.render(crowded, history(), "full", made_links(100, address)).parts[0]
    data = json.loads(part.read())["data"]
    assert len(part.read()) < 20_000
    assert 0 < len(data["links"]) < 100
    assert all(one["url"].endswith("&signature=2") for one in data["links"])
    assert data["cut"]["links"] == {"shown": len(data["links"]), "of": 100}
