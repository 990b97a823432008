"""The bench of searching: every question has its figures on the database that it is asked of."""

from __future__ import annotations

from pathlib import Path

from bench.search import filled, measured, questions, shown
from engine.store.database import SqliteDatabase


def test_every_question_has_its_figures(tmp_path: Path) -> None:
    database = filled(SqliteDatabase(tmp_path / "data" / "pons.sqlite"), 2000)
    try:
        rows = measured(database, "sqlite", 2000, 2)
    finally:
        database.close()
    assert {(row["work"], row["metric"]) for row in rows} == {
        (work, metric) for work in questions(2000) for metric in ("p50 ms", "worst ms")
    }
    assert all(row["value"] > 0 for row in rows)
    assert shown(rows).row_count == len(questions(2000))
