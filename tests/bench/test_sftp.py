"""The bench of SFTP: both servers carry every load, and the arithmetic is that of its table."""

from __future__ import annotations

import pytest

from bench.sftp.__main__ import METRICS, WORKS, Load, load_of, once, shown


@pytest.mark.peers
@pytest.mark.sftp
@pytest.mark.parametrize(
    ("subject", "load"),
    [
        ("pons", Load("in", 2, 1, 300_000)),
        ("pons", Load("out", 2, 1, 300_000)),
        ("openssh", Load("out", 2, 1, 300_000)),
        ("openssh", Load("small", 1, 3, 1000)),
    ],
)
def test_each_server_carries_each_load(subject: str, load: Load) -> None:
    found = once(load, subject)

    assert set(found) == set(METRICS)
    assert found["MB/s"] > 0
    assert found["rss MB"] > 1


def test_a_short_work_is_an_eighth() -> None:
    for work in WORKS:
        whole, short = load_of(work, short=False), load_of(work, short=True)
        assert short.megabytes == pytest.approx(whole.megabytes / 8, rel=0.02)
        assert short.connections == whole.connections


def test_the_ratio_is_to_openssh_on_the_same_work() -> None:
    def rows(work: str, subject: str, rate: float) -> list[dict[str, object]]:
        return [{"work": work, "subject": subject, "metric": one, "value": rate} for one in METRICS]

    table = shown([*rows("in-1", "pons", 50.0), *rows("in-1", "openssh", 200.0), *rows("out-1", "pons", 1.0)])
    [*_, ratios] = table.columns
    assert list(ratios.cells) == ["0.25", "1.00", ""]
