"""What changes when one table takes the place of another: pure, by meaning and not by text.

Enter: two tables as read, each with the data that was written. Leave: what is added, changed, removed and
moved, section by section; of what changed, each key with what stood there and what will. `60s` and `1m` are
the same, and so are two routes that only stand on other lines. Secrets appear by reference, as they are
written; a password inside an address does not appear.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from engine.table import Table

NAMED = ("sites", "inbound", "processors", "outbound")
"""Sections of names; their order means nothing."""
ALONE = ("engine", "assembly", "retention", "tunnel")
"""Sections that are one block."""
LISTED = ("routes", "tests")
"""Sections in order, each entry with its name."""
NO_PART = ("version", "include", *NAMED, *ALONE, *LISTED)

_LOGIN = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Written:
    """A table, and its files as one mapping of plain data (`engine.document`)."""

    table: Table
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an entry: what stands there before and after; None where it is not written."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the table that is not the same any more."""

    sign: Literal["+", "~", "-"]
    section: str
    name: str  # empty for a section that is one block
    keys: tuple[Key, ...] = ()
    note: str = ""  # what keys cannot say: renamed, moved, changed by its defaults


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that is not the same any more, section by section."""

    changes: tuple[Change, ...]

    def of(self, section: str, *signs: str) -> list[Change]:
        """The changes in a section, all or those with these signs."""
        return [one for one in self.changes if one.section == section and (not signs or one.sign in signs)]

    def names(self, section: str, *signs: str) -> list[str]:
        """Their names."""
        return [one.name for one in self.of(section, *signs)]


def difference(before: Written, after: Written) -> Difference:
    """Compare two tables."""
    changes: list[Change] = []
    for section in (*ALONE, *sorted((before.data.keys() | after.data.keys()) - set(NO_PART))):
        changes += _alone(section, before, after)
    for section in NAMED:
        changes += _named(section, before, after)
    for section in LISTED:
        changes += _listed(section, before, after)
    return Difference(tuple(changes))


def needs_restart(before: Table, after: Table) -> list[str]:
    """Settings that a running engine cannot take: they belong to its process, or to what it holds open."""
    found = [
        f"engine.{name}"
        for name in type(after.engine).model_fields
        if getattr(before.engine, name) != getattr(after.engine, name)
    ]
    if before.tunnel != after.tunnel:
        found.append("tunnel")
    return found


# ── section by section ──────────────────────────────────────────────────────────────────────────


def _alone(section: str, before: Written, after: Written) -> Iterator[Change]:
    if section in ALONE and _means(getattr(before.table, section)) == _means(getattr(after.table, section)):
        return
    old, new = before.data.get(section), after.data.get(section)
    if old != new:
        sign: Literal["+", "~", "-"] = "+" if old is None else "-" if new is None else "~"
        yield Change(sign, section, "", tuple(_keys(old, new)))


def _named(section: str, before: Written, after: Written) -> Iterator[Change]:
    old, new = (_mapping(one.data.get(section)) for one in (before, after))
    meant = [_mapping(getattr(one.table, section)) for one in (before, after)]
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            yield Change("+", section, name, tuple(_keys(None, new[name])))
        elif name not in new:
            yield Change("-", section, name, tuple(_keys(old[name], None)))
        elif _means(meant[0].get(name)) != _means(meant[1].get(name)):
            yield _changed(section, name, old[name], new[name], _models(meant[0][name], meant[1][name]))


def _listed(section: str, before: Written, after: Written) -> Iterator[Change]:
    old, new = (_by_name(one.data.get(section)) for one in (before, after))
    meant = [{one.name: one for one in getattr(each.table, section)} for each in (before, after)]
    gone, come = [name for name in old if name not in new], [name for name in new if name not in old]
    renamed = _renamed(section, {name: old[name] for name in gone}, {name: new[name] for name in come})
    here = {name: name for name in new if name in old} | {now: was for was, now in renamed.items()}
    moved = _moved([here[name] for name in new if name in here], list(old)) if section == "routes" else set()
    for name in new:
        was = here.get(name)
        if was is None:
            yield Change("+", section, name, tuple(_keys(None, new[name])), _place(name, list(new)))
            continue
        notes = [f"was {was!r} before"] if was != name else []
        if was in moved:
            notes.append(f"moved: now {_place(name, list(new))}")
        same = was == name and _same_entry(
            section, meant[0].get(name), meant[1].get(name), old[name], new[name]
        )
        if same and not notes:
            continue
        if same or was != name:
            yield Change("~", section, name, (), "; ".join(notes))
        else:
            yield _changed(section, name, old[name], new[name], (None, None), "; ".join(notes))
    for name in gone:
        if name not in renamed:
            yield Change("-", section, name, tuple(_keys(old[name], None)))


def _same_entry(section: str, meant: Any, now: Any, old: Any, new: Any) -> bool:
    """Tests are compared as written: what they give may come from files beside the table."""
    return bool(old == new) if section == "tests" else bool(_means(meant) == _means(now))


def _changed(section: str, name: str, old: Any, new: Any, models: tuple[Any, Any], note: str = "") -> Change:
    keys = tuple(_keys(old, new))
    if not keys:
        keys = tuple(_keys(*models))
        note = "; ".join(part for part in (note, "by what it has from elsewhere in the table") if part)
    return Change("~", section, name, keys, note)


def _renamed(section: str, gone: Mapping[str, Any], come: Mapping[str, Any]) -> dict[str, str]:
    """Entries that only changed their name, where there is no doubt: old name -> new name."""

    def body(block: Any) -> str:
        return repr({key: value for key, value in block.items() if key != "name"})

    bodies = [body(block) for block in gone.values()]
    found: dict[str, str] = {}
    for name, block in gone.items():
        like = [other for other, candidate in come.items() if body(candidate) == body(block)]
        if len(like) == 1 and bodies.count(body(block)) == 1 and len(block) > 1:
            found[name] = like[0]
    return found


def _moved(now: Sequence[str], before: Sequence[str]) -> set[str]:
    """The fewest names that must be taken out so that the rest stand in one order before and now."""
    place = {name: index for index, name in enumerate(before)}
    ends: list[int] = []  # patience sorting: the smallest end of a rising run of each length
    piles: list[tuple[int, int]] = []
    for name in now:
        pile = bisect_left(ends, place[name])
        ends[pile : pile + 1] = [place[name]]
        piles.append((pile, place[name]))
    kept: set[int] = set()
    wanted = len(ends) - 1
    highest = len(before)
    for pile, index in reversed(piles):
        if pile == wanted and index < highest:
            kept.add(index)
            wanted, highest = wanted - 1, index
    return {name for name in now if place[name] not in kept}


def _place(name: str, names: Sequence[str]) -> str:
    index = names.index(name)
    return f"after {names[index - 1]!r}" if index else "first"


# ── one entry ───────────────────────────────────────────────────────────────────────────────────


def _means(value: Any) -> Any:
    """A value without where it stands, so that two of them can be compared."""
    if isinstance(value, BaseModel) or value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    if isinstance(value, Mapping):
        return {key: _means(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(_means(one) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [field.name for field in dataclasses.fields(value) if field.name != "position"]
        return type(value).__name__, tuple(_means(getattr(value, part)) for part in parts)
    return str(value)


def _models(before: Any, after: Any) -> tuple[Any, Any]:
    """The settings of both as plain data, to show what differs where nothing written does."""
    found = (getattr(one, "settings", None) for one in (before, after))
    old, new = (
        one.model_dump(mode="json", by_alias=True) if isinstance(one, BaseModel) else None for one in found
    )
    return old, new


def _keys(before: Any, after: Any) -> Iterator[Key]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for path in [*new, *(path for path in old if path not in new)]:
        was, now = (_shown(side[path]) if path in side else None for side in (old, new))
        if was != now:
            yield Key(path, was, now)


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
    return _LOGIN.sub("…@", text.removesuffix("...\n").strip())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _by_name(value: Any) -> dict[str, Any]:
    entries = value if isinstance(value, list) else []
    return {str(one["name"]): one for one in entries if isinstance(one, Mapping) and "name" in one}
