"""`pons dead`: dead letters listed, shown with every attempt, and given up with a reason."""

from __future__ import annotations

import json

from tests.engine.commands.desk_house import House


def test_dead_letters_are_listed_with_their_reasons(house: House) -> None:
    rows = json.loads(house.run("dead", "--json"))
    assert [(row["delivery"], row["destination"], row["attempts"]) for row in rows] == [
        ("d-1", "ris", 1),
        ("d-2", "ris", 1),
        ("d-3", "old", 1),
    ]
    assert rows[0]["reason"] == "AR unknown code in OBR-4"
    assert "d-2" in house.run("dead")
    assert house.run("dead") == house.run("dead", "list")


def test_the_list_is_narrowed(house: House) -> None:
    assert [row["delivery"] for row in json.loads(house.run("dead", "--destination", "old", "--json"))] == [
        "d-3"
    ]
    assert house.run("dead", "--site", "nowhere") == "no dead letters\n"
    assert house.run("dead", "list", "--study", "9.9") == "no dead letters\n"
    assert house.run("dead", "--since", "1h") == "no dead letters\n"
    assert house.run("dead", "--limit", "2").splitlines()[-1] == "and 1 more; --limit shows them"
    house.run("dead", "--since", "soon", expect=2)


def test_one_is_shown_with_every_attempt(house: House) -> None:
    told = json.loads(house.run("dead", "show", "d-1", "--json"))
    assert told["study"] == "1.2.3"
    (attempt,) = told["tries"]
    assert (attempt["outcome"], attempt["code"]) == ("refused", "AR")
    for words in ("d-1", "refused", "unknown code in OBR-4"):
        assert words in house.run("dead", "show", "d-1")
    assert house.refused("dead", "show", "d-4") == "delivery d-4 is delivered, no dead letter"
    assert "no delivery nobody here" in house.refused("dead", "show", "nobody")


def test_giving_up_shows_first_and_does_only_when_told(house: House) -> None:
    said = house.run("dead", "discard", "d-1", "d-3", "--reason", "sent by post")
    assert said.splitlines() == [
        "2 dead letters would be discarded",
        "nothing was changed; add --yes to do it",
    ]
    assert house.states()["d-1"] == "dead"
    house.run("dead", "discard", "d-1", "d-3", "--reason", "sent by post", "--yes")
    assert house.states() == {"d-1": "discarded", "d-2": "dead", "d-3": "discarded", "d-4": "delivered"}
    events = json.loads(house.run("audit", "--action", "dead letter discarded", "--json"))
    assert [(one["subject"], one["detail"]["reason"]) for one in events] == [
        ("delivery d-1", "sent by post"),
        ("delivery d-3", "sent by post"),
    ]
    assert "dead letter discarded" in house.run("trace", "1.2.3")


def test_one_that_is_none_stops_all(house: House) -> None:
    said = house.refused("dead", "discard", "d-1", "d-4", "--reason", "why", "--yes")
    assert said == "delivery d-4 is delivered, no dead letter"
    assert house.states()["d-1"] == "dead"
    house.run("dead", "discard", "d-1", expect=2)  # no reason
    assert "one line" in house.refused("dead", "discard", "d-1", "--reason", " ", "--yes")
