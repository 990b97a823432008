"""The benchmark of routing: its tables are sound, every study of it is routed, every figure is there."""

from __future__ import annotations

from bench.routing import measure, sites_of, table_text


def test_a_table_is_measured_from_the_command_to_the_decision() -> None:
    rows = measure(routes=30, decisions=20, runs=1)
    assert {row["metric"] for row in rows} == {
        "check s",
        "check cpu s",
        "check rss MB",
        "load s",
        "load cpu s",
        "index ms",
        "p50 ms",
        "p99 ms",
        "p50 cpu ms",
        "p99 cpu ms",
    }
    assert {(row["work"], row["subject"], row["runs"]) for row in rows} == {("30", "pons", 1)}
    assert all(row["value"] > 0 for row in rows)


def test_ten_thousand_routes_are_those_of_a_thousand_sites() -> None:
    assert sites_of(10_000) == 1000
    assert table_text(10_000).count("addresses:") == 1000
