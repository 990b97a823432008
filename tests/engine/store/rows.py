"""Rows that stand for a study and its results where neither is what a test is about."""

from __future__ import annotations

from typing import Any


def study_row(**changed: Any) -> dict[str, Any]:
    """A stable study of site `s`."""
    return {
        "id": 1,
        "site": "s",
        "study_instance_uid": "1.2",
        "state": "stable",
        "revision": 1,
        "inbound": "pacs",
        "calling_ae_title": "",
        "called_ae_title": "",
        "remote_address": "",
        "opened_at": 0,
        "last_at": 0,
        **changed,
    }


def result_row(**changed: Any) -> dict[str, Any]:
    """A final result of that study."""
    return {
        "result_id": "r1",
        "study_id": 1,
        "study_revision": 1,
        "lineage": "1/qc",
        "revision": 1,
        "status": "final",
        "shadow": False,
        "produced_at": 0,
        "document": {},
        **changed,
    }
