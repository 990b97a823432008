"""What every renderer promises: same bytes, every standing, sloppy input, no surprises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.model import Algorithm, Artefact, History, Patient, PersonName, Result, ResultStatus

Render = Callable[[Result, History], Any]
Standing = Callable[..., tuple[Result, History]]


def test_the_same_delivery_renders_to_the_same_bytes(renderer: Render, full: Result, history: Any) -> None:
    first, second = renderer(full, history()), renderer(full, history())
    assert [part.read() for part in first.parts] == [part.read() for part in second.parts]
    assert first == second


def test_another_delivery_has_other_identifiers(renderer: Render, full: Result, history: Any) -> None:
    identifiers = {
        part.identifier
        for delivery in ("d-1", "d-2")
        for part in renderer(full, history(delivery=delivery)).parts
    }
    # A FHIR server that updates knows a result by one identifier for good; all else is per delivery.
    is_upsert = renderer(full, history()).parts[0].facts.get("mode") == "upsert"
    assert len(identifiers) == (1 if is_upsert else 2)


@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_every_standing_renders(
    renderer: Render, in_standing: Standing, kind: str, status: ResultStatus
) -> None:
    payload = renderer(*in_standing(kind, status))
    assert payload.parts
    for part in payload.parts:
        assert part.read()
        assert part.identifier
    assert "Yamada" not in payload.summary


def test_summaries_say_nothing_of_the_patient(renderer: Render, full: Result, history: Any) -> None:
    summary = renderer(full, history()).summary
    assert not any(word in summary for word in ("Yamada", "P|1", "ACC-1", "brain"))


SLOPPY = {
    "an identifier that is too long": {"patient": Patient(patient_id="9" * 200)},
    "a name of control characters": {"patient": Patient(name=PersonName(alphabetic="\x00\x1b\r\n^\x85"))},
    "a name in one group only": {"patient": Patient(name=PersonName(ideographic="山田^太郎"))},
    "right-to-left": {"patient": Patient(name=PersonName(alphabetic="כהן^דוד"))},
}


@pytest.mark.parametrize("what", list(SLOPPY))
def test_sloppy_identification_renders(renderer: Render, full: Result, history: Any, what: str) -> None:
    assert renderer(full.model_copy(update=SLOPPY[what]), history()).parts


HEADERS: dict[str, dict[str, Any]] = {
    "no header at all": {},
    "values that are no list": {"00080020": {"vr": "DA", "Value": "20240409"}},
    "an impossible date": {"00080020": {"vr": "DA", "Value": ["tomorrow"]}},
    "a number where text belongs": {"00081030": {"vr": "LO", "Value": [7]}},
    "nulls": {"00080020": {"vr": "DA", "Value": [None]}, "00400275": {"vr": "SQ", "Value": [None]}},
    "an item of rubbish": {"00081032": {"vr": "SQ", "Value": [{"zzzz": 1, "00080100": {"vr": "SH"}}]}},
    "an offset that is none": {"00080201": {"vr": "SH", "Value": ["UTC"]}},
    "a body part that is none": {"00180015": {"vr": "CS", "Value": ["head & neck"]}},
    "a weight that is none": {"00101030": {"vr": "DS", "Value": ["heavy"]}},
}


@pytest.mark.parametrize("what", list(HEADERS))
def test_a_sloppy_header_renders(renderer: Render, full: Result, history: Any, what: str) -> None:
    study = full.study.model_copy(update={"header": HEADERS[what]})
    assert renderer(full.model_copy(update={"study": study}), history()).parts


def test_a_zone_that_nobody_knows_renders(renderer: Render, full: Result, history: Any) -> None:
    study = full.study.model_copy(update={"timezone": "Atlantis/Centre"})
    assert renderer(full.model_copy(update={"study": study}), history()).parts


def test_words_that_are_no_words_render(renderer: Render, full: Result, history: Any) -> None:
    words = "\x00\x0b\x0c\x1b\x1c\x85\u2028\u202e\ufffe" + "x" * 3000 + "\n#let a = 1 $ * _ @ <b> \\ |"
    report = full.report.model_copy(
        update={
            "title": words,
            "narrative": words,
            "impression": words,
            "disclaimer": words,
            "algorithm": Algorithm(name=words, version=words, manufacturer=words, udi=words),
            "findings": tuple(
                finding.model_copy(update={"group": words, "comment": words, "tracking_id": words})
                for finding in full.report.findings
            ),
        }
    )
    assert renderer(full.model_copy(update={"report": report}), history()).parts


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_a_picture_that_is_none_is_left_out(
    renderer: Render, full: Result, history: Any, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    artefact = Artefact(name="broken.png", media_type="image/png", path=path)
    report = full.report.model_copy(update={"artefacts": (artefact,)})
    assert renderer(full.model_copy(update={"report": report}), history()).parts
