"""Studies to send: small ones made of real instances, under identities of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from tests.peers.part10 import data_set_bytes


@dataclass(frozen=True)
class Person:
    """Invented patient data, words that occur nowhere else: found in a log, they were leaked."""

    name: str = "Zephyrine^Quillfeather"
    patient_id: str = "PID-9081726354"
    birth_date: str = "19870605"
    accession_number: str = "ACC-5647382910"
    description: str = "Obscurantine survey"

    @property
    def words(self) -> tuple[str, ...]:
        """What no log line and no command's output may hold."""
        return (
            "Zephyrine",
            "Quillfeather",
            self.patient_id,
            self.birth_date,
            f"{self.birth_date[:4]}-{self.birth_date[4:6]}-{self.birth_date[6:]}",
            self.accession_number,
            self.description,
        )


PERSON = Person()


def small_study(
    source: Path,
    folder: Path,
    *,
    instances: int = 8,
    skip: int = 0,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    person: Person | None = PERSON,
    **elements: str,
) -> list[Path]:
    """Files of a study of its own, made of the first instances of a real one after ``skip``.

    Every SOP Instance UID is new; the study and series UIDs are new unless given, so that late
    instances can be made for a study that was sent before. Without a ``person`` the real study's
    pseudonymous one stays. ``elements`` are set as they are given, by keyword.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = study_instance_uid or generate_uid()
    series = series_instance_uid or generate_uid()
    made = []
    for path in sorted(source.glob("*.dcm"))[skip : skip + instances]:
        instance = pydicom.dcmread(path)
        instance.StudyInstanceUID = study
        instance.SeriesInstanceUID = series
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        if person is not None:
            instance.PatientName = person.name
            instance.PatientID = person.patient_id
            instance.PatientBirthDate = person.birth_date
            instance.AccessionNumber = person.accession_number
            instance.StudyDescription = person.description
        for keyword, value in elements.items():
            setattr(instance, keyword, value)
        target = folder / f"{instance.SOPInstanceUID}.dcm"
        instance.save_as(target, enforce_file_format=True)
        made.append(target)
    return made


def study_of(path: Path) -> str:
    """The Study Instance UID of a file."""
    return str(
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID
    )


def data_sets(files: list[Path]) -> dict[str, bytes]:
    """SOP Instance UID -> bytes of the data set.

    The name of a file, ours or the engine's, starts with the UID; that it is the UID of what is
    inside is part of what comparing shows.
    """
    return {
        path.name.partition("-")[0].removesuffix(".dcm"): data_set_bytes(path.read_bytes()) for path in files
    }
