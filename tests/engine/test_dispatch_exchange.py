"""Destinations change while they deliver: what is under way ends as it began, and what waits is not lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.channel import OutboundContext
from engine.dispatch import Destination
from engine.model import Site
from engine.store.database import Database
from tests.engine.conftest import HandClock
from tests.engine.post_house import Peer, Post, peers, until


def edited(destination: Destination, **settings: Any) -> Destination:
    """The same destination with other settings, and so with another channel."""

    declared = replace(
        destination.declared, settings=destination.declared.settings.model_copy(update=settings)
    )
    channel = declared.type.build(declared.settings, OutboundContext(declared.name, Site("s", "S")))
    return Destination(declared, channel, destination.zone)


async def test_an_attempt_under_way_ends_at_the_address_it_began_with_and_the_next_goes_to_the_new_one(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    async with peers(old := Peer(), new := Peer()):
        old.gate.clear()
        post = Post(tmp_path, database, clock, {"ris": old.port})
        post.queue("ris", "before")
        async with post.running() as dispatch:
            await until(lambda: old.received == ["before"], "the first to be under way")
            dispatch.take({"ris": edited(post.destinations["ris"], port=new.port)})
            post.queue("ris", "after")
            dispatch.wake()
            await until(lambda: post.states("ris")["after"] == "delivered", "the second, by the new settings")
            assert post.states("ris")["before"] == "queued"
            old.gate.set()
            await until(lambda: post.states("ris")["before"] == "delivered", "the first, by the old ones")
        assert (old.received, new.received) == (["before"], ["after"])
        assert [one.outcome for one in post.attempts("ris")] == ["delivered", "delivered"]


async def test_what_waits_for_a_destination_that_is_gone_goes_out_when_it_is_back(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    async with peers(ris := Peer(), pacs := Peer()):
        ris.gate.clear()
        post = Post(tmp_path, database, clock, {"ris": ris.port, "pacs": pacs.port}, ris={"concurrency": 1})
        post.queue("ris", "one", "two")
        async with post.running() as dispatch:
            await until(lambda: ris.received == ["one"], "the first to be under way")
            dispatch.take({"pacs": post.destinations["pacs"]})
            ris.gate.set()
            await until(lambda: post.states("ris")["one"] == "delivered", "what was under way to end")
            post.queue("pacs", "three")
            dispatch.wake()
            await until(lambda: post.states("pacs")["three"] == "delivered", "the one that stays")
            assert post.states("ris") == {"one": "delivered", "two": "queued"}
            dispatch.take(post.destinations)
            await until(lambda: post.states("ris")["two"] == "delivered", "what had waited")
        assert ris.received == ["one", "two"]


async def test_a_new_destination_is_served_from_the_moment_that_it_is_taken(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    async with peers(ris := Peer(), pacs := Peer()):
        post = Post(tmp_path, database, clock, {"ris": ris.port, "pacs": pacs.port})
        both = post.destinations
        post.destinations = {"ris": both["ris"]}
        post.queue("pacs", "one")
        async with post.running() as dispatch:
            dispatch.take(both)
            await until(lambda: post.states("pacs")["one"] == "delivered", "the new one")
            dispatch.take({})
            dispatch.take(both)  # back before its runner has noticed that it was gone
            post.queue("pacs", "two")
            dispatch.wake()
            await until(lambda: post.states("pacs")["two"] == "delivered", "it is served again")
