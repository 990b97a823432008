"""A result and a study to send, and a function that makes a channel as a table would."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from engine.channel import Outbound, OutboundContext, OutboundType
from engine.model import (
    Delivery,
    DeliveryId,
    History,
    Result,
    ResultStatus,
    Site,
    StoredInstance,
    Study,
    uid_from,
)
from engine.study_context import read_context
from tests.contract.house import instance, report

SITE = Site("st-marys", "St. Mary's", timezone="Europe/Dublin", ae_titles=("STM_PACS",))
NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two MR instances on disk."""
    stored = []
    for number in (1, 2):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(instance(number))
        stored.append(
            StoredInstance(
                uid_from("contract", "series"),
                uid_from("contract", str(number)),
                "1.2.840.10008.5.1.4.1.1.4",
                "1.2.840.10008.1.2.1",
                path,
                sha256="",
            )
        )
    uid = uid_from("contract")
    return Study("st-marys", uid, 1, "web", "STM_PACS", "PONS", NOW, (), tuple(reversed(stored)))


@pytest.fixture
def result(study: Study, tmp_path: Path) -> Result:
    """A final result on that study, with a number, an impression and two pictures."""
    context = read_context(study.stored, SITE, 1)
    return Result(
        result_id=str(uuid.UUID(int=7)),
        site=SITE.key,
        route="all",
        status=ResultStatus.FINAL,
        produced_at=NOW,
        patient=context.patient,
        order=context.order,
        study=context.study,
        report=report(tmp_path),
    )


@pytest.fixture
def history() -> History:
    return History(DeliveryId("00000000-0000-4000-8000-000000000001"), NOW)


@pytest.fixture
def delivery(history: History) -> Delivery:
    return Delivery(history.delivery_id, "under-test", "k", 1, NOW)


def channel_type(name: str) -> OutboundType:
    found: OutboundType = entry_points(group="pons.outbound")[name].load()
    return found


@pytest.fixture
def make() -> Callable[..., Outbound]:
    """``make(type, **block)``: a channel from its block of a table."""

    def build(name: str, **block: Any) -> Outbound:
        kind = channel_type(name)
        settings = kind.settings.model_validate({"site": "st-marys", "timeout": "10s", **block})
        return kind.build(settings, OutboundContext("under-test", SITE))

    return build
