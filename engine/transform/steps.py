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

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from engine.character_set import Repertoire
from engine.decoded import repertoire_of
from engine.errors import TransformFailed, TryAgain
from engine.settings import Secret
from engine.transform.elements import at, put, texts, vr_of
from engine.transform.keep import keep_only
from engine.transform.targets import PRIVATE, Target, target
from engine.transform.template import filled
from engine.transform.values import days_of, pseudonym, shifted_date, shifted_moment

Step = Mapping[str, Any]
Steps = Sequence[Step]
Edit = Callable[[Dataset, str], None]
"""What a step does to a data set; with the patient it was of before any edit."""

_PATIENT_ID, _STUDY_INSTANCE_UID = 0x00100020, 0x0020000D


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
        if tag in dataset and any(found := texts(dataset, tag, repertoire_of(dataset))):
            return found[0]
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
            return put(dataset, holder, where.tag, made)

        at(dataset, repertoire_of(dataset), where.path, False, act)


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

        at(dataset, Repertoire(), where.path, everywhere or name == PRIVATE, act)


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

        at(dataset, Repertoire(), (), True, act)


def _copy(pairs: Mapping[str, str], dataset: Dataset, patient: str) -> None:
    for source, destination in pairs.items():
        values = _first(dataset, target(source))
        if values:
            put(dataset, dataset, target(destination).tag, values)


def _first(dataset: Dataset, where: Target) -> list[str]:
    """The values of the first of the items at the end of a path that has any."""
    found: list[str] = []

    def act(holder: Dataset, repertoire: Repertoire) -> bool:
        if not found and where.tag in holder:
            values = texts(holder, where.tag, repertoire)
            found.extend(values if any(values) else ())
        return False

    at(dataset, repertoire_of(dataset), where.path, False, act)
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
        before = texts(holder, where.tag, repertoire)
        after = [one for one in map(new, before) if one is not None]
        if [str(one) for one in after] == before:
            return False
        if not after:
            del holder[where.tag]
            return True
        return put(dataset, holder, where.tag, after)

    at(dataset, repertoire_of(dataset), where.path, everywhere, act)


def _shift(days_for: Callable[[str], int], dataset: Dataset, patient: str) -> None:
    days = days_for(patient)

    def act(holder: Dataset, repertoire: Repertoire) -> bool:
        changed = False
        for tag in list(holder.keys()):
            vr = vr_of(holder.get_item(tag, keep_deferred=True), tag)
            if vr not in ("DA", "DT") or tag.is_private:
                continue
            shifted = shifted_date if vr == "DA" else shifted_moment
            before = texts(holder, tag, repertoire)
            after = [shifted(one, days) for one in before]
            if after != before:
                holder[tag] = DataElement(tag, vr, after if len(after) > 1 else (after or [""])[0])
                changed = True
        return changed

    at(dataset, repertoire_of(dataset), (), True, act)
