"""The plan of the fault rig: everything follows from the seed, and every kind of fault has its turn."""

from __future__ import annotations

import pytest

from bench.faults.plan import NODE_FAULTS, Fault, plan
from bench.faults.weather import EVERYWHERE

SINKS = {"his": (*EVERYWHERE, "wrong"), "hook": EVERYWHERE}


def planned(seed: int, seconds: float = 60, *, database: bool = True, disk: bool = True) -> list[Fault]:
    nodes = ["node-0", "node-1"]
    return plan(seed, seconds, nodes=nodes, sinks=SINKS, lease=3, database=database, disk=disk)


def test_a_seed_gives_the_same_faults_again_and_another_seed_others() -> None:
    assert planned(7) == planned(7)
    assert planned(7) != planned(8)


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_has_room_for_every_kind(seed: int) -> None:
    faults = planned(seed)
    assert {one.kind for one in faults} == {*NODE_FAULTS, "database", "disk", "weather"}
    for name, weathers in SINKS.items():
        assert {one.setting for one in faults if one.target == name} == set(weathers)
    assert [one.at for one in faults] == sorted(one.at for one in faults)
    assert max(one.at for one in faults) < 60


@pytest.mark.parametrize("seed", range(20))
def test_a_frozen_node_sleeps_longer_than_its_lease(seed: int) -> None:
    assert all(one.lasts > 3 for one in planned(seed) if one.kind == "freeze")


def test_what_the_machine_does_not_allow_is_not_planned() -> None:
    kinds = {one.kind for one in planned(1, database=False, disk=False)}
    assert kinds & {"database", "disk"} == set()
