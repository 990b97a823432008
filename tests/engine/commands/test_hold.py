"""`pons hold`: what waits for a person, and the answer."""

from __future__ import annotations

import json

from tests.engine.commands.desk_house import House


def test_holds_are_listed_with_their_reasons(house: House) -> None:
    (row,) = json.loads(house.run("hold", "--json"))
    assert (row["hold"], row["study"], row["reason"]) == (1, "1.2.3", "no route matched")
    assert "no route matched" in house.run("hold")
    assert house.run("hold", "--site", "nowhere") == "nothing is held\n"


def test_releasing_shows_first_and_does_only_when_told(house: House) -> None:
    said = house.run("hold", "release", "1", "--reason", "the table was wrong", "--then", "route")
    assert "revision 1 is decided again" in said
    assert said.splitlines()[-1] == "nothing was changed; add --yes to do it"
    assert len(json.loads(house.run("hold", "--json"))) == 1
    house.run("hold", "release", "1", "--reason", "the table was wrong", "--then", "route", "--yes")
    assert house.run("hold") == "nothing is held\n"
    (row,) = json.loads(house.run("hold", "--released", "--json"))
    assert row["released"]
    (event,) = json.loads(house.run("audit", "--subject", "hold 1", "--json"))
    assert (event["action"], event["detail"]["then"]) == ("hold released", "route")
    assert "hold released" in house.run("trace", "1.2.3")


def test_one_that_was_answered_is_a_finding(house: House) -> None:
    release = ("hold", "release", "1", "--reason", "seen", "--yes")
    house.run(*release)
    assert "it was released before" in house.run(*release, expect=1)
    assert "no hold 7 here" in house.refused("hold", "release", "7", "--reason", "seen", "--yes")
    house.run("hold", "release", "one", "--reason", "seen", expect=2)
