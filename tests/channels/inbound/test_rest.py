"""The REST API before anybody is let in: every operation asks who is there; nothing else is given away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from channels.inbound.rest import CHANNEL, OPERATIONS, Rest, RestSettings
from engine.channel import InboundContext, Measures
from engine.directory import Directory
from engine.model import Site
from engine.web import serving

SITES = {"st-marys": Site("st-marys", "St. Mary's", addresses=("127.0.0.1",))}


@pytest.fixture
async def api(house: Any) -> AsyncIterator[httpx.AsyncClient]:
    channel = CHANNEL.build(
        RestSettings(path="/gate/v1"), InboundContext("api", Directory(SITES), 1 << 20, data=house.data)
    )
    assert isinstance(channel, Rest)
    assert isinstance(channel, Measures)
    async with (
        serving(Starlette(routes=[*channel.routes(house.intake)]), "127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if not one.linked], ids=lambda one: one.name)
async def test_nobody_comes_in_without_a_token(api: httpx.AsyncClient, operation: Any) -> None:
    """Also from the address of a site, and before anything of the request is looked at."""
    path = "/gate/v1" + re.sub(r"{\w+}", "x", operation.path)
    answer = await api.request(operation.method, path, content=b"no json", params={"no": "filter"})
    assert (answer.status_code, answer.json()["type"]) == (401, "/gate/v1/docs#unauthorized")
    assert f'scope="{operation.scope}"' in answer.headers["www-authenticate"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.linked], ids=lambda one: one.name)
async def test_an_address_that_nobody_signed_lets_nobody_in(api: httpx.AsyncClient, operation: Any) -> None:
    path = "/gate/v1" + re.sub(r"{\w+}", f"{'0' * 32}.1", operation.path)
    for query in ({}, {"expires": "9999999999", "signature": "0" * 64}):
        answer = await api.request(operation.method, path, content=b"bytes", params=query)
        assert (answer.status_code, answer.json()["type"]) == (403, "/gate/v1/docs#link")


async def test_a_path_and_a_method_that_are_none_are_told_in_problems(api: httpx.AsyncClient) -> None:
    nowhere, method = await api.get("/gate/v1/nowhere"), await api.delete("/gate/v1/orders")
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (404, "application/problem+json")
    assert (method.status_code, method.headers["content-type"]) == (405, "application/problem+json")


async def test_the_description_is_for_everybody(api: httpx.AsyncClient) -> None:
    document = (await api.get("/gate/v1/openapi.json")).json()
    assert document["servers"] == [{"url": "/gate/v1"}]
    assert (await api.get("/gate/v1/docs")).status_code == 200
