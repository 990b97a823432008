"""One entry of a table beside another: which keys differ, and how they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from engine.plan_keys import Key, keys_of

LIST = ["stm-pacs-sr", "stm-pacs-sc", {"to": "stm-his", "after": ["stm-pacs-sr"]}, "stm-fhir", "stm-hook"]

ROWS: list[tuple[Any, Any, list[tuple[str, str | None, str | None]]]] = [
    ({"a": 1}, {"a": 1}, []),
    ({"a": 1}, {"a": "1"}, [("a", "1", "'1'")]),  # text is told from a number
    ({"a": None}, {}, [("a", "null", None)]),
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}, [
        ("a.c", "2", "3"), ("a.d", None, "4"), ("a.b", "1", None),
    ]),
    ({"a": {}}, {"a": {"b": 1}}, [("a.b", None, "1"), ("a", "{}", None)]),
    # a reference to a secret is one thing
    ({"secret": {"env": "A"}}, {"secret": {"file": "a"}}, [("secret", "{env: A}", "{file: a}")]),
    # a short list is shown whole, a long one by what differs
    ({"a": ["x", "y"]}, {"a": ["x", "z"]}, [("a", "[x, y]", "[x, z]")]),
    ({"a": LIST}, {"a": [*LIST[:2], "stm-his", *LIST[3:]]}, [
        ("a[2]", "{to: stm-his, after: [stm-pacs-sr]}", "stm-his"),
    ]),
    ({"a": LIST}, {"a": [LIST[0], *LIST[2:], "new"]}, [("a[1]", "stm-pacs-sc", None), ("a[4]", None, "new")]),
    # words of people are shown as they are, on one line; logins are not
    ({}, {"hold": "Ärzte\nfragen"}, [("hold", None, r'"Ärzte\nfragen"')]),
    ({}, {"url": "https://u:pw@his.example/"}, [("url", None, "https://…@his.example/")]),
    ({}, {"database": "postgresql://pons@db/pons"}, [("database", None, "postgresql://pons@db/pons")]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "keys"), ROWS)
def test_the_keys_that_differ_are_told(before: Any, after: Any, keys: list[Any]) -> None:
    assert keys_of(before, after) == tuple(Key(*key) for key in keys)
