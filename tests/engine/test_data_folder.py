"""One process alone on a folder, or several beside each other; never the two at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.data_folder import tenancy
from engine.errors import ConfigurationError


async def test_who_shares_with_nobody_is_alone(tmp_path: Path) -> None:
    async with tenancy(tmp_path, shared=False) as place:
        assert place.alone
        place.started()
        for shared in (False, True):
            with pytest.raises(ConfigurationError, match="another engine is running"):
                async with tenancy(tmp_path, shared=shared):
                    pass
    async with tenancy(tmp_path, shared=False) as place:
        assert place.alone


async def test_of_those_that_share_only_the_first_is_alone(tmp_path: Path) -> None:
    async with tenancy(tmp_path, shared=True) as first:
        assert first.alone
        first.started()
        async with tenancy(tmp_path, shared=True) as second:
            assert not second.alone
            second.started()
            with pytest.raises(ConfigurationError, match="another engine is running"):
                async with tenancy(tmp_path, shared=False):
                    pass


async def test_nobody_comes_in_while_one_that_is_alone_settles_things(tmp_path: Path) -> None:
    events: list[str] = []

    async def second() -> None:
        async with tenancy(tmp_path, shared=True) as place:
            events.append("second is in")
            assert not place.alone

    async with tenancy(tmp_path, shared=True) as first:
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.2)  # time to come in, if it could
        events.append("first has settled")
        first.started()
        await waiting
    assert events == ["first has settled", "second is in"]
