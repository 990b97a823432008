"""What is rendered to be kept, and for whom; tests/contract/test_kept.py shows that the engine keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from channels.outbound.rest import CHANNEL, Rest, Settings
from engine.catalog import installed_exports
from engine.channel import Commits, Keeps, OutboundContext
from engine.errors import ConfigurationError, Refused
from engine.model import Acknowledged, Delivery, DeliveryId, History, Payload, Result, ResultStatus, Site

Make = Callable[..., Rest]


@pytest.fixture
def kept() -> Make:
    """A function: the channel of a block."""

    def make(**block: Any) -> Rest:
        settings = Settings.model_validate({"site": "st-marys", **block})
        context = OutboundContext("pull", Site("st-marys", "St. Mary's"), exports=installed_exports)
        made: Rest = CHANNEL.build(settings, context)
        return made

    return make


def types(payload: Payload) -> list[str]:
    return [part.facts["type"] for part in payload.parts]


def test_every_installed_format_is_kept_unless_some_are_named(
    kept: Make, result: Result, history: History
) -> None:
    everything = kept().render(result, history)
    assert types(everything) == [one.name for one in installed_exports()]
    assert [part.media_type for part in everything.parts] == [one.media_type for one in installed_exports()]
    assert types(kept(formats=["txt", "sr"]).render(result, history)) == ["txt", "sr"]


def test_an_object_is_known_by_its_uid_and_every_part_by_a_name_of_its_own(
    kept: Make, result: Result, history: History
) -> None:
    payload = kept(formats=["csv", "txt", "sr"]).render(result, history)
    identifiers = [part.identifier for part in payload.parts]
    assert len(set(identifiers)) == 3
    assert payload.parts[2].facts["sop_class_uid"].startswith("1.2.840.10008.5.1.4.1.1.88.")
    later = replace(history, delivery_id=DeliveryId("00000000-0000-4000-8000-000000000002"))
    again = [part.identifier for part in kept(formats=["csv", "txt", "sr"]).render(result, later).parts]
    assert set(identifiers).isdisjoint(again), "they are the delivery's"


def test_a_correction_is_one_to_who_was_offered_the_result_before(
    kept: Make, result: Result, history: History
) -> None:
    corrected = result.model_copy(update={"status": ResultStatus.CORRECTED})
    before = Acknowledged(DeliveryId("d-0"), ResultStatus.FINAL, 1, ("1.2.3",), ("",), ("",))

    def status(past: History) -> str:
        content = kept(formats=["json"]).render(corrected, past).parts[0].read()
        return str(json.loads(content)["status"])

    assert status(history) == "final"
    assert status(replace(history, acknowledged=(before,))) == "corrected"


def test_only_where_a_client_acknowledges_does_a_delivery_wait(kept: Make) -> None:
    at_once, waits = kept(), kept(acknowledged_by="client", retry={"give_up_after": "24h"})
    assert isinstance(at_once, Keeps)
    assert isinstance(at_once, Commits)
    assert (at_once.commitment_timeout, waits.commitment_timeout) == (None, 86400.0)
    assert (at_once.kept_for, kept(offered_for="7d").kept_for) == (30 * 86400.0, 7 * 86400.0)


async def test_what_has_no_file_is_not_offered(
    kept: Make, result: Result, history: History, delivery: Delivery
) -> None:
    retracted = result.model_copy(update={"status": ResultStatus.RETRACTED})
    channel = kept(formats=["sr"])
    nothing = channel.render(retracted, history)
    assert (nothing.parts, nothing.summary) == ((), "nothing to offer")
    with pytest.raises(Refused, match="no file to offer"):
        await channel.deliver(nothing, delivery)
    answer = await channel.deliver(channel.render(result, history), delivery)
    assert (answer.code, answer.awaits_report) == ("kept", False)


@pytest.mark.parametrize(
    "block", [{"acknowledged_by": "nobody"}, {"offered_for": "1s"}, {"formats": "pdf"}, {"url": "http://x"}]
)
def test_what_no_table_may_say(kept: Make, block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kept(**block)


def test_a_format_that_is_not_installed_is_named_with_the_nearest(kept: Make) -> None:
    with pytest.raises(ConfigurationError, match="no format 'pfd'; did you mean 'pdf'"):
        kept(formats=["pdf", "pfd"])
