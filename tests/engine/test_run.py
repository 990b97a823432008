"""One table becomes one running engine, and ends cleanly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from engine.config import load
from engine.errors import ConfigurationError
from engine.run import running, supervised
from engine.store import lanes
from engine.store.tables import lanes as lane_rows
from engine.table import Table
from tests.engine.store.test_together import a_delivery, a_study
from tests.peers.postgres import Cluster


@pytest.fixture
def table(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., Table]:
    """A function that loads a table on free ports."""

    def make(*, http: int | None = None, dicom: int | None = None, **engine: str) -> Table:
        more = "".join(f", {key}: {value}" for key, value in engine.items())
        path = tmp_path / "routes.yaml"
        path.write_text(
            f"""
version: 1
engine: {{data: ./data, http: "127.0.0.1:{http or free_port()}"{more}}}
sites:
  st-marys: {{name: St. Mary's, addresses: [127.0.0.1], ae_titles: [STM_PACS]}}
inbound:
  pacs: {{type: c_store, listen: "127.0.0.1:{dicom or free_port()}", ae_title: PONS}}
  web: {{type: stow_rs}}
routes:
  - {{name: nothing matched, otherwise: true, hold: no route matched}}
"""
        )
        return load(path)

    return make


async def get(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def test_a_running_engine_says_that_it_lives_and_is_ready(table: Callable[..., Table]) -> None:
    async with running(table()) as engine:
        assert (await get(engine.http_port, "/healthz")).json() == {"status": "alive"}
        assert (await get(engine.http_port, "/readyz")).json() == {"status": "ready", "reasons": []}
        assert "pons_instances_total 0" in (await get(engine.http_port, "/metrics")).text
    with pytest.raises(httpx.ConnectError):
        await get(engine.http_port, "/healthz")


async def test_below_the_watermark_the_engine_lives_but_is_not_ready(table: Callable[..., Table]) -> None:
    async with running(table(min_free="1000000GB")) as engine:
        assert (await get(engine.http_port, "/healthz")).status_code == 200
        ready = await get(engine.http_port, "/readyz")
        assert ready.status_code == 503
        assert "watermark" in ready.json()["reasons"][0]


async def test_a_second_engine_on_the_same_folder_is_refused(table: Callable[..., Table]) -> None:
    async with running(table()):
        with pytest.raises(ConfigurationError, match="another engine is running"):
            async with running(table()):
                pass


@pytest.mark.parametrize("taken", ["http", "dicom"])
async def test_a_taken_port_is_named_and_nothing_is_left_running(
    table: Callable[..., Table], free_port: Callable[[], int], taken: str
) -> None:
    port = free_port()
    before = asyncio.all_tasks()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        with pytest.raises(ConfigurationError, match=str(port)):
            async with running(table(**{taken: port})):
                pass
    assert asyncio.all_tasks() == before
    async with running(table(**{taken: port})) as engine:  # and the folder is free again
        assert (await get(engine.http_port, "/healthz")).status_code == 200


async def test_a_part_that_breaks_is_started_again_and_one_that_ends_is_left_alone() -> None:
    runs = []

    async def run() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise RuntimeError("the database is away")

    await supervised(run, pause=0)
    assert runs == [0, 1, 2]


async def test_two_engines_share_a_folder_on_one_postgresql_and_the_second_frees_nothing(
    table: Callable[..., Table], postgres: Cluster
) -> None:
    address = postgres.database()
    async with running(table(database=f'"{address}"')) as first:
        study_id = a_study(first.database)
        await first.database.write(lambda c: a_delivery(c, study_id, "a"))
        held = await first.database.write(lambda c: lanes.claim(c, "ris", "living", 1.0, 1e10, 1))
        async with running(table(database=f'"{address}"')) as second:
            assert (await get(second.http_port, "/readyz")).status_code == 200
            owner = select(lane_rows.c.owner)
            assert await second.database.read(lambda c: c.execute(owner).scalar_one()) == "living"
        assert (await get(first.http_port, "/healthz")).status_code == 200
    async with running(table(database=f'"{address}"')) as alone:
        assert await alone.database.read(lambda c: c.execute(owner).scalar_one()) is None, held
    postgres.drop(address)
