"""What changes when one table takes the place of another: pure, by meaning and not by text.

Enter: two tables as read, each with the data that was written. Leave: what is added, changed, removed and
moved, section by section; of what changed, each key with what stood there and what will. `60s` and `1m` are
the same, and so are two routes that only stand on other lines. Secrets appear by reference, as they are
written; a password inside an address does not appear.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from engine.plan_keys import Key, keys_of, meaning
from engine.table import Table

NAMED = ("sites", "inbound", "processors", "outbound")
"""Sections of names; their order means nothing."""
ALONE = ("engine", "assembly", "retention", "tunnel", "orders", "oauth", "people")
"""Sections that are one block."""
LISTED = ("routes", "tests")
"""Sections in order, each entry with its name."""
NO_PART = ("version", "include", *NAMED, *ALONE, *LISTED)


@dataclass(frozen=True, slots=True)
class Written:
    """A table, and its files as one mapping of plain data (`engine.document`)."""

    table: Table | None  # None: this release cannot read it; then what is written is compared
    data: Mapping[str, Any]


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
    if before.oauth != after.oauth:
        found.append("oauth")
    if before.people != after.people:
        found.append("people")
    return found


# ── section by section ──────────────────────────────────────────────────────────────────────────


def _alone(section: str, before: Written, after: Written) -> Iterator[Change]:
    old, new = before.data.get(section), after.data.get(section)
    if old == new:
        return
    was, now = (getattr(one.table, section, None) for one in (before, after))
    if was is not None and now is not None and meaning(was) == meaning(now):
        return
    yield Change("+" if old is None else "-" if new is None else "~", section, "", keys_of(old, new))


def _named(section: str, before: Written, after: Written) -> Iterator[Change]:
    old, new = (_mapping(one.data.get(section)) for one in (before, after))
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            yield Change("+", section, name, keys_of(None, new[name]))
        elif name not in new:
            yield Change("-", section, name, keys_of(old[name], None))
        else:
            was, now = (_meant(one, section, name) for one in (before, after))
            if not _same(was, now, old[name], new[name]):
                yield _changed(section, name, old[name], new[name], was, now)


def _listed(section: str, before: Written, after: Written) -> Iterator[Change]:
    old, new = (_by_name(one.data.get(section)) for one in (before, after))
    meant_old, meant_new = (_meant_by_name(one, section) for one in (before, after))
    renamed = _renamed(old, new)
    was_named = {name: name for name in new if name in old} | {now: was for was, now in renamed.items()}
    moved: set[str] = set()
    if section == "routes":
        moved = _moved([was_named[name] for name in new if name in was_named], list(old))
    above = ""
    for name in new:
        place = f"after {above!r}" if above else "first"
        above = name
        was = was_named.get(name)
        if was is None:
            yield Change("+", section, name, keys_of(None, new[name]), place)
            continue
        notes = [f"was {was!r} before"] if was != name else []
        notes += [f"moved: now {place}"] if was in moved else []
        if was != name or _same(meant_old.get(name), meant_new.get(name), old[name], new[name]):
            if notes:
                yield Change("~", section, name, (), "; ".join(notes))
        else:
            yield _changed(section, name, old[name], new[name], None, None, notes)
    for name in old:
        if name not in new and name not in renamed:
            yield Change("-", section, name, keys_of(old[name], None))


def _same(was: Any, now: Any, old: Any, new: Any) -> bool:
    """By meaning where both tables can be read, else as written."""
    return bool(old == new) if was is None or now is None else bool(meaning(was) == meaning(now))


def _changed(
    section: str, name: str, old: Any, new: Any, was: Any, now: Any, notes: Sequence[str] = ()
) -> Change:
    keys = keys_of(old, new)
    if keys:
        return Change("~", section, name, keys, "; ".join(notes))
    note = "; ".join([*notes, "by what it has from elsewhere in the table"])
    return Change("~", section, name, keys_of(_settings(was), _settings(now)), note)


def _settings(declared: Any) -> Any:
    """The settings of a channel or processor as plain data; None of anything else."""
    settings = getattr(declared, "settings", None)
    return settings.model_dump(mode="json", by_alias=True) if isinstance(settings, BaseModel) else None


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Entries that only changed their name, where there is no doubt: old name -> new name."""
    gone, come = (
        _by_body({name: block for name, block in mine.items() if name not in other})
        for mine, other in ((old, new), (new, old))
    )
    return {
        names[0]: come[body][0] for body, names in gone.items() if len(names) == 1 == len(come.get(body, ()))
    }


def _by_body(blocks: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, block in blocks.items():
        body = {key: value for key, value in block.items() if key != "name"}
        if body:
            found.setdefault(repr(body), []).append(name)
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


def _meant(written: Written, section: str, name: str) -> Any:
    return None if written.table is None else getattr(written.table, section).get(name)


def _meant_by_name(written: Written, section: str) -> Mapping[str, Any]:
    """Routes by their names; tests are compared as written, what they give may come from files."""
    if written.table is None or section != "routes":
        return {}
    return {route.name: route for route in written.table.routes}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _by_name(value: Any) -> dict[str, Any]:
    entries = value if isinstance(value, list) else []
    return {str(one["name"]): one for one in entries if isinstance(one, Mapping) and "name" in one}
