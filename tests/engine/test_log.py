"""Log lines carry what an operator needs and nothing of a patient."""

from __future__ import annotations

import json
import logging
import sys

from engine.log import JsonLines, TextLines


def record(
    message: str, fields: dict[str, object] | None = None, exc_info: object = None
) -> logging.LogRecord:
    made = logging.LogRecord("pons.intake", logging.INFO, "f.py", 1, message, None, exc_info)
    made.pons = fields
    return made


def test_a_line_is_json_with_the_named_fields() -> None:
    line = json.loads(JsonLines().format(record("instance refused", {"site": "st-marys", "code": "A900"})))
    assert line["event"] == "instance refused"
    assert (line["site"], line["code"], line["level"]) == ("st-marys", "A900", "info")


def test_fields_that_are_not_on_the_list_are_dropped() -> None:
    for formatter in (JsonLines(), TextLines()):
        line = formatter.format(record("x", {"patient_name": "Doe^Jane", "PatientID": "4711", "site": "a"}))
        assert "Doe" not in line
        assert "4711" not in line


def test_a_traceback_keeps_its_frames_and_loses_its_message() -> None:
    try:
        raise ValueError("cannot parse Doe^Jane")
    except ValueError:
        line = JsonLines().format(record("it broke", exc_info=sys.exc_info()))
    assert "Doe" not in line
    assert json.loads(line)["error"] == "ValueError"
    assert "test_log.py" in json.loads(line)["frames"][0]
