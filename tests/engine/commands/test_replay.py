"""`pons replay` at the desk: what it demands, shows and refuses, on a database at rest."""

from __future__ import annotations

import json

import pytest

from tests.engine.commands.desk_house import House


def test_a_preview_counts_and_changes_nothing(house: House) -> None:
    said = house.run("replay", "--from", "deliver", "--state", "dead")
    lines = said.splitlines()
    assert lines[0] == "3 deliveries selected: 2 would be replayed, 1 left out"
    assert lines[-1] == "nothing was changed; add --reason TEXT --yes to do it"
    for words in ("ris", "dead", "d-1", "sent again to ris under the same identifiers", "no destination old"):
        assert words in said
    assert house.states() == {"d-1": "dead", "d-2": "dead", "d-3": "dead", "d-4": "delivered"}


def test_with_yes_it_happens_and_is_on_the_trail(house: House) -> None:
    said = house.run("replay", "--from", "deliver", "--destination", "ris", "--reason", "it is back", "--yes")
    assert said.splitlines()[0] == "2 deliveries selected: 2 replayed, 0 left out"
    assert house.states() == {"d-1": "queued", "d-2": "queued", "d-3": "dead", "d-4": "delivered"}
    (event,) = json.loads(house.run("audit", "--action", "replayed", "--json"))
    assert (event["subject"], event["detail"]["reason"]) == ("2 from deliver", "it is back")
    assert "uid " in event["actor"]


def test_without_a_state_only_dead_letters_are_meant(house: House) -> None:
    planned = json.loads(house.run("replay", "--from", "deliver", "--site", "st-marys", "--json"))
    assert (planned["selected"], planned["replayed"], planned["left_out"]) == (3, 2, 1)
    assert planned["done"] is False
    assert {one["state"] for one in planned["items"]} == {"dead"}
    planned = json.loads(house.run("replay", "--from", "deliver", "d-4", "--json"))
    assert planned["items"][0]["effect"].startswith("sent again"), "an id is meant whatever its state"


def test_more_than_the_limit_needs_force(house: House) -> None:
    command = ("replay", "--from", "deliver", "--state", "dead", "--limit", "1")
    assert "more than 1: it will need --force" in house.run(*command)
    assert "2 would be replayed, more than 1" in house.refused(*command, "--reason", "why", "--yes")
    assert house.states()["d-1"] == "dead"
    house.run(*command, "--reason", "why", "--yes", "--force")
    assert house.states()["d-1"] == "queued"


def test_nothing_done_with_yes_is_a_finding(house: House) -> None:
    out = house.run("replay", "--from", "deliver", "d-3", "--reason", "why", "--yes", "--json", expect=1)
    assert json.loads(out)["done"] is False
    assert json.loads(out)["items"][0]["left_out"].startswith("the table has no destination old any more")
    none = house.run("replay", "--from", "deliver", "--site", "nowhere", "--reason", "why", "--yes")
    assert none.splitlines()[0] == "0 deliveries selected: 0 replayed, 0 left out"


WRONG = [
    ((), "name what: ids"),
    (("--study", "1.2.3", "--yes"), "needs one, for the audit trail"),
    (("--state", "lost"), "lost is none of queued, waiting"),
    (("--state", "held"), "held is none of queued, waiting"),
    (("--since", "yesterday"), "yesterday is neither a time"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_use_is_told_with_exit_code_2(house: House, arguments: tuple[str, ...], words: str) -> None:
    said = house.run("replay", "--from", "deliver", *arguments, expect=2)
    assert words in " ".join(said.replace("│", " ").split())


def test_only_deliveries_go_to_another_destination(house: House) -> None:
    said = house.run("replay", "--from", "process", "--study", "1.2.3", "--to", "ris", expect=2)
    assert "--from deliver" in said
    assert "the table has no destination mars; it has desk, ris" in house.refused(
        "replay", "--from", "deliver", "d-1", "--to", "mars"
    )


def test_a_study_is_taken_up_again_by_its_uid_or_its_state(house: House) -> None:
    said = house.run("replay", "--from", "route", "--state", "held")
    assert "revision 1 is decided again, by table sha256:" in said
    left_out = house.run("replay", "--from", "process", "1.2.3")
    assert "revision 1 was never decided; release its hold" in left_out
    house.run("replay", "--from", "assemble", "1.2.3", "--reason", "why", "--yes")
    assert json.loads(house.run("studies", "--json"))[0]["revision"] == 2
    assert json.loads(house.run("hold", "--json")) == [], "what held it is answered"
    assert "replayed" in house.run("trace", "1.2.3")


def test_times_may_be_dates_or_ages(house: House) -> None:
    for since, selected in (("1970-01-01", 3), ("3d", 0), ("2099-01-01T08:00", 0)):
        planned = json.loads(house.run("replay", "--from", "deliver", "--since", since, "--json"))
        assert planned["selected"] == selected, since
