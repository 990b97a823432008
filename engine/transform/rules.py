"""Which edits a step may make.

Enters: one step as plain data, and what it is used on. Leave: complaints, by location inside the step.
Everything that would fail on every value is found here; what can only fail on data fails in
`engine.transform.steps`, with a reason.

UIDs, the character set and whatever describes pixels are never edited. Patient ID and its issuer are
edited only for a processor, whose results are tied to the originals; a study or a result that went on
under another patient could never be matched with what is there (docs/decisions/identity-stays.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydicom.datadict import dictionary_keyword, dictionary_VR

from engine.attribute import BULK, NUMERIC
from engine.finding import Location, shown
from engine.transform.elements import is_legal, is_plain
from engine.transform.keep import IDENTITY
from engine.transform.settings import OPERATIONS
from engine.transform.steps import Step
from engine.transform.targets import PRIVATE, Target, target
from engine.transform.template import pieces_of

Use = Literal["route", "forward", "result"]
"""A route's own steps, or those of a `deliver:` entry: on the study, or on what a result says of it."""

_TEXTUAL = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"})
_HASHED = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_LONGEST = {"AE": 16, "AS": 4, "CS": 16, "DA": 8, "DT": 26, "LO": 64, "PN": 64, "SH": 16, "TM": 14}
_REACHING = ("remove", "map", "hash")


def complaints_of_step(step: Step, use: Use = "route") -> Iterator[tuple[Location, str]]:
    """What is wrong with one step, by location inside it."""
    named = [name for name in OPERATIONS if step.get(name) is not None]
    if len(named) != 1 or not step[named[0]]:
        yield (), f"a step has one of {', '.join(OPERATIONS)}, and something to do"
        return
    (operation,) = named
    if step.get("everywhere") and operation not in _REACHING:
        yield ("everywhere",), f"is of {', '.join(_REACHING)}; {_REACH[operation]}"
    if "for" in step and use != "route":
        yield ("for",), "belongs to the transform of a route; what a destination gets is no processor's"
    hidden = use == "route" and step.get("for") == "processor"
    for inner, message in _OF[operation](step[operation], bool(step.get("everywhere")), hidden):
        yield (operation, *inner), message


_REACH = {
    "set": "name what is inside a sequence by its path",
    "keep": "sequences that are kept are kept whole",
    "copy": "name what is inside a sequence by its path",
    "shift_dates": "dates are shifted everywhere as it is",
}


def _of_set(values: Mapping[str, Any], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for name, value in values.items():
        message = _of_name(name, hidden)
        for one in value if isinstance(value, list) else [value]:
            message = message or _of_template(name, one)
        if message:
            yield (name,), message


def _of_template(name: str, value: Any) -> str:
    """What is wrong with a value that may be made of other attributes."""
    if not isinstance(value, str):
        return _of_value(name, value)
    try:
        pieces = pieces_of(value)
        read = [target(piece.text) for piece in pieces if piece.is_name]
    except ValueError as error:
        return f"{name}: {error}"
    literal = "".join(piece.text for piece in pieces if not piece.is_name)
    vr = dictionary_VR(target(name).tag)
    if not read:
        return _of_value(name, literal)
    if vr not in _TEXTUAL:
        return f"{name} is no text, so it is not made of other attributes; copy takes numbers over"
    if any(not one.is_one or dictionary_VR(one.tag) in BULK | {"SQ"} for one in read):
        return f"{name} is made of what is no text or number; name public attributes that are"
    if not is_plain(vr, literal) or len(literal) >= _LONGEST.get(vr, 1024):
        return f"{name} cannot hold this value (PS3.5 6.2, {vr})"
    return ""


def _of_remove(names: Sequence[str], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for index, name in enumerate(names):
        message = _of_name(name, hidden, removed=True) or _of_reach(name, everywhere)
        if message:
            yield (index,), message


def _of_keep(names: Sequence[str], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for index, name in enumerate(names):
        try:
            if target(name).path:
                yield (index,), "keep names what stands at the top level; a sequence is kept whole"
        except ValueError as error:
            yield (index,), str(error)


def _of_copy(pairs: Mapping[str, str], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for source, destination in pairs.items():
        try:
            where = target(source)
        except ValueError as error:
            yield (source,), str(error)
            continue
        message = _of_name(destination, hidden)
        if message:
            yield (source,), message
        elif not where.is_one or source == PRIVATE:
            yield (source,), "only public attributes are copied"
        elif target(destination).path:
            yield (source,), f"{destination} is inside a sequence; a copy goes to the top level"
        else:
            message = _of_pair(source, where.tag, destination, target(destination).tag)
            if message:
                yield (source,), message


def _of_pair(source: str, read: int, destination: str, written: int) -> str:
    """Values go from text to text, or between attributes of one representation."""
    from_vr, to_vr = dictionary_VR(read), dictionary_VR(written)
    if from_vr == to_vr and from_vr not in BULK and from_vr != "SQ":
        return ""
    texts = _HASHED | {"UR", "IS", "DS", "AS", "DA", "DT", "TM", "UI"}
    if from_vr in texts and to_vr in _HASHED:
        return ""
    return f"{destination} ({to_vr}) cannot hold what {source} ({from_vr}) says"


def _of_map(maps: Mapping[str, Any], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for name, mapping in maps.items():
        message = _of_name(name, hidden) or _of_reach(name, everywhere)
        if message:
            yield (name,), message
            continue
        vr = dictionary_VR(target(name).tag)
        if vr == "SQ":
            yield (name,), f"{name} is a sequence; name what is inside of it by its path"
            continue
        table = mapping.get("table")
        if table is not None and not table:
            yield (name, "table"), "is empty"
        for value, becomes in (table or {}).items():
            message = _of_value(name, becomes)
            if message and "file" in mapping:
                yield (name, "file"), f"the entry of {shown(value)}: {message}"
            elif message:
                yield (name, "table", value), message
        otherwise = mapping.get("otherwise")
        if isinstance(otherwise, Mapping):
            message = _of_value(name, otherwise["set"])
            if message:
                yield (name, "otherwise"), message


def _of_hash(hashed: Mapping[str, Any], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    for index, name in enumerate(hashed["keys"]):
        message = _of_name(name, hidden) or _of_reach(name, everywhere)
        if not message:
            vr = dictionary_VR(target(name).tag)
            if vr in ("DA", "DT", "TM"):
                message = f"{name} holds dates or times, which have no pseudonyms; use shift_dates or remove"
            elif vr not in _HASHED:
                message = f"{name} ({vr}) holds no text that a pseudonym could stand for; remove it"
        if message:
            yield ("keys", index), message


def _of_shift(shift: Mapping[str, Any], everywhere: bool, hidden: bool) -> Iterator[tuple[Location, str]]:
    return iter(())


_OF: dict[str, Callable[[Any, bool, bool], Iterator[tuple[Location, str]]]] = {
    "set": _of_set,
    "remove": _of_remove,
    "keep": _of_keep,
    "copy": _of_copy,
    "map": _of_map,
    "hash": _of_hash,
    "shift_dates": _of_shift,
}


# ── names and values ────────────────────────────────────────────────────────────────────────────


def _of_name(name: str, hidden: bool, *, removed: bool = False) -> str:
    """Why an attribute is not edited; empty when it may be.

    Args:
        hidden: only a processor sees it, so that the patient's identity may be hidden from it.
        removed: it is taken away, which private and repeating groups can be too.
    """
    try:
        where = target(name)
    except ValueError as error:
        return str(error)
    if not where.is_one:
        return "" if removed else f"{shown(name)} is no public attribute; private ones are only removed"
    keyword = dictionary_keyword(where.tag)
    vr = dictionary_VR(where.tag)
    if vr == "UI" or keyword == "SpecificCharacterSet":
        return f"{name} is part of an object's identity and is never edited"
    if keyword in IDENTITY and not (hidden and not where.path):
        return (
            f"{name} is part of an object's identity and is never edited but for a processor, at the top "
            "level of a step with for: processor"
        )
    if where.tag >> 16 == 0x0028 or where.tag >> 16 == 0x7FE0 or vr in BULK:
        return f"{name} describes pixels and is never edited"
    return ""


def _of_reach(name: str, everywhere: bool) -> str:
    where: Target = target(name)
    if everywhere and where.path:
        return f"{name} leads to one place already; leave out the path or everywhere"
    return ""


def _of_value(name: str, value: Any) -> str:
    vr = dictionary_VR(target(name).tag)
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            return f"{name} takes a text, a number, or a list of them"
        if vr in NUMERIC and isinstance(one, str):
            return f"{name} holds numbers; write one without quotes"
        if vr in _TEXTUAL and not isinstance(one, str):
            return f"{name} is text; put the value in quotes"
        if vr == "SQ":
            return f"{name} is a sequence; only remove works on it"
        if not is_plain(vr, str(one)):
            return f"{name} cannot hold a backslash or a control character; write several values as a list"
        if not is_legal(vr, one):
            longest = f", at most {_LONGEST[vr]} characters" if len(str(one)) > _LONGEST.get(vr, 1024) else ""
            return f"{name} cannot hold this value (PS3.5 6.2, {vr}{longest})"
    return ""
