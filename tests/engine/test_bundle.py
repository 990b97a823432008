"""Deliveries that go out together: at one moment, once, and the same again when they are tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import select, update

from engine.breaker import CLOSED, OPEN
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Delivery, History, Payload, Result, Study
from engine.store.bundle_tables import bundled
from engine.store.database import Database
from engine.store.tables import deliveries, lanes
from tests.engine.conftest import HandClock
from tests.engine.post_house import Post, until


class Postbag:
    """A destination with a bag: what goes together is one line in a file."""

    def __init__(self, path: Path, most: int = 100, every: timedelta | None = None) -> None:
        self.path, self.most, self.every = path, most, every
        self.raises: Exception | None = None

    def render(self, subject: Result | Study, history: History) -> Payload:
        raise AssertionError("rendered before")

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        self._write(f"alone {delivery.delivery_id}")
        return Acknowledgement("250")

    def next_moment(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        if self.every is None:
            return None
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        return begun + (((now - begun) // self.every) + 1) * self.every

    async def deliver_together(
        self, items: Sequence[tuple[Payload, Delivery]], bundle_id: str
    ) -> Acknowledgement:
        for payload, delivery in items:
            assert payload.parts[0].read().decode().split("|")[9] == delivery.delivery_id
        self._write(f"{bundle_id} {' '.join(delivery.delivery_id for _, delivery in items)}")
        if self.raises is not None:
            raise self.raises
        return Acknowledgement("250", "taken")

    async def probe(self) -> None:
        raise AssertionError("nobody asks")

    def _write(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")

    @property
    def sent(self) -> list[list[str]]:
        """Every try: what it is known by, and what was in it."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


def post_with(bag: Postbag, tmp_path: Path, database: Database, clock: HandClock) -> Post:
    post = Post(tmp_path, database, clock, {"mail": 1}, mail={"breaker": {"failures": 3, "open_for": "30s"}})
    post.destinations["mail"] = replace(post.destinations["mail"], channel=bag)
    return post


async def test_what_is_due_at_one_moment_goes_as_one_and_the_next_comes_later(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag", every=timedelta(hours=1))
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b")
    async with post.running() as dispatch:
        await until(lambda: set(post.states("mail").values()) == {"waiting"}, "them to wait for the hour")
        reasons = database.read_now(lambda c: c.execute(select(deliveries.c.reason)).scalars().all())
        assert all(reason.startswith("goes out with others at ") for reason in reasons)
        clock.advance(60)
        post.queue("mail", "c")
        dispatch.wake()
        await until(lambda: post.states("mail")["c"] == "waiting", "the third to wait, too")
        assert bag.sent == []
        clock.advance(3600)
        await until(lambda: set(post.states("mail").values()) == {"delivered"}, "all of them")
        post.queue("mail", "d")
        dispatch.wake()
        await until(lambda: post.states("mail")["d"] == "waiting", "what came after the hour")

    assert [line[1:] for line in bag.sent] == [["a", "b", "c"]]
    assert {one.outcome for one in post.attempts("mail")} == {"delivered"}


async def test_tried_again_it_is_the_same_whatever_has_come_meanwhile(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag")
    bag.raises = TryAgain("451 try later", code="451")
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b", "c")
    async with post.running() as dispatch:
        await until(lambda: len([one for one in post.attempts("mail") if one.ended_at]) == 3, "a first try")
        due = {post.lane(name).due_at for name in "abc"}
        assert len(due) == 1, "they come again at one moment"
        bag.raises = None
        clock.advance(10)
        post.queue("mail", "d")
        dispatch.wake()
        await until(lambda: set(post.states("mail").values()) == {"delivered"}, "all of them")

    first = bag.sent[0]
    assert first[1:] == ["a", "b", "c"]
    assert [line for line in bag.sent if len(line) == 4] == [first, first]
    (other,) = [line for line in bag.sent if len(line) == 2]
    assert other[1] == "d"
    assert other[0] != first[0]


async def test_one_message_that_fails_is_one_failure_and_one_bundle_shows_that_it_is_over(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag")
    bag.raises = TryAgain("nobody there", code="connect")
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b", "c", "d")
    async with post.running() as dispatch:
        for tries in (1, 2, 3):
            await until(
                lambda tries=tries: len([one for one in post.attempts("mail") if one.ended_at]) == 4 * tries,
                "a try",
            )
            assert (post.standing("mail").circuit.state == OPEN) == (tries == 3)
            if tries < 3:
                clock.advance(25)
                dispatch.wake()
        bag.raises = None
        post.queue("mail", "e")
        clock.advance(40)
        dispatch.wake()
        await until(lambda: set(post.states("mail").values()) == {"delivered"}, "all of them")

    assert post.standing("mail").circuit.state == CLOSED
    assert len(bag.sent) == 5, "three in vain, then one that shows that it is over, then what was left"
    assert len({line[0] for line in bag.sent if len(line) == 5}) == 1
    assert [line[1:] for line in bag.sent if len(line) == 2] == [["e"]]


async def test_a_bundle_of_which_one_cannot_be_claimed_waits_for_it(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag", most=2)
    bag.raises = TryAgain("451 try later", code="451")
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b")
    async with post.running():
        await until(lambda: len([one for one in post.attempts("mail") if one.ended_at]) == 2, "a first try")
    bag.raises = None
    clock.advance(900)
    post.make_due("a")  # and another before b
    post.queue("mail", "z")
    change = update(deliveries).where(deliveries.c.delivery_id == "z")
    database.write_now(lambda c: c.execute(change.values(created_at=0.0)))
    async with post.running():
        await until(lambda: set(post.states("mail").values()) == {"delivered"}, "all of them")

    assert [line[1:] for line in bag.sent if "a" in line or "b" in line] == [["a", "b"]] * 2
    assert bag.sent[0][0] == next(line for line in bag.sent[1:] if "a" in line)[0]


async def test_refused_all_are_dead_and_a_replay_goes_by_itself(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag")
    bag.raises = Refused("550 no such mailbox", code="550")
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b")
    async with post.running():
        await until(lambda: set(post.states("mail").values()) == {"dead"}, "both to be dead")
    bag.raises = None
    clock.advance(100)
    lane = update(lanes).where(lanes.c.order_key == "a").values(pending=1, owner=None, due_at=0.0)
    again = update(deliveries).where(deliveries.c.delivery_id == "a")
    database.write_now(lambda c: c.execute(again.values(state="queued", age_from=clock.now())))
    database.write_now(lambda c: c.execute(lane))
    async with post.running():
        await until(lambda: post.states("mail")["a"] == "delivered", "the replay")

    (first, second) = bag.sent
    assert second[1:] == ["a"]
    assert second[0] != first[0], "what it is known by is another: so is what is in it"


async def test_alone_each_goes_by_itself(tmp_path: Path, database: Database, clock: HandClock) -> None:
    bag = Postbag(tmp_path / "bag", most=1, every=timedelta(hours=1))
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b")
    async with post.running():
        await until(lambda: set(post.states("mail").values()) == {"delivered"}, "both")

    assert sorted(bag.sent) == [["alone", "a"], ["alone", "b"]]
    assert database.read_now(lambda c: c.execute(select(bundled)).all()) == []


async def test_a_member_that_is_gone_keeps_nobody(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    bag = Postbag(tmp_path / "bag")
    post = post_with(bag, tmp_path, database, clock)
    post.queue("mail", "a", "b")
    (post.data / "payloads" / "b.part").unlink()  # what was to be sent cannot be read
    async with post.running():
        await until(lambda: post.states("mail")["a"] == "delivered", "the other")
    assert post.states("mail")["b"] != "delivered"
