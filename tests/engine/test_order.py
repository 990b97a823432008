"""What keeps its order: one study, one patient, one result, or everything; no patient data in a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.model import StoredInstance, Study
from engine.order import order_key


def study(uid: str = "1.2.3", *files: Path, site: str = "st-marys") -> Study:
    stored = tuple(StoredInstance("1", f"2.{n}", "3", "4", path, "") for n, path in enumerate(files))
    return Study(site, uid, 1, "pacs", "", "", datetime(2026, 1, 2, tzinfo=UTC), (), stored)


def document(number: str, *, oid: str = "", namespace: str = "") -> dict[str, object]:
    return {"patient": {"patient_id": number, "issuer": {"oid": oid, "namespace": namespace}}}


def test_a_study_keeps_its_order_unless_something_else_is_asked_for() -> None:
    assert order_key("study", study(), "9/qc/a", None) == "st-marys/1.2.3"


def test_versions_of_one_result_share_a_lane_and_others_do_not() -> None:
    assert order_key("result", study(), "9/qc/a", None) == order_key(
        "result", study(), "9/qc/a", document("P")
    )
    assert order_key("result", study(), "9/qc/b", None) != order_key("result", study(), "9/qc/a", None)


def test_one_lane_for_everything() -> None:
    assert order_key("destination", study("1"), "a", None) == order_key("destination", study("2"), "b", None)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (("st-marys", document("P-1", oid="1.9")), True),
        (("st-marys", document("P-2", oid="1.9")), False),
        (("st-marys", document("P-1", oid="1.8")), False),  # the same number, another issuer
        (("city", document("P-1", oid="1.9")), False),
    ],
)
def test_results_of_one_patient_share_a_lane(other: tuple[str, dict[str, object]], is_same: bool) -> None:
    site, of = other
    one = order_key("patient", study("1"), "a", document("P-1", oid="1.9"))

    assert (order_key("patient", study("2", site=site), "b", of) == one) is is_same
    assert "P-1" not in one


def test_studies_of_one_patient_share_a_lane(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    keys = []
    for name, number in (("a", "P-1"), ("b", "P-1"), ("c", "P-2"), ("d", "")):
        path = tmp_path / name
        path.write_bytes(instance(study=name, PatientID=number))
        keys.append(order_key("patient", study(name, path), "x", None))

    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == "st-marys/d", "who has no number keeps the study's own order"
    assert not [key for key in keys if "P-" in key]


def test_a_study_whose_files_are_gone_keeps_its_own_order(tmp_path: Path) -> None:
    gone = replace(study("a", tmp_path / "gone"))

    assert order_key("patient", gone, "x", None) == "st-marys/a"
    assert order_key("patient", study("a"), "x", document(" ")) == "st-marys/a"
