"""What a processor left in its output folder: `result.json` and artefacts enter, a `Report` leaves.

Nothing in the folder is trusted: sizes are bounded, symbolic links are refused, numbers keep their
decimals, and an artefact is what its first bytes say, not what its name says.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Never

from pydantic import ValidationError

from engine.errors import ProcessorFailed
from engine.model import Artefact, Finding, Report

RESULT = "result.json"
LARGEST_RESULT = 16 * 1024 * 1024  # bytes
_MOST_FINDINGS_SHOWN = 10
_MOST_DIGITS = 16  # DICOM's DS holds 16 characters; more is noise, and 1e999999 an attack

# media type -> where its magic number stands, and what it is (PNG 5.2, PDF 7.5.2, PS3.10 7.1)
_MAGIC = {
    "image/png": (0, b"\x89PNG\r\n\x1a\n"),
    "application/pdf": (0, b"%PDF-"),
    "application/dicom": (128, b"DICM"),
}


def read_report(out_dir: Path, max_bytes: int) -> Report:
    """Read and check what a processor left.

    Args:
        out_dir: the job's output folder.
        max_bytes: the most that result.json and the artefacts may take together.

    Raises:
        ProcessorFailed: something is missing, malformed or too large; the message names the place
            in the JSON document and what is expected there, never a value.
    """
    content = _read(out_dir, RESULT, min(LARGEST_RESULT, max_bytes))
    report = _parse(content)
    left = max_bytes - len(content)
    for index, artefact in enumerate(report.artefacts):
        left -= _check_artefact(out_dir, artefact, f"artefacts[{index}]", left)
    return report


def _parse(content: bytes) -> Report:
    try:
        # Decimal keeps 3.50 as 3.50; a float would make 3.5 of it.
        document = json.loads(content.decode(), parse_float=Decimal, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise ProcessorFailed(f"{RESULT} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ProcessorFailed(
            f"{RESULT}:{error.lineno}:{error.colno}: not valid JSON ({error.msg.lower()})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ProcessorFailed(f"{RESULT}: not usable JSON ({error})") from None
    try:
        report = Report.model_validate(document)
    except ValidationError as error:
        raise ProcessorFailed(_explain(error)) from None
    for index, finding in enumerate(report.findings):
        _check_finding(finding, f"findings[{index}]")
    names = [artefact.name for artefact in report.artefacts]
    if len(set(names)) < len(names):
        raise ProcessorFailed(f"{RESULT}: artefacts: a name is listed twice")
    return report


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number; leave the finding out or give its value as text")


def _explain(error: ValidationError) -> str:
    """Every finding with its path; messages of the model, which quote no value."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{_path(each['loc'])}: {_lowered(each['msg'])}" for each in found[:_MOST_FINDINGS_SHOWN]]
    if len(found) > _MOST_FINDINGS_SHOWN:
        lines.append(f"and {len(found) - _MOST_FINDINGS_SHOWN} more")
    return f"{RESULT} does not follow schema pons.result/1 (pons schema result): " + "; ".join(lines)


def _lowered(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:64]}" for part in location)
    return text.lstrip(".") or "document"


def _check_finding(finding: Finding, where: str) -> None:
    if not isinstance(finding.value, Decimal):
        return
    digits = len(finding.value.as_tuple().digits)
    if digits > _MOST_DIGITS or abs(finding.value.adjusted()) > _MOST_DIGITS:
        raise ProcessorFailed(f"{RESULT}: {where}.value: more than {_MOST_DIGITS} digits; round it")


def _check_artefact(out_dir: Path, artefact: Artefact, where: str, max_bytes: int) -> int:
    """Check the file that an artefact names; returns its size in bytes."""
    if artefact.path is not None:
        raise ProcessorFailed(f"{RESULT}: {where}.path: leave it out; a file is found by its name")
    content = _read(out_dir, artefact.name, max_bytes)
    start, magic = _MAGIC[artefact.media_type]
    if content[start : start + len(magic)] != magic:
        raise ProcessorFailed(f"{RESULT}: {where}: {artefact.name} is no {artefact.media_type} file")
    if artefact.sha256 and hashlib.sha256(content).hexdigest() != artefact.sha256.lower():
        raise ProcessorFailed(f"{RESULT}: {where}.sha256: does not match {artefact.name}")
    return len(content)


def _read(folder: Path, name: str, max_bytes: int) -> bytes:
    """A regular file of the folder itself: no link, no device, no pipe that would never end."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessorFailed(
            f"the processor left no {name} in its output folder; it must write one"
        ) from None
    except OSError as error:
        raise ProcessorFailed(f"{name} cannot be opened ({error.strerror}); links are not followed") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise ProcessorFailed(f"{name} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1) if about.st_size <= max_bytes else None
    if content is None or len(content) > max_bytes:
        raise ProcessorFailed(f"{name} takes the output past its limit; raise max_output or write less")
    return content
