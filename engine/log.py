"""Structured log lines without patient data.

One JSON object a line on standard error: time, level, part, event, and the fields that the caller
named. Only fields of the list below pass; anything else is dropped, so that a careless `extra`
cannot put a patient's name into a log. Tracebacks keep their frames and lose their message, which
may quote input.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

FIELDS = frozenset(
    {
        "address",
        "attempt",
        "before",
        "bytes",
        "called_ae_title",
        "calling_ae_title",
        "channel",
        "client",
        "code",
        "connection",
        "count",
        "delivery",
        "destination",
        "error",
        "event",
        "inbound",
        "instances",
        "job",
        "listen",
        "method",
        "outcome",
        "path",
        "pid",
        "port",
        "reason",
        "remote_address",
        "revision",
        "routes",
        "seconds",
        "session",
        "signal",
        "site",
        "sop_class_uid",
        "sop_instance_uid",
        "status",
        "study",
        "study_instance_uid",
        "table",
        "transaction_uid",
        "transfer_syntax_uid",
        "unknown",
        "verdict",
        "what",
        "where",
        "why",
    }
)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, its fields filtered."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": record.name,
            "event": record.getMessage(),
        }
        fields = getattr(record, "pons", None)
        if isinstance(fields, dict):
            line.update({key: value for key, value in fields.items() if key in FIELDS})
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            line["error"] = type(error).__name__
            line["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        return json.dumps(line, default=str)


class TextLines(JsonLines):
    """The same for people at a terminal: time, level, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one readable line."""
        line = json.loads(super().format(record))
        head = f"{line.pop('time')[11:23]} {line.pop('level'):7} {line.pop('event')}"
        line.pop("part")
        return " ".join([head, *(f"{key}={value}" for key, value in line.items())])


def start_logging(*, text: bool = False, level: int = logging.INFO) -> None:
    """Send all logs to standard error; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR)
    # Libraries may quote what they received; our own lines carry what an operator needs.
    for name in ("pynetdicom", "pydicom", "httpx", "httpcore", "dicomweb_client", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("pons").setLevel(level)


def log_form() -> tuple[bool, int]:
    """Whether lines are for people, and from which level: for a process that is to speak as this one does."""
    text = any(isinstance(handler.formatter, TextLines) for handler in logging.getLogger().handlers)
    return text, logging.getLogger("pons").getEffectiveLevel()
