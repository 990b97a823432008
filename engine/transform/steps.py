"""What the steps of `transform:` do to one data set, in their order.

Enter: a data set as pydicom read it and plain steps (`engine.transform.settings.as_step`). Leaves: the
same data set, edited in place; elements that no step touches stay as they were read, bytes and all. Where
a value is not ASCII the data set becomes UTF-8 (ISO_IR 192), so that none of its text is lost.

A name means the top level; a path means every item of the sequences on it; `everywhere` means the top
level and every item of every sequence. Dates are shifted, and private elements removed, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydicom import config
from pydicom.config import RAISE
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import validate_value

from engine.attribute import NUMERIC
from engine.character_set import Repertoire
from engine.decoded import repertoire_of, turn_into_utf8
from engine.element_value import value_of
from engine.errors import TransformFailed, TryAgain
from engine.settings import Secret
from engine.transform.keep import keep_only
from engine.transform.targets import PRIVATE, Target, target
from engine.transform.template import filled
from engine.transform.values import days_of, pseudonym, shifted_date, shifted_moment

Step = Mapping[str, Any]
Steps = Sequence[Step]
Edit = Callable[[Dataset, str], None]
"""What a step does to a data set; with the patient it was of before any edit."""

Act = Callable[[Dataset, Repertoire], bool]
"""What is done to a data set or to an item of a sequence; whether it changed."""

WRITTEN = frozenset({"DS", "IS"})  # numbers that DICOM writes as text
_PATIENT_ID, _STUDY_INSTANCE_UID = 0x00100020, 0x0020000D
_LINES = frozenset({"LT", "ST", "UT"})  # text of several lines, in which a backslash is one


def for_copies_of(steps: Steps, reader: Literal["processor", "forward"]) -> tuple[Step, ...]:
    """The steps of a route that are for what a processor reads, or for what is forwarded."""
    chosen = [step for step in steps if step.get("for", reader) == reader]
    return tuple({key: value for key, value in step.items() if key != "for"} for step in chosen)


def for_delivery(route: Steps, sending: Steps) -> tuple[Step, ...]:
    """The steps on a study that is forwarded: those of its route, then those of the `deliver:` entry."""
    return (*for_copies_of(route, "forward"), *sending)


def edits_of(steps: Steps, base: Path) -> tuple[Edit, ...]:
    """The edits that steps ask for; secrets are read here, once.

    Args:
        base: the folder that a secret's file starts from, the table's.

    Raises:
        TryAgain: a secret is not there, or is none; its code is `transform`.
    """
    return tuple(_edit_of(step, base) for step in steps)


def apply_edits(dataset: Dataset, edits: Sequence[Edit]) -> None:
    """Apply edits to a data set in place, in order.

    Raises:
        TransformFailed: a value does not fit where it would go, or a map has no entry and says `hold`.
    """
    patient = _patient_of(dataset)
    for edit in edits:
        edit(dataset, patient)


def _patient_of(dataset: Dataset) -> str:
    """What the days of a patient follow from: the Patient ID, or without one the study."""
    for tag in (_PATIENT_ID, _STUDY_INSTANCE_UID):
        if tag in dataset and any(texts := _texts(dataset, tag, repertoire_of(dataset))):
            return texts[0]
    return ""


def apply_steps(dataset: Dataset, steps: Steps, base: Path) -> None:
    """`apply_edits` of the steps."""
    apply_edits(dataset, edits_of(steps, base))


def _edit_of(step: Step, base: Path) -> Edit:
    everywhere = bool(step.get("everywhere"))
    if "set" in step:
        return partial(_set, step["set"])
    if "remove" in step:
        return partial(_remove, step["remove"], everywhere)
    if "keep" in step:
        return partial(_keep, step["keep"])
    if "copy" in step:
        return partial(_copy, step["copy"])
    if "map" in step:
        return partial(_map, step["map"], everywhere)
    if "hash" in step:
        return partial(_hash, step["hash"]["keys"], everywhere, _key(step["hash"]["secret"], base))
    shift = step["shift_dates"]
    if "by" in shift:
        return partial(_shift, lambda patient: int(shift["by"]))
    key, within = _key(shift["secret"], base), int(shift["within"])
    return partial(_shift, lambda patient: days_of(patient, key, within))


def _key(reference: Mapping[str, Any], base: Path) -> bytes:
    secret = Secret.model_validate(reference)
    if secret.file is not None:
        secret = Secret(file=base / secret.file)
    try:
        key = secret.reveal()
    except LookupError as error:
        raise TryAgain(f"transform: {error.args[0]}", code="transform") from None
    except ValueError:
        raise TryAgain(f"transform: secret file {secret.file} is not text", code="transform") from None
    if not key:
        raise TryAgain("transform: the secret is empty", code="transform")
    return key.encode("utf-8")


# ── the operations ──────────────────────────────────────────────────────────────────────────────


def _set(values: Mapping[str, Any], dataset: Dataset, patient: str) -> None:
    for name, value in values.items():
        where = target(name)
        made = [_made(dataset, one) for one in (value if isinstance(value, list) else [value])]
        if None in made:
            continue  # an attribute that it is made of says nothing

        def act(holder: Dataset, _: Repertoire, where: Target = where, made: list[Any] = made) -> bool:
            return _put(dataset, holder, where.tag, made)

        _at(dataset, repertoire_of(dataset), where.path, False, act)


def _made(dataset: Dataset, value: Any) -> Any:
    """A value as it is written, or as it is made of other attributes."""
    if not isinstance(value, str):
        return value
    return filled(value, lambda name: next(iter(_first(dataset, target(name))), ""))


def _remove(names: Sequence[str], everywhere: bool, dataset: Dataset, patient: str) -> None:
    for name in names:
        where = target(name)

        def act(holder: Dataset, _: Repertoire, where: Target = where) -> bool:
            tags = where.tags_in(holder)
            for tag in tags:
                del holder[tag]
            return bool(tags)

        _at(dataset, Repertoire(), where.path, everywhere or name == PRIVATE, act)


def _keep(names: Sequence[str], dataset: Dataset, patient: str) -> None:
    wanted = {tag for name in names if name != PRIVATE for tag in target(name).tags_in(dataset)}
    keep_only(dataset, wanted, private=PRIVATE in names)
    if PRIVATE not in names:
        kept = wanted | {BaseTag(tag.group << 16 | tag.element >> 8) for tag in wanted if tag.is_private}

        def act(holder: Dataset, _: Repertoire) -> bool:
            tags = target(PRIVATE).tags_in(holder)
            gone = [tag for tag in tags if holder is not dataset or tag not in kept]
            for tag in gone:
                del holder[tag]
            return bool(gone)

        _at(dataset, Repertoire(), (), True, act)


def _copy(pairs: Mapping[str, str], dataset: Dataset, patient: str) -> None:
    for source, destination in pairs.items():
        values = _first(dataset, target(source))
        if values:
            _put(dataset, dataset, target(destination).tag, values)


def _first(dataset: Dataset, where: Target) -> list[str]:
    """The values of the first of the items at the end of a path that has any."""
    found: list[str] = []

    def act(holder: Dataset, repertoire: Repertoire) -> bool:
        if not found and where.tag in holder:
            values = _texts(holder, where.tag, repertoire)
            found.extend(values if any(values) else ())
        return False

    _at(dataset, repertoire_of(dataset), where.path, False, act)
    return found


def _map(maps: Mapping[str, Mapping[str, Any]], everywhere: bool, dataset: Dataset, patient: str) -> None:
    for name, mapping in maps.items():
        _replace(name, everywhere, dataset, partial(_mapped, name, mapping))


def _hash(names: Sequence[str], everywhere: bool, key: bytes, dataset: Dataset, patient: str) -> None:
    for name in names:
        _replace(name, everywhere, dataset, partial(pseudonym, key=key))


def _mapped(name: str, mapping: Mapping[str, Any], value: str) -> Any:
    if not value:
        return value  # nothing is said, so there is nothing to translate
    if value in mapping["table"]:
        return mapping["table"][value]
    otherwise = mapping.get("otherwise", "keep")
    if otherwise == "hold":
        raise TransformFailed(f"the map of {name} has no entry for what it holds; add one, then replay")
    if isinstance(otherwise, Mapping):
        return otherwise["set"]
    return value if otherwise == "keep" else None


def _replace(name: str, everywhere: bool, dataset: Dataset, new: Callable[[str], Any]) -> None:
    """Put a new value in the place of each; None takes it away, and an attribute with none left goes."""
    where = target(name)

    def act(holder: Dataset, repertoire: Repertoire) -> bool:
        if where.tag not in holder:
            return False
        before = _texts(holder, where.tag, repertoire)
        after = [one for one in map(new, before) if one is not None]
        if [str(one) for one in after] == before:
            return False
        if not after:
            del holder[where.tag]
            return True
        return _put(dataset, holder, where.tag, after)

    _at(dataset, repertoire_of(dataset), where.path, everywhere, act)


def _shift(days_for: Callable[[str], int], dataset: Dataset, patient: str) -> None:
    days = days_for(patient)

    def act(holder: Dataset, repertoire: Repertoire) -> bool:
        changed = False
        for tag in list(holder.keys()):
            vr = _vr(holder.get_item(tag, keep_deferred=True), tag)
            if vr not in ("DA", "DT") or tag.is_private:
                continue
            shifted = shifted_date if vr == "DA" else shifted_moment
            before = _texts(holder, tag, repertoire)
            after = [shifted(one, days) for one in before]
            if after != before:
                holder[tag] = DataElement(tag, vr, after if len(after) > 1 else (after or [""])[0])
                changed = True
        return changed

    _at(dataset, repertoire_of(dataset), (), True, act)


# ── data sets ───────────────────────────────────────────────────────────────────────────────────


def _at(dataset: Dataset, repertoire: Repertoire, path: Sequence[int], everywhere: bool, act: Act) -> bool:
    """Do something to the items at the end of a path, or to a data set and every item in it.

    A sequence in which nothing changed is put back as it was read, so that it is written byte for byte.
    """
    changed = act(dataset, repertoire) if not path else False
    for tag in path[:1] or (list(dataset.keys()) if everywhere else ()):
        raw = dataset.get_item(tag, keep_deferred=True)
        if raw is None or _vr(raw, tag) != "SQ" or tag >> 16 & 1:
            continue
        below = [
            _at(item, repertoire_of(item, repertoire), path[1:], everywhere, act)
            for item in dataset[tag].value or ()
        ]
        if any(below):
            changed = True
        elif isinstance(raw, RawDataElement):
            dataset[tag] = raw
    return changed


def _vr(element: DataElement | RawDataElement | None, tag: int) -> str:
    vr = str(element.VR or "") if element is not None else ""
    if vr in ("", "UN") and dictionary_has_tag(tag):
        return dictionary_VR(tag)
    return vr


def _texts(holder: Dataset, tag: int, repertoire: Repertoire) -> list[str]:
    """The values of an element as text, decoded as for routing."""
    raw = holder.get_item(tag, keep_deferred=True)
    vr = _vr(raw, tag)
    value: Any
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr in WRITTEN:
        value = raw.value.decode("latin-1").split("\\")
    elif isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr not in NUMERIC:
        value = value_of(vr, raw.value, big_endian=False, repertoire=repertoire, signed=False)
    else:
        value = holder[tag].value
        if isinstance(raw, RawDataElement):
            holder[tag] = raw  # what is only read is written as it came
    if isinstance(value, str) or not isinstance(value, Sequence):
        value = [value]
    return ["" if one is None else str(one).strip(" \0") for one in value]


def _put(dataset: Dataset, holder: Dataset, tag: int, values: Sequence[Any]) -> bool:
    """Give an attribute of a data set, or of an item in it, new values."""
    vr = dictionary_VR(tag)
    for one in values:
        if not is_legal(vr, one):
            raise TransformFailed(
                f"{dictionary_keyword(tag)} cannot hold what it would be given (PS3.5 6.2, {vr})"
            )
        if not str(one).isascii() and dataset.get("SpecificCharacterSet") != "ISO_IR 192":
            turn_into_utf8(dataset)  # its own character set may not have these letters
    value = list(values) if len(values) > 1 else values[0]
    holder[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
    return True


def is_legal(vr: str, value: Any) -> bool:
    """Whether a value is legal for a representation (PS3.5 6.2); empty is, in every one."""
    if isinstance(value, str) and not is_plain(vr, value):
        return False
    try:
        validate_value(vr, str(value) if vr in WRITTEN else value, RAISE)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def is_plain(vr: str, value: str) -> bool:
    """Whether a text is free of what its representation keeps for itself: separators, control characters."""
    if vr in _LINES:
        return not any(sign < " " and sign not in "\t\n\f\r" for sign in value)
    return "\\" not in value and not any(sign < " " for sign in value)
