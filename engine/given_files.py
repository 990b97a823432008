"""A test's study out of files: DICOM JSON, or a folder of instances.

Enter: a path, and what the files do not say (site, way in, time). Leaves: the study as it would have
arrived: what is not a file yet is written as one, and every file is read as one that came in is. DICOM
JSON (PS3.18 F) is one data set or a list of them; UIDs that it does not have are made up.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from engine.errors import PonsError, Rejected
from engine.given_data_set import data_set_of, put
from engine.model import InstanceFacts, StoredInstance, Study, uid_from
from engine.part10 import Header, inspect

MAX_JSON = 64 * 1024 * 1024  # bytes
MAX_FILES = 10_000  # in the folder of one test


def read_files(
    frame: Study, path: Path, changed: Mapping[str, Any], keywords: Collection[str], folder: Path
) -> Study:
    """The study in a JSON file or a folder.

    Args:
        frame: what the files do not say.
        path: the file or folder.
        changed: attributes that count instead of the files' own.
        keywords: the attributes that routes ask for.
        folder: for what has to be written.

    Raises:
        PonsError: the files hold no study, or more than one.
    """
    files = (
        _folder_files(path, changed, folder) if path.is_dir() else _json_files(path, frame, changed, folder)
    )
    facts: list[InstanceFacts] = []
    stored: list[StoredInstance] = []
    studies: dict[str, None] = {}
    for file in files:
        header = _inspect(file, keywords, path)
        if header is None:
            continue
        studies[header.study_instance_uid] = None
        facts.append(header.facts)
        stored.append(
            StoredInstance(
                series_instance_uid=header.series_instance_uid,
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                path=file,
                sha256="",
            )
        )
    if len(studies) != 1:
        held = f"{len(studies)} studies; a test is of one" if studies else "no DICOM instance"
        raise PonsError(f"{path}: holds {held}")
    return replace(
        frame, study_instance_uid=next(iter(studies)), instances=tuple(facts), stored=tuple(stored)
    )


def _inspect(file: Path, keywords: Collection[str], path: Path) -> Header | None:
    """What a file says of itself; None for one of a folder that is no DICOM."""
    try:
        return inspect(file, sorted(keywords))
    except Rejected as error:
        if path.is_dir():
            return None
        raise PonsError(f"{path}: {error}") from None


def _folder_files(path: Path, changed: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    files = [one for one in sorted(path.rglob("*")) if one.is_file() and one.name != "DICOMDIR"]
    if len(files) > MAX_FILES:
        raise PonsError(f"{path}: more than {MAX_FILES} files; a test takes less")
    for number, file in enumerate(files):
        if not changed:
            yield file
            continue
        try:
            inspect(file)
        except Rejected:
            continue
        data_set = dcmread(file)
        for name, value in changed.items():
            put(data_set, name, value)
        target = folder / f"{number}.dcm"
        folder.mkdir(parents=True, exist_ok=True)
        dcmwrite(target, data_set, enforce_file_format=False)
        yield target


def _json_files(path: Path, frame: Study, changed: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(_json_items(path)):
        where = f"{path}: data set {number + 1}"
        if not isinstance(item, dict):
            raise PonsError(f"{where}: must be an object of tags, as PS3.18 F.2 has it")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what real devices write is read as it is
                data_set = Dataset.from_json(item, lambda *_: b"")  # bulk data stays where it is
                for name, value in changed.items():
                    put(data_set, name, value)
                target = folder / f"{number}.dcm"
                write_instance(data_set, target, frame.study_instance_uid, number)
        except PonsError as error:
            raise PonsError(f"{where}: {error}") from None
        except Exception as error:  # pydicom refuses bad JSON in many ways
            raise PonsError(f"{where}: is no DICOM JSON: {type(error).__name__}") from None
        yield target


def _json_items(path: Path) -> list[Any]:
    if path.stat().st_size > MAX_JSON:
        raise PonsError(f"{path}: larger than {MAX_JSON // 1024**2} MB; keep what routes ask for")
    try:
        data = json.loads(path.read_bytes())
    except UnicodeDecodeError:
        raise PonsError(f"{path}: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise PonsError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg.lower()}") from None
    except RecursionError:
        raise PonsError(f"{path}: nested too deep") from None
    items = data if isinstance(data, list) else [data]
    if not 0 < len(items) <= MAX_FILES:
        raise PonsError(f"{path}: must hold one data set or a list of them, at most {MAX_FILES}")
    return items


def write_study(study: Study, folder: Path) -> tuple[StoredInstance, ...]:
    """A study that is given as attributes, as files; of instances that are alike one is written.

    Raises:
        PonsError: an attribute cannot have its value.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[tuple[str, str], Path] = {}
    stored = []
    for number, instance in enumerate(study.instances):
        alike = (instance.series_instance_uid, repr(sorted(instance.attributes.items(), key=str)))
        uids = {
            "SOPClassUID": instance.sop_class_uid,
            "SOPInstanceUID": instance.sop_instance_uid,
            "SeriesInstanceUID": instance.series_instance_uid,
        }
        if alike not in written:
            written[alike] = folder / f"{number}.dcm"
            data_set = data_set_of(uids | dict(instance.attributes))
            write_instance(data_set, written[alike], study.study_instance_uid, number)
        stored.append(
            StoredInstance(
                series_instance_uid=instance.series_instance_uid,
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                path=written[alike],
                sha256="",
            )
        )
    return tuple(stored)


def write_instance(data_set: Dataset, target: Path, study_instance_uid: str, number: int) -> None:
    """Write a data set as a Part 10 file; what identifies an instance is made up where it is missing.

    Raises:
        PonsError: a value cannot be written.
    """
    defaults = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": uid_from("table test", study_instance_uid, "instance", str(number)),
        "StudyInstanceUID": study_instance_uid,
        "SeriesInstanceUID": uid_from("table test", study_instance_uid, "series"),
    }
    for keyword, value in defaults.items():
        if not data_set.get(keyword):
            setattr(data_set, keyword, value)
    for group in (0x0000, 0x0002):
        for element in [one.tag for one in data_set.group_dataset(group)]:
            del data_set[element]
    if "BitsAllocated" in data_set and "PixelData" not in data_set:
        data_set.add_new("PixelData", "OW", b"")  # metadata as WADO-RS gives it (PS3.18 10.4.1.1.2)
    if any(not str(element.value).isascii() for element in data_set.iterall()):
        data_set.SpecificCharacterSet = "ISO_IR 192"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.file_meta = meta
    try:
        dcmwrite(target, data_set, enforce_file_format=True)
    except Exception as error:  # pydicom refuses values in many ways
        raise PonsError(f"cannot be written as DICOM: {type(error).__name__}") from None
