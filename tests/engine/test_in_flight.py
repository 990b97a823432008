"""Room for instances on their way in: limited, fair between sites, and given back."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from engine.errors import Busy
from engine.in_flight import FIRST, InFlight, Place, goes
from tests.peers.process import wait_until

MB = 1 << 20


class Landed:
    """A landing of so many bytes."""

    def __init__(self, size: int) -> None:
        self.size = size


def take(flight: InFlight, site: str, size: int) -> Place:
    place = flight.take(site)
    place.holds(Landed(size))
    return place


def waiting(flight: InFlight, number: int) -> bool:
    return flight.measured()["pons_intake_waiting"] == number


@pytest.mark.parametrize(
    ("total", "held", "sites", "may"),
    [
        (0, 0, 1, True),
        (74, 74, 1, True),  # up to three quarters anybody's
        (75, 75, 1, False),  # the last quarter is for who holds less than a share of half
        (75, 25, 2, True),
        (99, 49, 2, True),
        (99, 50, 2, False),
        (99, 33, 3, False),  # a share is a third now
        (99, 32, 3, True),
        (100, 0, 9, False),  # at the limit nobody's
    ],
)
def test_a_site_that_holds_less_than_its_share_may_go_further(
    total: int, held: int, sites: int, may: bool
) -> None:
    assert goes(total, held, sites, 100) is may


def test_without_room_within_its_patience_an_instance_is_refused_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flight = InFlight(4 * MB, patience=0.05)
    place = take(flight, "greedy", 3 * MB)
    with pytest.raises(Busy, match="too much is on its way in"):
        flight.take("greedy")
    assert flight.measured() == {
        "pons_intake_bytes_in_flight": 3.0 * MB,
        "pons_intake_waiting": 0.0,
        'pons_intake_refused_total{reason="in_flight"}': 1.0,
    }
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.__dict__["pons"] == {
        "site": "greedy",
        "bytes": 3 * MB,
        "of_this_site": 3 * MB,
        "max_bytes_in_flight": "4MB",
    }
    place.leave()
    place.leave()
    assert take(flight, "greedy", MB).size == MB


def test_a_site_that_holds_all_it_can_leaves_the_others_a_quarter() -> None:
    flight = InFlight(40 * MB, patience=0.05)
    while True:
        try:
            take(flight, "greedy", MB)
        except Busy:
            break
    assert flight.measured()["pons_intake_bytes_in_flight"] == 30 * MB
    for _ in range(10):
        take(flight, "modest", MB)
    with pytest.raises(Busy):
        flight.take("modest")


@pytest.mark.parametrize("room", [8, 2048])  # in a large one they are not added up each time
def test_many_that_begin_at_once_are_seen_before_their_bytes_are(room: int) -> None:
    flight = InFlight(room * FIRST, patience=0.05)
    places = [flight.take("greedy") for _ in range(room * 3 // 4)]
    with pytest.raises(Busy):
        flight.take("greedy")
    assert {place.size for place in places} == {FIRST}


def test_of_those_that_wait_the_site_that_holds_least_goes_first() -> None:
    flight = InFlight(8 * MB, patience=30)
    held = [take(flight, "greedy", 6 * MB - FIRST // 2), take(flight, "other", 2 * MB + FIRST // 2)]
    order: list[str] = []

    def wait(site: str) -> None:
        place = flight.take(site)
        order.append(site)  # without the other there is room for one at a time
        place.leave()

    with ThreadPoolExecutor(3) as threads:
        for number, site in enumerate(("greedy", "greedy", "modest"), 1):
            threads.submit(wait, site)
            wait_until(partial(waiting, flight, number), "all to wait")
        held[1].leave()
    held[0].leave()
    assert order[0] == "modest"
    assert sorted(order) == ["greedy", "greedy", "modest"]
    assert flight.measured()["pons_intake_bytes_in_flight"] == 0


async def test_an_event_loop_waits_without_a_thread_and_without_patience_not_at_all() -> None:
    flight = InFlight(4 * MB, patience=30)
    place = await flight.take_soon("greedy")
    place.holds(Landed(4 * MB))
    with pytest.raises(Busy):
        await flight.take_soon("greedy", patient=False)
    later = asyncio.create_task(flight.take_soon("greedy"))
    await asyncio.sleep(0)
    before = threading.active_count()
    assert flight.measured()["pons_intake_waiting"] == 1
    assert threading.active_count() == before
    place.leave()
    (await asyncio.wait_for(later, 30)).leave()
    assert flight.measured()["pons_intake_bytes_in_flight"] == 0


async def test_who_is_refused_on_an_event_loop_hears_so_after_the_patience() -> None:
    flight = InFlight(4 * MB, patience=0.05)
    (await flight.take_soon("greedy")).holds(Landed(4 * MB))
    with pytest.raises(Busy):
        await flight.take_soon("greedy")


async def test_one_that_is_cancelled_while_it_waits_takes_no_room() -> None:
    flight = InFlight(4 * MB, patience=30)
    place = await flight.take_soon("greedy")
    place.holds(Landed(4 * MB))
    later = asyncio.create_task(flight.take_soon("modest"))
    await asyncio.sleep(0)
    later.cancel()
    with pytest.raises(asyncio.CancelledError):
        await later
    place.leave()
    assert flight.measured()["pons_intake_waiting"] == 0
    assert flight.measured()["pons_intake_bytes_in_flight"] == 0


def test_a_place_is_given_back_when_it_is_left_by_an_error() -> None:
    flight = InFlight(4 * MB, patience=0.05)

    def break_down() -> None:
        with flight.take("greedy") as place:
            place.holds(Landed(4 * MB))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_down()
    assert flight.measured()["pons_intake_bytes_in_flight"] == 0
