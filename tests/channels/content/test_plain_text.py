"""TXT: a page that a person can read and nobody's text can forge."""

from __future__ import annotations

from channels.content.plain_text import export
from engine.model import PersonName, Result, ResultStatus


def page(result: Result) -> list[str]:
    return export(result).decode("utf-8").splitlines()


def test_the_page_says_who_what_and_how_much(full: Result) -> None:
    lines = page(full)
    assert lines[0] == "Diffusion MR quality control"
    assert "Patient:          Yamada Tarou Dr Jr / 山田 太郎 / やまだ たろう" in lines
    assert "Accession number: ACC-1" in lines
    assert "In-plane resolution: 1.60 mm (1.85 to 2.15) L" in lines
    assert "Volume, Right Hippocampus: 1.900 mL (from 2.0) L" in lines
    assert "protocol check failed: in-plane resolution" in lines
    assert lines[-1] == "technical quality control, not for diagnostic use"


def test_the_standing_stands_first(full: Result) -> None:
    retracted = full.model_copy(update={"status": ResultStatus.RETRACTED})
    assert page(retracted)[0] == "*** RETRACTED - DO NOT USE ***"
    assert page(full)[0] != "***  ***"


def test_no_value_passes_for_another_finding(full: Result) -> None:
    forged = "fine\nIn-plane resolution: 2.00 mm N"
    finding = full.report.findings[5].model_copy(update={"value": forged, "comment": forged})
    report = full.report.model_copy(update={"findings": (finding,)})
    lines = page(full.model_copy(update={"report": report}))
    assert "In-plane resolution: 2.00 mm N" not in lines
    assert lines.count("    In-plane resolution: 2.00 mm N") == 2


def test_marks_that_mislead_the_reader_are_left_out(full: Result) -> None:
    patient = full.patient.model_copy(
        update={"name": PersonName(alphabetic="Doe\u202e\x1b[31m^Jane\r\nX: y")}
    )
    content = export(full.model_copy(update={"patient": patient})).decode()
    assert "\u202e" not in content
    assert "\x1b" not in content
    assert "Patient:          Doe[31m Jane X: y\n" in content


def test_a_bare_result_has_a_page(minimal: Result) -> None:
    assert page(minimal)[0] == "Result"
    assert "Made by algorithm 1" in page(minimal)
