"""A peer is asked what it takes, and answers for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from channels.transport.inquiry import IMAGES, SYNTAXES, not_taken
from channels.transport.reencoding import Encoding
from channels.transport.upper_layer import MAX_CONTEXTS, Peer
from engine.errors import Refused, TryAgain
from tests.peers.dcmtk import Storescp


def asking(port: int, timeout: float = 30.0) -> Peer:
    return Peer(
        host="127.0.0.1", port=port, ae_title="STORESCP", calling_ae_title="PONS", tls=None, timeout=timeout
    )


def test_one_association_has_a_context_for_each_question() -> None:
    assert len(IMAGES) * len(SYNTAXES) <= MAX_CONTEXTS


@pytest.mark.peers
async def test_a_peer_that_takes_everything_leaves_nothing_to_tell(storescp: Callable[..., Storescp]) -> None:
    assert await not_taken(asking(storescp(options=("+xa",)).port), Encoding.AS_FILED) == []


@pytest.mark.peers
async def test_a_peer_that_takes_no_compressed_images_is_told_with_the_consequence(
    storescp: Callable[..., Storescp], tmp_path: Path
) -> None:
    scp = storescp(options=("+x=",))
    told = await not_taken(asking(scp.port), Encoding.AS_FILED)
    assert told == [
        f"takes nothing in {name}: studies that come so are refused there, for they are not encoded anew"
        for uid, name in SYNTAXES.items()
        if uid not in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    ]


@pytest.mark.peers
async def test_what_may_be_sent_uncompressed_is_not_told(storescp: Callable[..., Storescp]) -> None:
    told = await not_taken(asking(storescp(options=("+x=",)).port), Encoding.LOSSLESS)
    assert [one.partition(":")[0] for one in told] == [
        "takes nothing in JPEG baseline",
        "takes nothing in JPEG 2000",
    ]


@pytest.mark.peers
async def test_a_peer_that_rejects_us_is_no_answer(storescp: Callable[..., Storescp]) -> None:
    with pytest.raises((Refused, TryAgain)):
        await not_taken(asking(storescp(options=("--refuse",)).port), Encoding.AS_FILED)
