"""What each status of a store says of the instance."""

from __future__ import annotations

import pytest

from channels.transport import dimse_status
from channels.transport.dimse_status import Verdict, describe, verdict


@pytest.mark.parametrize(
    ("status", "expected", "words"),
    [
        (0x0000, Verdict.DELIVERED, "0000"),
        (0x0001, Verdict.WARNING, "0001"),
        (0x0107, Verdict.WARNING, "0107"),
        (0x0110, Verdict.TRY_AGAIN, "0110 (processing failure)"),
        (0x0111, Verdict.WARNING, "0111 (the peer holds this instance already)"),
        (0x0117, Verdict.REFUSED, "0117 (invalid SOP Instance UID)"),
        (0x0122, Verdict.REFUSED, "0122 (SOP class not supported)"),
        (0x0124, Verdict.REFUSED, "0124 (not authorized)"),
        (0x0211, Verdict.REFUSED, "0211 (unrecognized operation)"),
        (0xA700, Verdict.TRY_AGAIN, "A700 (out of resources)"),
        (0xA7FF, Verdict.TRY_AGAIN, "A7FF (out of resources)"),
        (0xA801, Verdict.TRY_AGAIN, "A801"),  # not of the storage service
        (0xA900, Verdict.REFUSED, "A900 (data set does not match SOP class)"),
        (0xB000, Verdict.WARNING, "B000 (coercion of data elements)"),
        (0xB0FF, Verdict.WARNING, "B0FF"),
        (0xC000, Verdict.REFUSED, "C000 (cannot understand)"),
        (0xCFFF, Verdict.REFUSED, "CFFF (cannot understand)"),
        (0xFE00, Verdict.TRY_AGAIN, "FE00"),  # cancelled: by whom?
        (0xFF00, Verdict.TRY_AGAIN, "FF00"),  # pending is no answer to C-STORE
    ],
)
def test_a_status_has_its_class_and_its_words(status: int, expected: Verdict, words: str) -> None:
    assert verdict(status) is expected
    assert describe(status) == words


def test_success_alone_is_success() -> None:
    assert [status for status in range(0x10000) if verdict(status) is Verdict.DELIVERED] == [0]


def test_only_a_peer_out_of_resources_is_spared_the_rest() -> None:
    found = [status for status in range(0x10000) if dimse_status.is_out_of_resources(status)]

    assert found == list(range(0xA700, 0xA800))
