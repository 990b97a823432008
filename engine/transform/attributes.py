"""Steps on a study that is described by its attributes, as a test in a table describes one.

Enter: attributes by the names that a table uses (keyword, tag, path through sequences) and steps.
Leaves: the attributes after them, by the same names. A data set is made of them and edited like any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from engine import attribute
from engine.transform.steps import Steps, apply_steps


def edit_attributes(attributes: Mapping[str, Any], steps: Steps, base: Path = Path()) -> dict[str, Any]:
    """Attributes after the steps, as they would be in a data set.

    Args:
        attributes: name and value, or a list of values. Along a path through a sequence a list has one
            value for each item; a sequence itself is a list of mappings, one for each item.
        base: the folder that secrets in the steps start from, the table's.

    Returns:
        Every attribute there is then, by keyword, or by tag where it has none; of sequences the paths to
        what is in them. One value stands alone, several are a list; empty is "".

    Raises:
        TransformFailed: an edit cannot be made.
        ValueError: a name names no attribute.
    """
    dataset = _dataset(attributes)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    apply_steps(dataset, steps, base)
    dataset.pop("SpecificCharacterSet", None)
    edited: dict[str, Any] = {}
    for name, value in _named(dataset):
        edited.setdefault(name, []).extend(value)
    return {name: (values[0] if len(values) == 1 else values) for name, values in edited.items()}


def _dataset(attributes: Mapping[str, Any]) -> Dataset:
    dataset = Dataset()
    for name, value in attributes.items():
        *path, last = attribute.steps(name)
        if path:
            for index, one in enumerate(value if isinstance(value, list) else [value]):
                _put(_item(dataset, [step.tag for step in path], index), last, one)
        else:
            _put(dataset, last, value)
    return dataset


def _item(dataset: Dataset, path: Sequence[int], index: int) -> Dataset:
    """The item of the last sequence of a path; those before it have one."""
    for depth, tag in enumerate(path):
        wanted = index if depth == len(path) - 1 else 0
        if tag not in dataset:
            dataset.add(DataElement(tag, "SQ", Items()))
        items = dataset[tag].value
        while len(items) <= wanted:
            items.append(Dataset())
        dataset = items[wanted]
    return dataset


def _put(dataset: Dataset, step: attribute.Step, value: Any) -> None:
    tag = step.tag
    if step.creator:  # the first block is as good as any (PS3.5 7.8.1)
        tag = dataset.private_block(step.tag >> 16, step.creator, create=True).get_tag(step.tag & 0xFF)
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        vr, value = "SQ", Items([_dataset(one) for one in value])
    elif vr == "SQ":
        value = Items([Dataset()] * int(bool(value)))
    elif vr in ("US or SS", "OB or OW"):
        vr = vr[:2]
    if vr not in attribute.NUMERIC and vr != "SQ":
        value = (
            [str(one) for one in value] if isinstance(value, list) else "" if value is None else str(value)
        )
    dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))


def _named(dataset: Dataset, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    for element in dataset:
        tag = element.tag
        if tag.is_private_creator:
            continue
        keyword = dictionary_keyword(tag) if dictionary_has_tag(tag) else ""
        creator = element.private_creator or ""
        name = path + str(attribute.Step(tag.group << 16 | tag.element & 0xFF, creator) if creator else "")
        if not creator:
            name = path + (keyword or f"({tag.group:04X},{tag.element:04X})")
        if element.VR == "SQ":
            for item in element.value:
                yield from _named(item, f"{name}.")
        else:
            yield name, [_plain(one) for one in (element.value if element.VM > 1 else [element.value])]


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)
