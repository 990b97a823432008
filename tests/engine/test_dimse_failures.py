"""What a storescp that misbehaves leaves on the attempt: outcome, code and reason, as people read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.house import House, Outcome
from tests.peers.dcmtk import Storescp

pytestmark = pytest.mark.peers

# --abort-during ends while the data set comes, --abort-after when it is all there: either way nobody
# knows what was kept, so a correction must count it as possibly there
# a reset of the connection may overtake the A-ABORT that was sent before it
ABORTED = ("aborted", "closed")

CASES = [
    # options, patience, outcome, code, words
    (("--refuse",), "10s", "refused", "rejected 1/", "rejects the association"),
    (("--abort-during",), "10s", "unknown", ABORTED, "PEER at 127.0.0.1"),
    (("--abort-after",), "10s", "unknown", ABORTED, "PEER at 127.0.0.1"),
    (("--sleep-during", "30"), "1s", "unknown", "timeout", "then none for 1 s"),
    (("--sleep-after", "30"), "1s", "unknown", "timeout", "then none for 1 s"),
]


async def delivered_to(folder: Path, port: int, patience: str) -> Outcome:
    block = {"type": "dicom_forward", "host": "127.0.0.1", "port": port, "ae_title": "PEER"}
    retry = {"first": "100ms", "cap": "100ms", "give_up_after": "300ms"}
    house = House(folder, {**block, "retry": retry}, patience)
    try:
        return await house.deliver()
    finally:
        house.close()


@pytest.mark.parametrize(
    ("options", "patience", "outcome", "code", "words"), CASES, ids=[case[0][0] for case in CASES]
)
async def test_each_failure_is_kept_with_its_outcome_code_and_reason(
    storescp: Callable[..., Storescp],
    tmp_path: Path,
    options: tuple[str, ...],
    patience: str,
    outcome: str,
    code: str | tuple[str, ...],
    words: str,
) -> None:
    peer = storescp("PEER", options=options)

    seen = await delivered_to(tmp_path, peer.port, patience)

    assert seen.state == "dead"
    assert {each.outcome for each in seen.attempts} == {outcome}
    assert all(each.code.startswith(code) for each in seen.attempts)
    assert all(words in each.detail for each in seen.attempts)
    assert words in seen.reason


async def test_a_refused_connection_is_known_to_have_brought_nothing(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    seen = await delivered_to(tmp_path, free_port(), "10s")

    assert seen.state == "dead"
    assert {(each.outcome, each.code) for each in seen.attempts} == {("again", "connection")}
