"""Protocol files: what a rule judges, and what each mistake in one is answered with."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigurationError
from engine.model import Flag
from engine.processors.quality.measures import MEASURES
from engine.processors.quality.protocol import Rule, judge, load_protocol
from engine.processors.quality_control import PACKAGED_PROTOCOL

CONCEPT = {"value": "x", "scheme": "99PONS", "meaning": "X"}


def rule(measure: str, **limits: Any) -> Rule:
    unit = MEASURES[measure].unit
    return Rule.model_validate(
        {"id": "x", "concept": CONCEPT, "measure": measure, "unit": unit.value if unit else "", **limits}
    )


@pytest.mark.parametrize(
    ("limits", "values", "flags", "outcome"),
    [
        # a range, its ends included
        ({"low": 55, "high": 104}, ["55.00"], "N", "ok"),
        ({"low": 55, "high": 104}, ["104.00"], "N", "ok"),
        ({"low": 55, "high": 104}, ["54.99"], "L", "fail"),
        ({"low": 55, "high": 104}, ["104.01"], "H", "fail"),
        # one value of several outside is enough
        ({"low": 55, "high": 104}, ["80.00", "120.00"], "NH", "fail"),
        # tolerance widens both ends
        ({"low": 90, "high": 90, "tolerance": 0.5}, ["90.50"], "N", "ok"),
        ({"low": 90, "high": 90, "tolerance": 0.5}, ["90.51"], "H", "fail"),
        # a list of values
        ({"one_of": [0, 1000], "tolerance": 10}, ["0.00", "995.00"], "NN", "ok"),
        ({"one_of": [0, 1000]}, ["0.00", "700.00"], "NA", "fail"),
        ({"one_of": [0, 1000], "must_include": [0, 1000]}, ["1000.00"], "N", "fail"),
        # a warning is not a failure
        ({"low": 55, "severity": "warning"}, ["50.00"], "L", "warning"),
        # without limits nothing is judged
        ({}, ["80.00"], "-", "ok"),
        # not measured
        ({"low": 55, "required": True}, [], "", "fail"),
        ({"low": 55}, [], "", "unchecked"),
    ],
)
def test_a_rule_judges_each_value(
    limits: dict[str, Any], values: list[str], flags: str, outcome: str
) -> None:
    judgement = judge(rule("echo_time", **limits), tuple(Decimal(value) for value in values))
    assert judgement.outcome == outcome
    assert judgement.flags == tuple(None if flag == "-" else Flag(flag) for flag in flags)


@pytest.mark.parametrize(("syntax", "outcome"), [("1.2.1", "ok"), ("1.2.5", "warning"), ("1.2.4.50", "fail")])
def test_some_values_are_accepted_with_a_warning(syntax: str, outcome: str) -> None:
    lossless = rule("transfer_syntax", one_of=["1.2.1"], accepted_with_warning=["1.2.5"])
    assert judge(lossless, (syntax,)).outcome == outcome


def test_the_packaged_protocol_says_what_the_documentation_says() -> None:
    rules = {rule.id: rule for rule in load_protocol(PACKAGED_PROTOCOL).rules}
    ranges = {
        name: (rules[name].low, rules[name].high)
        for name in (
            *("repetition-time", "echo-time", "flip-angle", "in-plane-resolution", "slice-thickness"),
            *("slice-gap", "slice-count", "b0-images", "directions"),
        )
    }
    assert ranges == {
        "repetition-time": (6000, 17000),
        "echo-time": (55, 104),
        "flip-angle": (90, 90),
        "in-plane-resolution": (Decimal("1.85"), Decimal("2.15")),
        "slice-thickness": (2, 2),
        "slice-gap": (0, 0),
        "slice-count": (64, 86),
        "b0-images": (2, None),
        "directions": (30, None),
    }
    assert rules["b-values"].one_of == rules["b-values"].must_include == (0, 1000)
    assert rules["slice-order"].one_of == ("interleaved",)
    assert rules["age"].required
    assert rules["sex"].required
    assert len(rules["transfer-syntax"].one_of) == 7
    assert {rule.measure for rule in rules.values()} == set(MEASURES)


HEAD = "version: 1\nname: X\nrules:\n"
GOOD = (
    "  - {id: te, concept: {value: te, scheme: 99PONS, meaning: TE}, measure: echo_time, unit: ms, low: 55}\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.yaml: input should be a valid dictionary"),
        ("version: 1\nname: X\n", "p.yaml: rules: field required"),
        ("version: 2\nname: X\nrules: []\n", "p.yaml: version: input should be 1"),
        (HEAD.replace("rules", "rulez") + GOOD, "p.yaml: rulez: extra inputs are not permitted"),
        (
            HEAD + GOOD.replace("echo_time", "echo_tme"),
            "p.yaml: rules[0] (te).measure: no measure 'echo_tme'; did you mean 'echo_time'?",
        ),
        (HEAD + GOOD.replace("unit: ms", "unit: s"), "rules[0] (te).unit: echo_time is measured in 'ms'"),
        (HEAD + GOOD.replace("55", "55, high: 5"), "rules[0] (te): low (55) is above high (5)"),
        (HEAD + GOOD.replace("low: 55", "low: soon"), "rules[0] (te).low: input should be a valid decimal"),
        (HEAD + GOOD.replace("low: 55", "one_of: [soon]"), "echo_time is a number, and so must be"),
        (HEAD + GOOD + GOOD, "p.yaml: rule ids used twice: te"),
        (HEAD + GOOD.replace("value: te", "value: a-name-much-too-long"), "at most 16 characters"),
        (HEAD + GOOD.replace("low: 55", "accepted_with_warning: [55]"), "widens one_of, which is missing"),
        (
            HEAD + GOOD.replace("echo_time, unit: ms", "sex"),
            "rules[0] (te): sex is text: use one_of, not low and high",
        ),
        (HEAD + "  - id: [\n", "p.yaml:5:1: "),
        ("version: 1\nversion: 1\n", "p.yaml:2:1: key 'version' is given twice"),
        ("version: 1\nname: &a X\nrules: *a\n", "p.yaml:3:8: aliases are not allowed; write it out"),
    ],
)
def test_a_mistake_is_answered_with_place_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_protocol(tmp_path / "p.yaml")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        HEAD + GOOD.replace("unit: ms", "unit: s") + GOOD.replace("low", "lo").replace("id: te", "id: other")
    )
    with pytest.raises(ConfigurationError) as caught:
        load_protocol(tmp_path / "p.yaml")
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == [
        "rules[0] (te).unit",
        "rules[1] (other).lo",
    ]


def test_a_file_that_is_no_protocol_is_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("#" * 300_000)
    with pytest.raises(ConfigurationError, match="larger than 256 kB"):
        load_protocol(tmp_path / "p.yaml")


def test_a_file_in_another_encoding_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"name: M\xfcnchen")
    with pytest.raises(ConfigurationError, match=r"p\.yaml: not UTF-8 text"):
        load_protocol(tmp_path / "p.yaml")
