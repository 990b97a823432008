"""Places in all and for one site."""

from __future__ import annotations

import pytest

from channels.inbound.places import Places


@pytest.mark.parametrize(
    ("total", "per_site", "processes", "shares"),
    [
        (64, None, 1, (64, 48)),
        (1, None, 1, (1, 1)),  # never none
        (2, None, 1, (2, 1)),
        (64, 64, 1, (64, 64)),  # the table may say that one can have all
        (64, None, 4, (16, 12)),  # each process has its part
        (10, 3, 4, (3, 1)),  # rounded up: no process is without
    ],
)
def test_one_site_has_three_quarters_unless_the_table_says_otherwise(
    total: int, per_site: int | None, processes: int, shares: tuple[int, int]
) -> None:
    places = Places(total, per_site, processes=processes)
    assert (places.total, places.per_site) == shares


def test_the_limit_that_was_met_is_named_and_counted() -> None:
    places = Places(4, None)
    assert [places.take("greedy") for _ in range(3)] == [None] * 3
    assert places.take("greedy") == "the site has 3, its limit"
    assert places.take("modest") is None
    assert places.take("third") == "all 4 are taken, 0 of them by this site"
    places.leave("greedy")
    assert places.take("third") is None
    assert places.measured("pons_associations", 'inbound="pacs"') == {
        'pons_associations{inbound="pacs",site="greedy"}': 2.0,
        'pons_associations{inbound="pacs",site="modest"}': 1.0,
        'pons_associations{inbound="pacs",site="third"}': 1.0,
        'pons_associations_refused_total{inbound="pacs",limit="site"}': 1.0,
        'pons_associations_refused_total{inbound="pacs",limit="total"}': 1.0,
    }
