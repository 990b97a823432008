"""Outcomes become figures and a few sentences; ten thousand failures of a kind are one."""

from __future__ import annotations

from pathlib import Path

from engine.send_report import SendReport
from engine.sender import Candidate, Outcome, Told


def told(number: int, outcome: Outcome, code: str, reason: str = "") -> Told:
    return Told(Candidate(f"im{number}", Path("im"), f"1.2.{number}", 1_000_000, None), outcome, code, reason)


def test_all_stored_is_one_line_and_good() -> None:
    report = SendReport("PACS at 10.0.0.1:104")
    report.wanted(2)
    for number in range(2):
        report.told(told(number, Outcome.SENT, "0000"))

    assert report.is_good
    assert list(report.lines(0.5)) == [
        "2 of 2 instances stored at PACS at 10.0.0.1:104: 2.0 MB in 0.5 s, 4.0 MB/s"
    ]


def test_kinds_are_counted_and_a_few_of_each_are_named() -> None:
    report = SendReport("P")
    report.wanted(9)
    report.told(told(0, Outcome.SENT, "0000"))
    for number in range(1, 8):
        report.told(told(number, Outcome.FAILED, "C000", "C000 (cannot understand)"))
    report.told(told(8, Outcome.WARNING, "B007", "B007 (data set does not match SOP class)"))
    report.skipped("README", "it is no DICOM file")

    assert not report.is_good
    assert list(report.lines(1.0)) == [
        "2 of 9 instances stored at P: 2.0 MB in 1.0 s, 2.0 MB/s",
        "  1 with a warning: B007 (data set does not match SOP class)",
        "    im8",
        "  7 failed: C000 (cannot understand)",
        *(f"    im{number}" for number in range(1, 6)),
        "    and 2 more",
        "  1 skipped: it is no DICOM file",
        "    README",
    ]


def test_nothing_to_send_is_not_good_and_neither_is_what_was_interrupted() -> None:
    assert not SendReport("P").is_good
    report = SendReport("P")
    report.wanted(1)
    report.told(told(0, Outcome.SENT, "0000"))
    report.interrupted = True
    assert not report.is_good


def test_a_program_gets_every_instance_and_the_sums() -> None:
    report = SendReport("P")
    report.wanted(3)
    report.told(told(0, Outcome.SENT, "0000"))
    report.told(told(1, Outcome.FAILED, "timeout", "P did not answer for 30 s"))
    report.skipped("README", "it is no DICOM file")
    report.interrupted = True

    document = report.as_json(2.0)

    each = document.pop("each")
    assert document == {
        "target": "P",
        "instances": 3,
        "sent": 1,
        "warnings": 0,
        "failed": 1,
        "not_offered": 1,
        "skipped": {"it is no DICOM file": 1},
        "interrupted": True,
        "bytes": 1_000_000,
        "seconds": 2.0,
        "MB/s": 0.5,
        "reasons": [
            {"outcome": "failed", "code": "timeout", "reason": "P did not answer for 30 s", "count": 1}
        ],
    }
    assert [(one["file"], one["sop_instance_uid"], one["outcome"], one["code"]) for one in each] == [
        ("im0", "1.2.0", "sent", "0000"),
        ("im1", "1.2.1", "failed", "timeout"),
    ]
