"""DICOM objects that a processor wrote, checked before they are passed on byte for byte.

Enter: a result. Leave: one part for each `application/dicom` artefact, its bytes as the processor
wrote them, if each is a DICOM file (PS3.10 7.1) of this very study and patient with an identity of
its own. Otherwise nothing leaves: a hospital must not get part of a result, nor an object in the
wrong patient's folder. What is wrong is said without saying whose it is.
"""

from __future__ import annotations

import re
from io import BytesIO

from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import TEXT_VR_DELIMS

from channels.content.composite import MEDIA_TYPE
from engine.errors import Refused
from engine.model import Artefact, History, Part, Payload, Result

NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID = 64  # characters, PS3.5 9.1


def render(result: Result, history: History) -> Payload:
    """Every DICOM artefact; no part where the processor wrote none.

    Raises:
        Refused: an artefact must not go out; the reason names it and what is wrong with it.
    """
    parts: dict[str, Part] = {}
    for artefact in result.report.artefacts:
        if artefact.media_type != MEDIA_TYPE:
            continue
        part = _part(artefact, result)
        if part.identifier in parts:
            raise _refused(artefact, "it has the SOP Instance UID of another object of this result")
        parts[part.identifier] = part
    count = f"{len(parts)} object{'' if len(parts) == 1 else 's'} of the processor"
    return Payload(parts=tuple(parts.values()), summary=count)


def _part(artefact: Artefact, result: Result) -> Part:
    try:
        content = artefact.read()
    except (ValueError, OSError) as error:
        raise _refused(artefact, "it is not what the processor wrote, or is gone") from error
    try:
        dataset = dcmread(BytesIO(content), specific_tags=list(NEEDED))
        values = {keyword: _value(dataset, keyword) for keyword in NEEDED}
    except InvalidDicomError as error:
        raise _refused(artefact, "it is no DICOM file: the preamble or DICM is missing") from error
    except Exception as error:  # pydicom raises whatever a malformed file makes it trip over
        raise _refused(artefact, "it is no readable DICOM file") from error
    wrong = _wrong(dataset, values, result)
    if wrong:
        raise _refused(artefact, wrong)
    return Part(
        identifier=values["SOPInstanceUID"],
        media_type=MEDIA_TYPE,
        content=content,
        facts={
            "sop_class_uid": values["SOPClassUID"],
            "transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID),
            "study_instance_uid": values["StudyInstanceUID"],
            "series_instance_uid": values["SeriesInstanceUID"],
        },
    )


def _value(dataset: FileDataset, keyword: str) -> str:
    """A value as it stands in the file: pydicom's own conversion would quote a bad one in a warning."""
    raw = dataset.get_item(keyword)
    value = raw.value if raw is not None else None
    if not isinstance(value, bytes):
        return ""
    encodings = convert_encodings(dataset.original_character_set)
    return str(decode_bytes(value, encodings, TEXT_VR_DELIMS)).strip(" \0")


def _wrong(dataset: FileDataset, values: dict[str, str], result: Result) -> str:
    """The first thing that speaks against an object; empty when nothing does."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = values[keyword]
        if len(value) > MAX_UID or not _UID.fullmatch(value):
            return f"its {keyword} is missing or malformed"
    meta = dataset.file_meta
    if not meta.get("TransferSyntaxUID"):
        return "its file meta information lacks the TransferSyntaxUID"
    announced = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"))
    if announced != (values["SOPClassUID"], values["SOPInstanceUID"]):
        return "its file meta information announces another SOP class or instance"
    if values["StudyInstanceUID"] != result.study.study_instance_uid:
        return f"its StudyInstanceUID {values['StudyInstanceUID']} is not the study's own"
    if values["PatientID"] != result.patient.patient_id.strip():
        return "its PatientID is not the study's own"
    if values["SOPInstanceUID"] in {one.sop_instance_uid for one in result.study.instances}:
        return f"its SOPInstanceUID {values['SOPInstanceUID']} is that of a source instance"
    return ""


def _refused(artefact: Artefact, wrong: str) -> Refused:
    return Refused(f"the artefact {artefact.name} is not sent: {wrong}", code="object")
