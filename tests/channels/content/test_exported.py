"""Formats that tell what they replace, as who fetches them gets them: judged as what is sent is."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from channels.content import fhir_report, sr_object
from engine.exported import exported
from engine.model import History, Result, ResultStatus
from tests.peers.fhir_judges import fhir_errors
from tests.peers.judges import dciodvfy_errors, sr_validator_errors

SETTLED = (ResultStatus.FINAL, ResultStatus.CORRECTED, ResultStatus.RETRACTED)


def versions(result: Result, *statuses: ResultStatus) -> list[Result]:
    """The same result in these standings, one after the other."""
    return [
        result.model_copy(
            update={
                "result_id": f"r-{number}",
                "revision": number,
                "status": status,
                "supersedes": f"r-{number - 1}" if number > 1 else None,
            }
        )
        for number, status in enumerate(statuses, start=1)
    ]


@pytest.mark.judges
@pytest.mark.parametrize("kind", ["full", "minimal"])
def test_two_judges_find_no_error_in_a_report_its_correction_and_its_retraction(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    told = versions(request.getfixturevalue(kind), ResultStatus.PRELIMINARY, *SETTLED)
    files = []
    for number in range(1, len(told) + 1):
        content = exported(sr_object.EXPORT, told[:number])
        assert content is not None
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(content)
    assert {file.name: dciodvfy_errors(file) for file in files} == {file.name: [] for file in files}
    reports = files[:3]  # the note is a key object selection, which the other does not know
    assert sr_validator_errors(reports) == {file: [] for file in reports}


@pytest.mark.judges
@pytest.mark.parametrize("status", list(ResultStatus))
def test_three_judges_find_no_error_in_a_report_that_stands_alone(full: Result, status: ResultStatus) -> None:
    content = exported(fhir_report.EXPORT, versions(full, ResultStatus.FINAL, status))
    assert content is not None
    assert fhir_errors(content) == []
    kind = json.loads(content)["resourceType"]
    assert kind == "DiagnosticReport"


def test_the_same_versions_give_the_same_bytes(full: Result) -> None:
    told = versions(full, *SETTLED[:2])
    for export in (sr_object.EXPORT, fhir_report.EXPORT):
        assert exported(export, told) == exported(export, told)


def test_it_says_what_a_destination_is_sent_that_had_the_same_before(
    full: Result, history: Callable[..., History]
) -> None:
    """Only the identifiers differ: they are those of the delivery."""
    first, *_ = versions(full, ResultStatus.FINAL)
    content = exported(sr_object.EXPORT, [first])
    assert content is not None
    fetched, sent = (
        dcmread(BytesIO(one)) for one in (content, sr_object.render(first, history()).parts[0].read())
    )
    own = {"SOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate", "InstanceCreationTime"}
    own |= {"ContentDate", "ContentTime", "SeriesDate", "SeriesTime"}
    assert {one.keyword for one in fetched if one != sent.get(one.tag)} <= own


def test_alone_a_correction_is_final_and_a_retraction_is_nothing(full: Result) -> None:
    _, correction, retraction = versions(full, *SETTLED)
    assert json.loads(fhir_report.export(correction))["status"] == "final"
    told = exported(fhir_report.EXPORT, versions(full, *SETTLED[:2]))
    assert told is not None
    assert json.loads(told)["status"] == "corrected"
    with pytest.raises(ValueError, match="who has the report"):
        sr_object.export(retraction)
    assert exported(sr_object.EXPORT, [retraction]) is None
