"""Whole messages against files that a person has read: a change in any byte shows in review.

After an intended change, look at what the failing test wrote, then replace the file in `golden/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channels.content import event, fhir, oru
from engine.model import History, Part, Result, ResultStatus

GOLDEN = Path(__file__).parent / "golden"


def lines(part: Part) -> str:
    """An HL7 message with a line for each segment."""
    return part.read().decode("utf-8").replace("\r", "\n")


def indented(part: Part) -> str:
    """JSON as people read it, every number in its own digits."""
    body = part.read().decode("utf-8")
    numbers = _Numbers()
    loaded = json.loads(body, parse_float=numbers.keep, parse_int=numbers.keep)
    return numbers.put_back(json.dumps(loaded, indent=1, ensure_ascii=False)) + "\n"


class _Numbers:
    """Carries numbers through `json` as marked text, since it would reformat them."""

    def keep(self, digits: str) -> str:
        return f"\ufdd0{digits}\ufdd1"

    def put_back(self, text: str) -> str:
        return text.replace('"\ufdd0', "").replace('\ufdd1"', "")


CASES: list[tuple[str, ResultStatus, Callable[[Result, History], Any], Callable[[Part], str]]] = [
    ("oru-final.hl7", ResultStatus.FINAL, oru.render, lines),
    ("oru-corrected.hl7", ResultStatus.CORRECTED, oru.render, lines),
    ("oru-failed.hl7", ResultStatus.FAILED, oru.render, lines),
    ("fhir-final.json", ResultStatus.FINAL, fhir.render, indented),
    ("fhir-failed.json", ResultStatus.FAILED, fhir.render, indented),
    ("event-final.json", ResultStatus.FINAL, event.render, indented),
    ("event-failed.json", ResultStatus.FAILED, event.render, indented),
]


@pytest.mark.parametrize(("name", "status", "render", "readable"), CASES, ids=[case[0] for case in CASES])
def test_a_rendering_is_the_one_that_was_reviewed(
    in_standing: Callable[..., tuple[Result, History]],
    tmp_path: Path,
    name: str,
    status: ResultStatus,
    render: Callable[[Result, History], Any],
    readable: Callable[[Part], str],
) -> None:
    found = readable(render(*in_standing("full", status)).parts[0])
    written = tmp_path / name
    written.write_text(found, encoding="utf-8")
    expected = GOLDEN / name
    assert expected.is_file(), f"no golden file yet; review {written}"
    assert found == expected.read_text(encoding="utf-8"), f"review {written}"
