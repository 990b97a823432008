"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a change.

Enter: findings and the folder they are named from. Leaves: a log with one run (3.13, 3.14): a rule for each
code found (3.49), a result for each finding (3.27) with its place (3.29) and a fingerprint (3.27.17) that
stays the same when lines move. Pure.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.finding import Finding
from engine.finding_code import MEANING

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def log_of(findings: Sequence[Finding], folder: Path, version: str) -> dict[str, Any]:
    """A SARIF log.

    Args:
        findings: with files named from ``folder``.
        folder: as the operator named it: an address in the log is relative when this is.
        version: of the software.
    """
    codes = sorted({finding.code for finding in findings})
    seen = Counter[str]()
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pons check",
                        "semanticVersion": version,
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, folder, codes, seen) for finding in findings],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    meaning = MEANING.get(code, code)
    return {"id": code, "shortDescription": {"text": f"{meaning[:1].upper()}{meaning[1:]}."}}


def _result(finding: Finding, folder: Path, codes: list[str], seen: Counter[str]) -> dict[str, Any]:
    words = f"{finding.path}: {finding.message}" if finding.path else finding.message
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _address(folder / finding.file)},
            "region": {"startLine": finding.line, "startColumn": finding.column},
        }
    }
    if finding.path:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": finding.severity,
        "message": {"text": words},
        "locations": [location],
        "partialFingerprints": {"finding/v1": _fingerprint(finding, seen)},
    }


def _fingerprint(finding: Finding, seen: Counter[str]) -> str:
    """The same for the same mistake wherever its line has gone; the n-th of equal ones counts."""
    text = "\0".join((finding.code, finding.file, finding.path, finding.message))
    seen[text] += 1
    return hashlib.sha256(f"{text}\0{seen[text]}".encode()).hexdigest()[:32]


def _address(path: Path) -> str:
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
