"""A study revision as routing sees it, from the engine's own record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.intake import DurableIntake
from engine.model import Arrival, Site, Study
from engine.recorded_study import recorded_study
from engine.spool import Spool
from engine.store import studies
from engine.store.database import Database
from tests.engine.conftest import HandClock

SITES = {"st-marys": Site(key="st-marys", name="St. Mary's", timezone="Asia/Tokyo")}


@pytest.fixture
async def stored(
    intake: DurableIntake,
    database: Database,
    spool: Spool,
    clock: HandClock,
    instance: Callable[..., bytes],
    arrive: Callable[..., Arrival],
) -> Callable[..., Study]:
    """Three instances, asked for Modality and SeriesDescription when they came; reads them."""
    for number in (1, 2, 3):
        await intake.accept(arrive(instance(number, SeriesDescription="ep2d_DTI")))
    database.write_now(
        lambda c: studies.close_revision(c, 1, clock.now(), "quiet", on_late="rerun", last_at=clock.now())
    )

    def read(*keywords: str, path_of: Callable[[str], Path] = spool.path) -> Study:
        def rows(c: Any) -> tuple[Any, Any]:
            return studies.study(c, 1), studies.members(c, 1, 1)

        row, members = database.read_now(rows)
        return recorded_study(row, members, 1, keywords, SITES, path_of)

    return read


def no_file(name: str) -> Path:
    return Path("/nowhere") / name


async def test_what_was_asked_at_arrival_needs_no_file(stored: Callable[..., Study]) -> None:
    study = stored("Modality", path_of=no_file)
    assert [one.attributes["Modality"] for one in study.instances] == ["MR"] * 3
    assert (study.site, study.inbound, study.calling_ae_title, study.revision) == (
        "st-marys", "pacs", "STM_PACS", 1,
    )  # fmt: skip
    assert str(study.received_at) == "2023-11-15 07:13:20+09:00", "in the site's time"


async def test_a_new_question_is_asked_of_the_files(stored: Callable[..., Study]) -> None:
    study = stored("Modality", "InstanceNumber")
    assert [str(one.attributes["InstanceNumber"]) for one in study.instances] == ["1", "2", "3"]
    with pytest.raises(OSError, match="No such file"):
        stored("InstanceNumber", path_of=no_file)
