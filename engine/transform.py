"""Edit copies of a study's instances on their way onward; the originals stay byte-exact.

Enter: stored instances and the `transform:` steps of a route. Leave: edited copies in a folder,
under the same names and UIDs. Steps: `set: {Keyword: value}` and `remove: [Keyword, …]`, at the
top level of every instance. Where a value is not ASCII the copy becomes UTF-8 (ISO_IR 192).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from engine.decoded import turn_into_utf8
from engine.model import StoredInstance

Steps = Sequence[dict[str, Any]]


def apply_steps(dataset: Dataset, steps: Steps) -> None:
    """Apply the steps to a data set in place, in order."""
    for step in steps:
        for keyword, value in (step.get("set") or {}).items():
            if not str(value).isascii() and dataset.get("SpecificCharacterSet") != "ISO_IR 192":
                turn_into_utf8(dataset)  # its own character set may not have these letters
            setattr(dataset, keyword, value)
        for keyword in step.get("remove") or ():
            if keyword in dataset:
                delattr(dataset, keyword)


def copy_instances(
    stored: Sequence[StoredInstance], folder: Path, steps: Steps
) -> tuple[StoredInstance, ...]:
    """Copy instances to `<folder>/<series>/<sop>.dcm`, edited when there are steps; blocks."""
    copies = []
    for instance in stored:
        target = folder / instance.series_instance_uid / f"{instance.sop_instance_uid}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = instance.sha256
        if steps:
            dataset = dcmread(instance.path)
            apply_steps(dataset, steps)
            dcmwrite(target, dataset, enforce_file_format=False)
            with target.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            shutil.copyfile(instance.path, target)
        copies.append(replace(instance, path=target, sha256=digest))
    return tuple(copies)
