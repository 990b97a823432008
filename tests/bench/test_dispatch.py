"""The bench runs on both databases beside its peer, and what it counts has been done."""

from __future__ import annotations

from pathlib import Path

from bench.dispatch import Load, measure


def test_every_delivery_is_settled_once_and_every_subject_reports(tmp_path: Path) -> None:
    load = Load(due=60, behind=200, theirs=5, patience=20.0, runs=1, workers=(2,))
    rows = measure(load, tmp_path)
    rates = {(row["work"], row["subject"]): row["value"] for row in rows if row["metric"] == "deliveries/s"}
    ours = {f"{kind}-2{how}" for kind in ("pg", "sqlite") for how in ("", "-alone", "-by-one")}
    assert {work for work, subject in rates if subject == "pons"} == ours
    assert {work for work, subject in rates if subject == "procrastinate"} == {"pg-2", "pg-2-alone"}
    assert all(rate > 0 for rate in rates.values())
    assert [row["value"] for row in rows if row["metric"] == "astray"] == [0]
