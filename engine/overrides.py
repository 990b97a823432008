"""The metadata of an order: DICOM attributes that stand in the place of its study's own, from here on.

Enter: keys and values as people and programs write them (PascalCase, camelCase or snake_case; a sidecar's
`patient_age: 45`). Leave: keywords of PS3.6 with values legal for them (PS3.5 6.2), or everything that is
wrong, by key and never by value. They are applied to what routing asks, to the copies that processors and
receivers get, and to what a result says of its patient and order; what was stored stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from engine.errors import OrderRefused, OrderRefusedReason
from engine.finding import did_you_mean
from engine.model import Study
from engine.study_context import StudyContext, context_of_header
from engine.transform.elements import is_legal
from engine.transform.steps import Step, apply_steps

MOST = 64
"""Attributes that one order may override."""

MAX_VALUE = 1024  # characters
HIGHEST = 120  # years
OLDEST = 90  # years: ages past it would tell who somebody is

_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UT"})
_FIXED = frozenset({"SpecificCharacterSet"})  # says how the others are written
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_AGE = re.compile(r"0*([0-9]{1,3})(?:[yY]|\+)?")


def checked(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata by DICOM keyword, in their order.

    Raises:
        OrderRefused: INVALID; lists everything that is wrong, a line each, and quotes no value.
    """
    if len(metadata) > MOST:
        raise OrderRefused(
            OrderRefusedReason.INVALID, f"metadata: {len(metadata)} attributes; at most {MOST} may be given"
        )
    found: dict[str, str] = {}
    wrong: list[str] = []
    for key, value in metadata.items():
        keyword = keyword_of(key)
        if keyword is None:
            names = {one.lower(): one for one in _by_spelling().values()}
            hint = did_you_mean(_folded(key), names)
            wrong.append(
                f"metadata.{key[:64]}: no DICOM attribute has this keyword{_as_keyword(hint, names)}"
            )
        elif keyword in found:
            wrong.append(f"metadata.{key[:64]}: {keyword} is given twice")
        else:
            made, why = _value(keyword, value)
            found[keyword] = made
            wrong += [f"metadata.{key[:64]}: {why}"] if why else []
    if wrong:
        raise OrderRefused(OrderRefusedReason.INVALID, "\n".join(wrong))
    return found


def keyword_of(key: str) -> str | None:
    """The keyword that a key means, in PascalCase, camelCase or snake_case; None when there is none."""
    return _by_spelling().get(_folded(key))


def as_step(overrides: Mapping[str, str]) -> tuple[Step, ...]:
    """The metadata as an edit on copies (`engine.transform`); braces in a value are braces."""
    if not overrides:
        return ()
    return ({"set": {key: _literal(value) for key, value in overrides.items()}},)


def in_facts(study: Study, overrides: Mapping[str, str]) -> Study:
    """The study as routing sees it."""
    if not overrides:
        return study
    return replace(
        study,
        instances=tuple(replace(one, attributes={**one.attributes, **overrides}) for one in study.instances),
    )


def in_context(context: StudyContext, overrides: Mapping[str, str]) -> StudyContext:
    """What results say of the patient, the imaging order and the study."""
    if not overrides:
        return context
    header = Dataset.from_json(context.study.header)
    header.SpecificCharacterSet = "ISO_IR 192"  # DICOM JSON is UTF-8 (PS3.18 F.2)
    apply_steps(header, as_step(overrides), Path())
    header.pop("SpecificCharacterSet", None)
    told = context_of_header(header, context.patient.issuer)
    study = context.study.model_copy(
        update={
            "study_id": told.study.study_id,
            "description": told.study.description,
            "started_at": told.study.started_at,
            "modalities": told.study.modalities,
            "header": told.study.header,
        }
    )
    return StudyContext(told.patient, told.order, study)


@cache
def _by_spelling() -> Mapping[str, str]:
    """Keywords of the dictionary by their letters alone."""
    return {entry[4].lower(): entry[4] for entry in DicomDictionary.values() if entry[4]}


def _folded(key: str) -> str:
    return key.replace("_", "").lower()[:128]


def _as_keyword(hint: str, names: Mapping[str, str]) -> str:
    """A hint in the dictionary's own spelling."""
    return re.sub(r"'([a-z0-9]+)'", lambda found: repr(names.get(found[1], found[1])), hint)


def _literal(value: str) -> str:
    return value.replace("{", "{{").replace("}", "}}")


def _value(keyword: str, value: Any) -> tuple[str, str]:
    """The value as DICOM writes it, and what is wrong with it."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    if tag >> 16 < 0x0008 or keyword in _FIXED or vr not in _TEXT:
        what = "a UID says which object it is" if vr == "UI" else f"its values are not text ({vr})"
        return "", f"cannot be overridden: {what}"
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return "", "must be one text or number"
    text = str(value).strip()
    if len(text) > MAX_VALUE:
        return "", f"has {len(text)} characters; at most {MAX_VALUE} are taken"
    if keyword == "PatientAge":
        years = _AGE.fullmatch(text)
        if years and int(years[1]) > HIGHEST:
            return "", f"must be 0 to {HIGHEST} years"
        text = _age(text)
    elif keyword == "PatientSex" and text:
        if text.lower() not in _SEX:
            return "", "must be M, F or O (PS3.3 C.7.1.1)"
        text = _SEX[text.lower()]
    elif vr == "DA" and (written := _ISO_DATE.fullmatch(text)):
        text = "".join(written.groups())
    if not is_legal(vr, text):
        return "", f"is not legal for its representation ({vr}, PS3.5 6.2){_example(vr)}"
    return text, ""


def _age(text: str) -> str:
    """Whole years become an AS; past 90 they are 90."""
    years = _AGE.fullmatch(text)
    return f"{min(int(years[1]), OLDEST):03d}Y" if years else text


def _example(vr: str) -> str:
    examples = {"AS": "045Y or 45", "DA": "20261130", "TM": "0830", "DT": "20261130083000", "CS": "HEAD"}
    return f": write it as {examples[vr]}" if vr in examples else ""
