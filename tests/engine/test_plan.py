"""What changes when one table takes the place of another: by meaning, not by text."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config import examine
from engine.document import read
from engine.plan import Change, Difference, Written, difference, needs_restart
from engine.plan_keys import Key

TABLE: dict[str, Any] = {
    "version": 1,
    "assembly": {"stable_after": "60s"},
    "sites": {
        "st-marys": {"name": "St. Mary's", "addresses": ["127.0.0.1"], "ae_titles": ["STM"]},
        "county": {"addresses": ["127.0.0.2"], "ae_titles": ["CTY"]},
    },
    "inbound": {"pacs": {"type": "c_store", "listen": "127.0.0.1:11112"}},
    "processors": {"model": {"type": "command", "command": ["true"]}},
    "outbound": {
        "ris": {"type": "hl7_oru", "site": "st-marys", "host": "127.0.0.1", "port": 2575},
        "hook": {
            "type": "webhook",
            "site": "st-marys",
            "url": "https://his.example/hook",
            "secret": {"env": "HOOK_SECRET"},
        },
    },
    "routes": [
        {"name": "mr", "match": {"Modality": "MR"}, "process": "model", "deliver": ["ris"]},
        {"name": "ct", "match": {"Modality": "CT"}, "process": "model", "deliver": ["hook"]},
        {"name": "us", "match": {"Modality": "US"}, "hold": "ask"},
        {"name": "rest", "otherwise": True, "hold": "no route matched"},
    ],
    "tests": [{"name": "a", "given": {"site": "st-marys", "Modality": "US"}, "expect": {"routes": ["us"]}}],
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Written]:
    """A function that makes a table of a mapping, or of its text."""

    def make(table: Any) -> Written:
        path = tmp_path / "routes.yaml"
        path.write_text(table if isinstance(table, str) else yaml.safe_dump(table, sort_keys=False))
        loaded, findings = examine(path, surroundings=False)
        assert loaded is not None, findings
        return Written(loaded, read(path).data)

    return make


@pytest.fixture
def changed(written: Callable[[Any], Written]) -> Callable[..., Difference]:
    """A function that makes the difference between the table and what an edit makes of it."""

    def make(edit: Callable[[dict[str, Any]], Any]) -> Difference:
        table = copy.deepcopy(TABLE)
        edit(table)
        return difference(written(TABLE), written(table))

    return make


def one(found: Difference) -> Change:
    (change,) = found.changes
    return change


def test_the_same_table_changes_nothing(changed: Callable[..., Difference]) -> None:
    assert changed(lambda table: None).changes == ()


def test_the_same_in_other_words_changes_nothing(written: Callable[[Any], Written]) -> None:
    other = copy.deepcopy(TABLE)
    other["assembly"]["stable_after"] = "1m"
    other["outbound"]["ris"]["timeout"] = "30s"
    other["outbound"]["ris"] = dict(reversed(other["outbound"]["ris"].items()))
    other["routes"][0]["deliver"] = "ris"
    other["routes"][1]["match"] = {"Modality": {"equals": "CT"}}
    text = "# a comment\n\n\n" + yaml.safe_dump(other, sort_keys=False, default_flow_style=True)
    default = yaml.safe_load(text)
    del default["outbound"]["ris"]["timeout"]
    assert difference(written(TABLE), written(default)).changes == ()


def test_predicates_of_every_kind_are_the_same_when_they_are_written_again(
    written: Callable[[Any], Written],
) -> None:
    match: dict[str, Any] = {
        "all": [{"site": "st-marys"}, {"not": {"Modality": {"in": ["SR", "PR", "KO", "SEG"]}}}],
        "any": [{"StudyDescription": {"matches": "(?i)dti"}}, {"(0018,9087)": {"between": [0, 1000]}}],
        "time": {"between": ["22:00", "06:00"]},
        "series": {"instances": {"at_least": 60}, "instance": {"EchoTime": {"at_most": 80.5}}},
        "BodyPartExamined": {"exists": True},
    }
    table = copy.deepcopy(TABLE)
    table["routes"][0] |= {"match": match, "select": {"Modality": "MR"}}
    table["routes"][0]["deliver"] = [{"to": "ris", "when": {"status": ["final", "corrected"]}}]
    turned = copy.deepcopy(table)
    turned["routes"][0]["match"] = dict(reversed(match.items()))
    assert difference(written(table), written(turned)).changes == ()
    turned["routes"][0]["match"]["any"] = [{"StudyDescription": {"matches": "(?i)dwi"}}, match["any"][1]]
    (change,) = difference(written(table), written(turned)).changes
    assert [key.path for key in change.keys] == ["match.any[0]"]


def test_each_key_of_a_changed_entry_says_what_was_and_what_will_be(
    changed: Callable[..., Difference],
) -> None:
    def edit(table: dict[str, Any]) -> None:
        del table["outbound"]["ris"]["port"]
        table["outbound"]["ris"] |= {"port": 2576, "retry": {"first": "1s"}}

    assert one(changed(edit)) == Change(
        "~", "outbound", "ris", (Key("port", "2575", "2576"), Key("retry.first", None, "1s"))
    )


def test_what_comes_and_what_goes_is_told_with_its_keys(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["sites"]["new"] = {"tunnel": "10.90.7.2", "timezone": "Europe/Dublin"}
        del table["outbound"]["hook"]
        table["routes"].pop(1)

    found = changed(edit)
    assert [(c.sign, c.section, c.name) for c in found.changes] == [
        ("+", "sites", "new"),
        ("-", "outbound", "hook"),
        ("-", "routes", "ct"),
    ]
    assert found.changes[0].keys == (Key("tunnel", None, "10.90.7.2"), Key("timezone", None, "Europe/Dublin"))
    assert Key("secret", "{env: HOOK_SECRET}", None) in found.changes[1].keys
    assert found.names("outbound", "-", "~") == ["hook"]


def test_a_secret_is_told_by_its_reference(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["outbound"]["hook"]["secret"] = {"file": "hook.key"}

    assert one(changed(edit)).keys == (Key("secret", "{env: HOOK_SECRET}", "{file: hook.key}"),)


def test_a_route_that_moves_changes_what_wins(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["routes"].insert(0, table["routes"].pop(2))

    assert one(changed(edit)) == Change("~", "routes", "us", (), "moved: now first")

    def both(table: dict[str, Any]) -> None:
        table["routes"].insert(2, table["routes"].pop(0))
        table["routes"][2]["match"] = {"Modality": {"in": ["MR", "PT"]}}

    assert one(changed(both)) == Change(
        "~",
        "routes",
        "mr",
        (Key("match.Modality.in", None, "[MR, PT]"), Key("match.Modality", "MR", None)),
        "moved: now after 'us'",
    )


def test_a_new_route_says_where_it_stands_and_moves_no_other(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["routes"].insert(1, {"name": "pt", "match": {"Modality": "PT"}, "hold": "ask"})

    change = one(changed(edit))
    assert (change.sign, change.name, change.note) == ("+", "pt", "after 'mr'")


def test_a_route_that_only_changed_its_name_is_told_so(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["routes"][0]["name"] = "mr by the model"

    assert one(changed(edit)) == Change("~", "routes", "mr by the model", (), "was 'mr' before")


def test_blocks_and_tests_are_compared_too(changed: Callable[..., Difference]) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["assembly"]["stable_after"] = "90s"
        table["retention"] = {"keep": "30d"}
        table["tests"][0]["given"]["Modality"] = "CT"
        table["tests"][0]["expect"]["routes"] = ["ct"]

    found = changed(edit)
    assert [(c.sign, c.section, c.name) for c in found.changes] == [
        ("~", "assembly", ""),
        ("+", "retention", ""),
        ("~", "tests", "a"),
    ]
    assert found.changes[0].keys == (Key("stable_after", "60s", "90s"),)


def test_what_belongs_to_the_process_needs_a_restart(written: Callable[[Any], Written]) -> None:
    before = written(TABLE).table
    assert before is not None
    other: dict[str, Any] = {**TABLE, "engine": {"http": "127.0.0.1:9090"}}
    changed = written(other).table
    assert changed is not None
    assert needs_restart(before, changed) == ["engine.http"]
    assert needs_restart(before, before) == []
    tokens = written({**TABLE, "oauth": {"token_life": "30m"}}).table
    assert tokens is not None
    assert needs_restart(before, tokens) == ["oauth"]
    people = written({**TABLE, "people": {"session_life": "30m"}}).table
    assert people is not None
    assert needs_restart(before, people) == ["people"]


def test_as_few_routes_as_can_be_are_said_to_have_moved(written: Callable[[Any], Written]) -> None:
    """The rest stand in one order; taking out fewer would not do (checked by trying)."""
    names = list("abcdefg")

    def table(order: list[str]) -> Any:
        routes = [{"name": name, "match": {"Modality": name.upper()}, "hold": "ask"} for name in order]
        return TABLE | {"routes": routes, "tests": []}

    dice = random.Random(7)
    before = written(table(names))
    for _ in range(10):
        order = dice.sample(names, len(names))
        moved = {c.name for c in difference(before, written(table(order))).changes}
        rest = [name for name in order if name not in moved]
        assert rest == sorted(rest)
        longest = max(
            bin(mask).count("1")
            for mask in range(1 << len(order))
            if (some := [n for i, n in enumerate(order) if mask >> i & 1]) == sorted(some)
        )
        assert len(rest) == longest
