"""Who was scanned, as far as a protocol asks: a header enters, age in whole years and sex leave.

90 stands for 90 and above (the HIPAA safe harbour's ceiling, 45 CFR 164.514(b)(2)(i)(C)).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

OLDEST = 90
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class Subject:
    """None and empty where the images do not say."""

    age: int | None
    sex: str  # M, F, O as in Patient's Sex


def subject(header: Dataset) -> Subject:
    """Age and sex from the patient and study attributes (PS3.3 C.7.1.1, C.7.2.2)."""
    sex = str(header.get("PatientSex") or "")
    return Subject(_age(header), sex if sex in ("M", "F", "O") else "")


def _age(header: Dataset) -> int | None:
    """From Patient's Age (an AS: nnnD, nnnW, nnnM, nnnY), else from birth date and study date."""
    text = str(header.get("PatientAge") or "").strip()
    if len(text) == 4 and text[:3].isdecimal() and text[3] in _PER_YEAR:
        return min(int(int(text[:3]) / _PER_YEAR[text[3]]), OLDEST)
    try:
        born, studied = (
            datetime.strptime(str(header.get(keyword) or ""), "%Y%m%d")
            for keyword in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    years = studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))
    return min(years, OLDEST) if years >= 0 else None
