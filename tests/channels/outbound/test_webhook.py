"""Signed events: what is signed, what is told, and what each answer means."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook
from starlette.responses import Response

from channels.outbound.webhook import CHANNEL, Settings, signed_headers, signing_key
from engine.channel import Link, OutboundContext
from engine.errors import Refused, TryAgain
from engine.model import Delivery, History, Payload, Result, Site
from tests.contract.web import in_turn, receiving
from tests.peers.webhook import WebhookReceiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONS_TEST_HOOK", SECRET)


REFERENCE = {"secret": {"env": "PONS_TEST_HOOK"}}


def test_the_signature_is_that_of_the_specification() -> None:
    # the example that the Standard Webhooks libraries share among their tests
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', signing_key(SECRET), now=1614265330
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "not whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not whsec_"),
        ("whsec_not base64!", "not whsec_"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "shorter than 24 bytes"),
    ],
)
def test_a_secret_that_cannot_sign_is_named_and_not_repeated(secret: str, words: str) -> None:
    with pytest.raises(TryAgain, match=words) as caught:
        signing_key(secret)

    assert caught.value.code == "secret"
    assert "base64!" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery, status: int
) -> None:
    with receiving(in_turn(Response(status_code=status))) as peer:
        channel = make("webhook", url=peer.url, **REFERENCE)
        answer = await channel.deliver(channel.render(result, history), delivery)

    assert answer.code == str(status)


@pytest.mark.parametrize(
    ("response", "error", "after"),
    [
        (Response(status_code=301, headers={"Location": "/there"}), Refused, None),
        (Response(status_code=400), Refused, None),
        (Response(status_code=401), Refused, None),
        (Response(status_code=404), Refused, None),
        (Response(status_code=410), Refused, None),
        (Response(status_code=429, headers={"Retry-After": "30"}), TryAgain, 30.0),
        (Response(status_code=500), TryAgain, None),
        (Response(status_code=503, headers={"Retry-After": "5"}), TryAgain, 5.0),
    ],
)
async def test_anything_else_is_not(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    response: Response,
    error: type[TryAgain | Refused],
    after: float | None,
) -> None:
    with receiving(in_turn(response)) as peer:
        channel = make("webhook", url=peer.url, **REFERENCE)
        with pytest.raises(error) as caught:
            await channel.deliver(channel.render(result, history), delivery)

    assert caught.value.code == str(response.status_code)
    assert getattr(caught.value, "after", None) == after
    assert len(peer.seen) == 1


async def test_an_endpoint_that_is_gone_says_so_for_ever(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> None:
    with receiving(in_turn(Response(status_code=410))) as peer:
        channel = make("webhook", url=peer.url, **REFERENCE)
        with pytest.raises(Refused, match="it takes no more events") as caught:
            await channel.deliver(channel.render(result, history), delivery)

    assert caught.value.pause, "the engine stops asking until a person resumes"


async def test_every_attempt_is_signed_anew_under_the_same_id(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([1_767_000_000.9, 1_767_000_100.2])
    monkeypatch.setattr("channels.outbound.webhook.time", lambda: next(moments))
    with receiving(in_turn(Response(status_code=503), Response())) as peer:
        channel = make("webhook", url=peer.url, **REFERENCE)
        payload = channel.render(result, history)
        with pytest.raises(TryAgain):
            await channel.deliver(payload, delivery)
        await channel.deliver(payload, delivery)

    first, second = (seen.headers for seen in peer.seen)
    assert first["webhook-id"] == second["webhook-id"] == payload.parts[0].identifier
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1767000000", "1767000100")
    assert first["webhook-signature"] != second["webhook-signature"]
    assert peer.seen[0].body == peer.seen[1].body == payload.parts[0].read()


async def test_a_rotated_secret_is_used_at_the_next_attempt(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    with receiving(in_turn(Response())) as peer:
        channel = make("webhook", url=peer.url, **REFERENCE)
        monkeypatch.setenv("PONS_TEST_HOOK", other)
        await channel.deliver(channel.render(result, history), delivery)

    [seen] = peer.seen
    assert Webhook(other).verify(seen.body, dict(seen.headers))


async def test_a_missing_secret_keeps_the_event_and_says_what_is_missing(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = make("webhook", url="http://127.0.0.1:1", **REFERENCE)
    payload = channel.render(result, history)
    monkeypatch.delenv("PONS_TEST_HOOK")

    with pytest.raises(TryAgain, match="PONS_TEST_HOOK is not set"):
        await channel.deliver(payload, delivery)


@pytest.mark.parametrize(("phi", "told"), [("none", False), ("minimal", True), ("full", True)])
def test_the_patient_travels_only_as_far_as_the_table_says(
    make: Callable[..., Any], result: Result, history: History, phi: str, told: bool
) -> None:
    channel = make("webhook", url="http://127.0.0.1", phi=phi, **REFERENCE)

    text = json.dumps(json.loads(channel.render(result, history).parts[0].read()), ensure_ascii=False)

    assert ("P-4711" in text) is told
    assert ("Murphy" in text) is (phi == "full")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"url": "https://u:p@h.example", **REFERENCE}, "no user or password"),
        ({"url": "https://h.example", "secret": SECRET}, "by reference"),
        ({"url": "https://h.example"}, "required"),
        ({"url": "https://h.example", "phi": "some", **REFERENCE}, "none"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"site": "st-marys", **block})

    assert words in str(caught.value.errors()[0]["msg"])


async def test_nothing_to_send_is_not_called_delivered(make: Callable[..., Any], delivery: Delivery) -> None:
    channel = make("webhook", url="http://127.0.0.1:1", **REFERENCE)

    with pytest.raises(Refused):
        await channel.deliver(Payload(()), delivery)


@pytest.mark.peers
async def test_the_standard_webhooks_library_believes_it(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    webhook_receiver: Callable[..., WebhookReceiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = webhook_receiver((503,))
    monkeypatch.setenv("PONS_TEST_HOOK", peer.secret)
    channel = make("webhook", url=peer.url, **REFERENCE)
    payload = channel.render(result, history)

    with pytest.raises(TryAgain):
        await channel.deliver(payload, delivery)
    await channel.deliver(payload, replace(delivery, attempt=2))

    assert [(call.verified, call.answered) for call in peer.calls] == [(True, 503), (True, 204)]
    assert {call.webhook_id for call in peer.calls} == {payload.parts[0].identifier}
    assert peer.accepted[0].event["type"] == "result.final"


@pytest.mark.parametrize(("expiry", "days"), [(None, 7), ("36h", 1.5)])
def test_links_expire_as_long_after_rendering_as_the_table_says(
    result: Result, history: History, expiry: str | None, days: float
) -> None:
    asked: list[datetime] = []

    def links(_result: Result, expires: datetime) -> list[Link]:
        asked.append(expires)
        return [Link("result.csv", "text/csv", "https://pons.example/x", expires)]

    block = {"site": "st-marys", "url": "http://127.0.0.1:9/hook", **REFERENCE}
    settings = Settings.model_validate(block | ({"link_expiry": expiry} if expiry else {}))
    channel = CHANNEL.build(settings, OutboundContext("hook", Site("st-marys", "St. Mary's"), links=links))
    first, again = (channel.render(result, history).parts[0].read() for _ in range(2))
    assert first == again
    assert asked == [history.rendered_at + timedelta(days=days)] * 2
    assert json.loads(first)["data"]["links"][0]["name"] == "result.csv"


@pytest.mark.parametrize("expiry", ["59s", "367d"])
def test_a_link_that_opens_for_no_time_or_for_ever_is_refused(expiry: str) -> None:
    block = {"site": "st-marys", "url": "http://127.0.0.1:9/hook", **REFERENCE, "link_expiry": expiry}
    with pytest.raises(ValidationError, match="link_expiry"):
        Settings.model_validate(block)
