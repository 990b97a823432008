"""A result as the database keeps it: files named below the data folder, wherever that folder is now.

Enter: the stored document and the data folder. Leave: the result with paths that can be opened. A data
folder that was moved, or restored elsewhere, needs nothing but this.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.model import Result


def stored_result(document: dict[str, Any], data: Path) -> Result:
    """The result of a stored document, its artefacts found below ``data``."""
    result = Result.model_validate(document)
    if all(one.path is None for one in result.report.artefacts):
        return result
    found = tuple(
        one if one.path is None else one.model_copy(update={"path": data.absolute() / one.path})
        for one in result.report.artefacts
    )
    return result.model_copy(update={"report": result.report.model_copy(update={"artefacts": found})})


def stored_versions(rows: Iterable[Any], revision: int, data: Path) -> tuple[Result, ...]:
    """Of the rows of a result's versions those up to a revision, which is then the last."""
    return tuple(stored_result(row.document, data) for row in rows if row.revision <= revision)
