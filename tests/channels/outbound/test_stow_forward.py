"""A study goes onward by STOW-RS, as it is filed and with the credentials of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.responses import Response

from channels.outbound.stow_forward import Settings
from engine.errors import Refused
from engine.model import Delivery, History, Study
from tests.contract.web import in_turn, receiving
from tests.peers.orthanc import Orthanc
from tests.peers.part10 import data_set_bytes


async def test_every_instance_arrives_byte_for_byte(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    with receiving(in_turn(Response())) as peer:
        channel = make("stow_forward", url=f"{peer.url}/dicom-web")
        answer = await channel.deliver(channel.render(study, history), delivery)

    [seen] = peer.seen
    assert seen.path == "/dicom-web/studies"
    assert sorted(seen.parts()) == sorted(each.path.read_bytes() for each in study.stored)
    assert (answer.code, answer.detail) == ("200", "2 instances stored")


async def test_credentials_go_with_the_study_and_with_the_probe(
    make: Callable[..., Any],
    study: Study,
    history: History,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PONS_TEST_TOKEN", "t0ken")
    with receiving(in_turn(Response())) as peer:
        auth = {"type": "bearer", "token": {"env": "PONS_TEST_TOKEN"}}
        channel = make("stow_forward", url=peer.url, auth=auth)
        await channel.probe()
        await channel.deliver(channel.render(study, history), delivery)

    assert [seen.headers["authorization"] for seen in peer.seen] == ["Bearer t0ken"] * 2


async def test_a_study_without_instances_is_not_called_delivered(
    make: Callable[..., Any], study: Study, history: History, delivery: Delivery
) -> None:
    channel = make("stow_forward", url="http://127.0.0.1:1")

    with pytest.raises(Refused, match="no instance"):
        await channel.deliver(channel.render(replace(study, stored=()), history), delivery)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"url": "https://u:p@h.example"}, "no user or password"),
        ({"url": "dicom-web"}, "starts with https://"),
        ({"url": "https://h.example", "auth": {"type": "bearer"}}, "required"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"site": "st-marys", **block})

    assert words in str(caught.value.errors()[0]["msg"]).lower()


@pytest.mark.peers
async def test_orthanc_keeps_a_forwarded_study_bit_for_bit(
    make: Callable[..., Any],
    study: Study,
    history: History,
    delivery: Delivery,
    orthanc: Callable[..., Orthanc],
) -> None:
    peer = orthanc("RECEIVER")
    channel = make("stow_forward", url=peer.dicomweb_url)

    await channel.probe()
    payload = channel.render(study, history)
    for _ in range(2):  # a repetition is recognised by its UIDs
        await channel.deliver(payload, delivery)

    kept = sorted(map(data_set_bytes, peer.files()))
    assert kept == sorted(data_set_bytes(each.path.read_bytes()) for each in study.stored)
