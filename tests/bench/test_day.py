"""A day of senders, a short one: all that was acknowledged is there, and nothing is left of who has gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom.pdu import A_ASSOCIATE_RJ

from bench.day.day import SLACK, Outcome, day, percentile
from bench.day.objects import LARGE, MIDDLE, SMALL, instances
from bench.day.visit import Diary, message, refusal
from bench.day.watch import Sample, Watch
from bench.faults.studies import data_set_digest
from bench.intake.objects import Kind


def test_a_short_day_loses_nothing_and_leaves_nothing(tmp_path: Path, free_port: Callable[[], int]) -> None:
    outcome = day(tmp_path, 20, 10, 1, free_port)
    assert outcome.complaints == []
    rows = outcome.rows()
    assert rows["lost"] == rows["leaks"] == rows["half-written"] == rows["refused"] == 0
    assert {one.way for one in outcome.diary.acknowledged} == {"c_store", "stow_rs"}
    assert rows["dropped"] > 0
    assert len(outcome.watch.echoed) > 5
    assert rows["store p50 ms"] <= rows["store p99 ms"] <= rows["store slowest ms"]


WATCH = Watch(pid=0, dicom_port=0, http_port=0, data=Path())
AT_REST = Sample(at=0.0, rss=100.0, descriptors=24, threads=18, connections=0, landing=0)


@pytest.mark.parametrize(
    ("after", "leaks"),
    [
        (AT_REST, []),
        (replace(AT_REST, threads=18 + SLACK, descriptors=24 + SLACK), []),
        (replace(AT_REST, connections=1), ["1 connections"]),
        (replace(AT_REST, threads=19 + SLACK), [f"{SLACK + 1} threads"]),
        (replace(AT_REST, descriptors=25 + SLACK), [f"{SLACK + 1} descriptors"]),
    ],
)
def test_what_is_there_more_at_rest_has_leaked(after: Sample, leaks: list[str]) -> None:
    outcome = Outcome(Diary(), WATCH, AT_REST, after)
    assert outcome.leaks == leaks
    assert outcome.complaints == [f"leaked: {one}" for one in leaks]


def test_whatever_must_not_be_is_a_complaint() -> None:
    diary = Diary(failed=["C-STORE was answered with 0110"])
    outcome = Outcome(diary, WATCH, AT_REST, AT_REST, ["a"], ["b"])
    assert outcome.complaints == ["lost: a", "half-written: b", "failed: C-STORE was answered with 0110"]


@pytest.mark.parametrize(("values", "percent", "expected"), [
    ([3.0], 99, 3.0), ([1.0, 2.0], 50, 1.0), ([float(one) for one in range(1, 201)], 99, 198.0),
])  # fmt: skip
def test_a_percentile_is_a_value_that_was_seen(values: list[float], percent: int, expected: float) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize("kind", [SMALL, MIDDLE, LARGE], ids=lambda kind: kind.name)
def test_the_objects_are_whole_and_no_two_are_one(kind: Kind) -> None:
    sent = [one for visit in (0, 17) for one in instances(kind, visit, 2)]
    files = [one.file_head() + b"".join(one.pixels()) for one in sent]
    found = [pydicom.dcmread(BytesIO(file)) for file in files]
    assert [one.SOPInstanceUID for one in found] == [one.sop_instance_uid for one in sent]
    assert [one.StudyInstanceUID for one in found] == [one.study_instance_uid for one in sent]
    assert len({one.SOPInstanceUID for one in found}) == len({one.sha256() for one in sent}) == 4
    assert all(one.is_valid for one in (found[0].SOPInstanceUID, found[0].StudyInstanceUID))
    assert [data_set_digest(file) for file in files] == [one.sha256() for one in sent]
    assert all(len(one.PixelData) == kind.pixels for one in found)


def test_a_message_is_one_command_and_one_data_set() -> None:
    (one,) = instances(SMALL, 3, 1)
    sent, at, data = message(one, 4096), 0, b""
    while at < len(sent):
        length = int.from_bytes(sent[at + 2 : at + 6], "big")
        if not sent[at + 11] & 1:  # a fragment of the data set
            data += sent[at + 12 : at + 6 + length]
        at += 6 + length
    assert data == one.head + b"".join(one.pixels())


@pytest.mark.parametrize(("result", "refused"), [(1, False), (2, True)])
def test_a_rejection_that_is_transient_is_a_refusal(result: int, refused: bool) -> None:
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = result, 3, 2
    error = RuntimeError(f"the receiver rejects the association: {pdu.encode()[:10].hex()}")
    assert refusal(error) is refused
