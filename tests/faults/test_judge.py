"""The judge of the fault rig, on records made up for it: each broken promise is found and named."""

from __future__ import annotations

import pytest

from bench.faults.judge import Expected, Kept, Verdict, judge
from bench.faults.records import Acknowledged, Receipt

EXPECTED = (Expected("his", "north"), Expected("archive", "north", instances=True), Expected("ris", "south"))
TOLD = [Acknowledged("north", "1.2", f"1.2.{n}", n, f"sha-{n}", "c_store") for n in range(3)]
KEPT = Kept({one.sop_instance_uid: one.sha256 for one in TOLD})


def receipt(
    identifier: str, mask: int, status: str, *, destination: str = "his", study: str = "1.2"
) -> Receipt:
    return Receipt(destination, identifier, study, mask, status, "fair")


def instance(number: int) -> Receipt:
    return receipt(f"1.2.{number}", 1 << number, "instance", destination="archive")


ARCHIVED = [instance(n) for n in range(3)]
GOOD = [*ARCHIVED, receipt("A", 0b011, "preliminary"), receipt("B", 0b111, "final")]


def verdict(receipts: list[Receipt], kept: Kept = KEPT, told: list[Acknowledged] = TOLD) -> Verdict:
    return judge(told, receipts, EXPECTED, kept)


def test_a_run_that_kept_its_promises_offends_nobody() -> None:
    found = verdict(GOOD)
    assert found.offences == []
    assert (found.acknowledged, found.delivered, found.duplicates) == (3, 5, 0)


def test_a_repetition_under_the_same_identifier_is_counted_and_forgiven() -> None:
    found = verdict([*GOOD, GOOD[-1], ARCHIVED[0]])
    assert (found.offences, found.duplicates, found.delivered) == ([], 2, 5)


def test_an_instance_acknowledged_twice_is_one() -> None:
    assert verdict(GOOD, told=[*TOLD, TOLD[0]]).acknowledged == 3


@pytest.mark.parametrize(
    ("intact", "what"),
    [
        ({"1.2.0": "sha-0", "1.2.1": "sha-1"}, "instance 2, acknowledged by c_store, is not in the store"),
        (
            KEPT.intact | {"1.2.2": "other"},
            "instance 2, acknowledged by c_store, has other bytes in the store",
        ),
    ],
)
def test_an_acknowledged_instance_that_is_not_kept_is_lost(intact: dict[str, str], what: str) -> None:
    (offence,) = verdict(GOOD, Kept(intact)).lost
    assert str(offence) == f"study 1.2: {what}"


@pytest.mark.parametrize(
    ("receipts", "where", "what"),
    [
        pytest.param(ARCHIVED, "his", "instances 0, 1, 2 are in no result", id="no result at all"),
        pytest.param(GOOD[:-1], "his", "instances 2 are in no result", id="only the preliminary came"),
        pytest.param(GOOD[1:], "archive", "instances 0 never arrived", id="one instance was not forwarded"),
    ],
)
def test_what_did_not_reach_a_destination_is_lost(receipts: list[Receipt], where: str, what: str) -> None:
    (offence,) = verdict(receipts).lost
    assert offence.destination == where
    assert offence.what.startswith(what)


def test_another_site_is_owed_nothing() -> None:
    assert verdict(GOOD).lost == []
    south = [Acknowledged("south", "1.3", "1.3.0", 0, "s", "stow_rs")]
    (offence,) = verdict(GOOD, Kept(KEPT.intact | {"1.3.0": "s"}), TOLD + south).lost
    assert (offence.study, offence.destination) == ("1.3", "ris")


@pytest.mark.parametrize(
    "receipts",
    [
        pytest.param(
            [receipt("B", 0b111, "final"), receipt("A", 0b011, "preliminary")], id="late preliminary"
        ),
        pytest.param(
            [receipt("B", 0b011, "final"), receipt("C", 0b111, "corrected"), receipt("B", 0b011, "final")],
            id="a final again after its correction",
        ),
        pytest.param([receipt("B", 0b111, "final"), receipt("A", 0b111, "preliminary")], id="less final"),
    ],
)
def test_an_older_version_after_a_newer_is_out_of_order(receipts: list[Receipt]) -> None:
    found = verdict([*ARCHIVED, *receipts])
    assert len(found.out_of_order) == 1
    assert "came after" in found.out_of_order[0].what


def test_order_is_a_matter_of_one_destination_and_one_study() -> None:
    receipts = [
        *GOOD,
        receipt("Y", 0b001, "preliminary", destination="ris"),
        receipt("Z", 0b001, "preliminary", study="1.4"),
    ]
    assert verdict(receipts).out_of_order == []


def test_the_same_content_under_another_identifier_cannot_be_recognised() -> None:
    found = verdict([*GOOD, receipt("B2", 0b111, "final")])
    assert (found.duplicates, [one.destination for one in found.unrecognised]) == (1, ["his"])


def test_one_identifier_for_two_contents_cannot_be_recognised() -> None:
    found = verdict([*ARCHIVED, receipt("A", 0b011, "preliminary"), receipt("A", 0b111, "final")])
    assert [one.what for one in found.unrecognised] == ["A came with two contents"]


def test_what_the_store_has_not_finished_is_stuck() -> None:
    found = verdict(GOOD, Kept(KEPT.intact, ["1 deliveries are queued"]))
    assert [str(one) for one in found.stuck] == ["1 deliveries are queued"]
    assert found.offences == found.stuck
