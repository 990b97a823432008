"""A house where something of everything has happened: a delivery, a dead letter, a hold, at two hospitals.

The HIS of St. Mary's refuses the first message that it gets, for good. What was sent is named by its Study
Instance UID, so that a test or a picture can open the pages of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.studies import small_study, study_of
from tests.peers.process import wait_until
from tests.portal.portal_house import PortalHouse, serving_house

PATIENCE = 90.0  # seconds


@dataclass(frozen=True)
class Furnished:
    """The house, and what was brought into it."""

    house: PortalHouse
    delivered: str  # Study Instance UID: told to the webhook receiver, refused by the HIS
    held: str  # no route matched it
    johns: str  # of the other hospital

    def delivery(self, destination: str) -> dict[str, Any]:
        """The delivery to a destination."""
        (found,) = [one for one in self.house.engine.deliveries() if one["destination"] == destination]
        return found


def brought(house: PortalHouse, real_study: Path, folder: Path) -> Furnished:
    """Bring the studies, and wait until each has come as far as it can."""
    marys = small_study(real_study, folder / "marys", instances=4)
    held = small_study(real_study, folder / "held", instances=2, Modality="CT", SeriesDescription="Abdomen")
    johns = small_study(real_study, folder / "johns", instances=4, AccessionNumber="J-204")
    house.bring(marys)
    house.bring(held)
    house.bring(johns, "st-johns")
    house.engine.wait_for_states(
        {"hook": ["delivered"], "his": ["dead"], "johns-hook": ["delivered"]}, PATIENCE
    )
    wait_until(lambda: house.engine.json("hold", "list"), "the hold", PATIENCE, every=0.5)
    return Furnished(house, study_of(marys[0]), study_of(held[0]), study_of(johns[0]))


@contextmanager
def furnished_house(folder: Path, free_port: Callable[[], int], real_study: Path) -> Iterator[Furnished]:
    """The house as it is when everything has happened."""
    with serving_house(folder, free_port, his_answers=("AR",)) as house:
        yield brought(house, real_study, folder / "sent")
