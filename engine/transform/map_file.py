"""Files that hold the table of a `map:` step: CSV of two columns, the value as it comes and what it becomes.

Enter: a table's data, or the text of such a file. Leave: which files it names, and steps with the entries
in them. A map is part of its table as an included file is: it lies beside or below it, the version of the
table changes with it, and a decision carries the entries that it was made with. So a file that is edited
later changes nothing before the table is taken anew (docs/decisions/a-map-is-part-of-its-table.md).
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

from pydicom.datadict import dictionary_VR

from engine.attribute import NUMERIC
from engine.finding import Location, shown
from engine.transform.targets import target

MAX_BYTES = 64 * 1024  # every decision and delivery that it edits carries the entries
MAX_ENTRIES = 2000


def files_named(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """The map files that a table names, each with its location; what is of another shape is passed over."""
    for number, route in enumerate(_list(data.get("routes"))):
        here: Location = ("routes", number)
        yield from _named(_mapping(route).get("transform"), (*here, "transform"))
        for index, sending in enumerate(_list(_mapping(route).get("deliver"))):
            yield from _named(_mapping(sending).get("transform"), (*here, "deliver", index, "transform"))


def label_of(name: str) -> str:
    """The path of a map file below the table's folder; ValueError when it is not below it."""
    label = posixpath.normpath(name)
    if not name or label.startswith(("/", "../")) or label in (".", ".."):
        raise ValueError("is not below the table's folder; move it there: a version is kept whole")
    return label


def with_entries(
    step: dict[str, Any], files: Mapping[str, str]
) -> tuple[dict[str, Any], list[tuple[Location, str]]]:
    """A step with the entries of the files that it names, and what is wrong with those."""
    if "map" not in step:
        return step, []
    complaints: list[tuple[Location, str]] = []
    maps: dict[str, Any] = {}
    for name, mapping in step["map"].items():
        maps[name] = mapping
        if "file" not in mapping:
            continue
        text = files.get(posixpath.normpath(mapping["file"]))
        if text is None:  # the file cannot be read, and that is told already
            continue
        try:
            maps[name] = {**mapping, "table": _typed(name, entries_of(text))}
        except ValueError as error:
            complaints.append((("map", name, "file"), f"{shown(mapping['file'])}: {error}"))
    return {**step, "map": maps}, complaints


def entries_of(text: str) -> dict[str, str]:
    """The entries of a map file; ValueError names the line that is none."""
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES // 1024} kB")
    entries: dict[str, str] = {}
    reader = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != 2 or not row[0].strip():
                raise ValueError(f"line {reader.line_num} is not two columns, a value and what it becomes")
            value, becomes = (one.strip() for one in row)
            if value in entries:
                raise ValueError(
                    f"line {reader.line_num} has the value of an earlier line; remove one of them"
                )
            entries[value] = becomes
    except csv.Error:
        raise ValueError(
            f"line {reader.line_num} is no CSV: a quote is not closed, or stands alone"
        ) from None
    if not entries:
        raise ValueError("holds no entry")
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"holds more than {MAX_ENTRIES} entries")
    return entries


def _typed(name: str, entries: dict[str, str]) -> dict[str, Any]:
    """Numbers for an attribute that holds numbers other than as text."""
    try:
        vr = dictionary_VR(target(name).tag)
    except (ValueError, KeyError):
        return dict(entries)  # the name is complained of elsewhere
    if vr not in NUMERIC:
        return dict(entries)
    return {value: _number(becomes) for value, becomes in entries.items()}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _named(steps: Any, location: Location) -> Iterator[tuple[Location, str]]:
    for index, step in enumerate(_list(steps)):
        for name, mapping in _mapping(_mapping(step).get("map")).items():
            file = _mapping(mapping).get("file")
            if isinstance(file, str):
                yield (*location, index, "map", name, "file"), file


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
