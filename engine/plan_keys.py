"""One entry of a table beside another: what each key says before and after, whether both mean the same.

Enter: two entries, as written or as read. Leave: the keys that differ, their values as one would write them.
A secret appears by its reference; a login inside an address does not appear.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml
from pydantic import BaseModel

from engine.pattern import Pattern
from engine.predicate import All, AnyOf

LONG = 60  # characters of a list that is shown item by item
_LOGIN = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an entry: what stands there before and after; None where it is not written."""

    path: str
    before: str | None
    after: str | None


def keys_of(before: Any, after: Any) -> tuple[Key, ...]:
    """The keys that differ, in the order in which they are written."""
    old, new = dict(_flat(before)), dict(_flat(after))
    found: list[Key] = []
    for path in [*new, *(path for path in old if path not in new)]:
        if path in old and path in new and old[path] == new[path] and type(old[path]) is type(new[path]):
            continue
        was, now = (_shown(side[path]) if path in side else None for side in (old, new))
        if was == now:
            continue
        if was and now and isinstance(old[path], list) and isinstance(new[path], list) and len(was) > LONG:
            found += _items(path, old[path], new[path])
        else:
            found.append(Key(path, was, now))
    return tuple(found)


def _items(path: str, before: list[Any], after: list[Any]) -> Iterator[Key]:
    """Of two long lists, the items that differ."""
    old, new = [_shown(one) for one in before], [_shown(one) for one in after]
    for _, from_old, to_old, from_new, to_new in SequenceMatcher(None, old, new, False).get_opcodes():
        for offset in range(max(to_old - from_old, to_new - from_new)):
            here, there = from_old + offset, from_new + offset
            was = old[here] if here < to_old else None
            now = new[there] if there < to_new else None
            if was != now:
                yield Key(f"{path}[{there if now is not None else here}]", was, now)


def meaning(value: Any) -> Any:
    """A value without where it stands in its file, nor in which order its predicates: to be compared."""
    if isinstance(value, BaseModel) or value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    if isinstance(value, Mapping):
        return {key: meaning(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return tuple(meaning(one) for one in value)
    if isinstance(value, set | frozenset):
        return sorted(repr(meaning(one)) for one in value)
    if isinstance(value, Pattern):
        return value.text
    if isinstance(value, All | AnyOf):
        return type(value).__name__, *sorted(repr(meaning(part)) for part in value.parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [field.name for field in dataclasses.fields(value) if field.name != "position"]
        return type(value).__name__, tuple(meaning(getattr(value, part)) for part in parts)
    return str(value)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A block by the paths of its keys; lists, references to secrets and empty blocks stay whole."""
    if isinstance(value, Mapping) and value and not (path and value.keys() <= {"env", "file"}):
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value


def _shown(value: Any) -> str:
    """A value as it would be written on one line; a login inside an address is left out."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    text = text.removesuffix("...\n").strip()
    return _LOGIN.sub("…@", json.dumps(value, ensure_ascii=False) if "\n" in text else text)
