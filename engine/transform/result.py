"""Edits on what a result says of its study, for one destination.

Enter: a result as it is kept, and the steps of a `deliver:` entry. Leaves: the result as this
destination is told it: patient, order and study as they would be read from the edited header. What was
found, who the patient is (Patient ID and issuer) and which study it is (its UIDs) stay.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from engine.model import Result
from engine.study_context import context_of_header
from engine.transform.steps import Steps, apply_steps


def edit_result(result: Result, steps: Steps, base: Path = Path()) -> Result:
    """The result as a destination is told it.

    Args:
        base: the folder that secrets in the steps start from, the table's.

    Raises:
        TransformFailed: an edit cannot be made.
        TryAgain: a secret is not there.
    """
    if not steps:
        return result
    header = Dataset.from_json(result.study.header)
    header.SpecificCharacterSet = "ISO_IR 192"  # DICOM JSON is UTF-8 (PS3.18 F.2)
    apply_steps(header, steps, base)
    header.pop("SpecificCharacterSet", None)
    told = context_of_header(header, result.patient.issuer)
    study = result.study.model_copy(
        update={
            "study_id": told.study.study_id,
            "description": told.study.description,
            "started_at": told.study.started_at,
            "modalities": told.study.modalities,
            "header": told.study.header,
        }
    )
    patient = told.patient.model_copy(
        update={"patient_id": result.patient.patient_id, "issuer": result.patient.issuer}
    )
    return result.model_copy(update={"patient": patient, "order": told.order, "study": study})
