"""A result as a test gives it, tied to its study as the engine would.

Enter: a report, written in the table or in a file as processors write it, and the status its result is
to have. Leaves: the result that would be rendered.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import PonsError
from engine.model import Report, Result, ResultStatus
from engine.processing import failure_report
from engine.study_context import StudyContext
from engine.table import GivenResult

MAX_BYTES = 16 * 1024 * 1024  # of a result file


def made_result(
    given: GivenResult,
    *,
    site: str,
    route: str,
    processor: str,
    context: StudyContext,
    produced_at: datetime,
) -> Result:
    """The result of one run.

    Raises:
        PonsError: its file is no result, or an artefact is not there.
    """
    report, folder = _report(given)
    if given.status is ResultStatus.FAILED:
        report = failure_report(processor, report.narrative or "as the test has it", "")
    later = given.status in (ResultStatus.CORRECTED, ResultStatus.RETRACTED)
    return Result(
        result_id="table-test-2",
        site=site,
        route=route,
        status=given.status if given.report is not None else ResultStatus(report.status),
        revision=2 if later else 1,
        supersedes="table-test-1" if later else None,
        produced_at=produced_at,
        patient=context.patient,
        order=context.order,
        study=context.study,
        report=_with_artefacts(report, folder),
    )


def _report(given: GivenResult) -> tuple[Report, Path]:
    if given.report is not None:
        assert given.folder is not None
        return given.report, given.folder
    assert given.file is not None
    return read_report(given.file), given.file.parent


def read_report(file: Path) -> Report:
    """A processor's `result.json`.

    Raises:
        PonsError: says what it lacks, and nothing that it holds.
    """
    if file.stat().st_size > MAX_BYTES:
        raise PonsError(f"{file}: larger than {MAX_BYTES // 1024**2} MB")
    try:
        data: Any = json.loads(file.read_bytes(), parse_float=str)
    except UnicodeDecodeError:
        raise PonsError(f"{file}: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise PonsError(f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg.lower()}") from None
    try:
        return Report.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PonsError(f"{file}: {where}: {first['msg'].lower()}") from None


def _with_artefacts(report: Report, folder: Path) -> Report:
    """The report with its files, which lie beside it."""
    found = []
    for artefact in report.artefacts:
        path = folder / artefact.name
        if not path.is_file():
            raise PonsError(f"{path}: no such artefact")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(artefact.model_copy(update={"path": path, "sha256": digest}))
    return report.model_copy(update={"artefacts": tuple(found)})
