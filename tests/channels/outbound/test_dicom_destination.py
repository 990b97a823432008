"""What every DIMSE destination does with its fields, and how DCMTK's storescp sees it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from channels.outbound.dicom_destination import DicomSettings
from engine.errors import Refused, TryAgain
from engine.model import Delivery, History, Result
from tests.contract.scp import Scp, serving
from tests.peers.dcmtk import Storescp
from tests.peers.part10 import data_set_bytes

REPORTS = ["dicom_pdf", "dicom_sc", "dicom_sr"]
BLOCK = {"site": "st-marys", "host": "10.90.7.2", "port": 104, "ae_title": "STM_PACS"}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"ae_title": "MORE THAN SIXTEEN"}, "1 to 16"),
        ({"ae_title": "  "}, "1 to 16"),
        ({"ae_title": "A\\B"}, "no backslash"),
        ({"calling_ae_title": "PÖNS"}, "ASCII"),
        ({"port": 70000}, "less than or equal to 65535"),
        ({"host": ""}, "match pattern"),
        ({"host": "stm pacs"}, "match pattern"),
        ({"timeout": 30}, "needs a unit"),
        ({"aet": "STM_PACS"}, "not permitted"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DicomSettings.model_validate({**BLOCK, **block})

    assert words in str(caught.value.errors()[0]["msg"])


def test_we_call_ourselves_pons_unless_told_otherwise() -> None:
    assert DicomSettings.model_validate(BLOCK).calling_ae_title == "PONS"


async def test_tls_is_used_and_the_certificate_checked(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    certificate: tuple[Path, Path],
) -> None:
    chain, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    with serving(Scp(tls=context)) as scp:
        block = {"host": "127.0.0.1", "port": scp.port, "ae_title": "PEER"}
        trusting = make("dicom_sr", **block, tls={"ca": {"file": str(chain)}})
        payload = trusting.render(result, history)
        await trusting.probe()
        answer = await trusting.deliver(payload, delivery)
        with pytest.raises(TryAgain) as caught:
            await make("dicom_sr", **block, tls={}).deliver(payload, delivery)

    assert answer.code == "0000"
    assert caught.value.code == "tls"
    assert [each.sop_instance_uid for each in scp.stored] == [payload.parts[0].identifier]


@pytest.mark.peers
@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("options", [(), ("-v", "--prefer-little", "--max-pdu", "4096")])
async def test_storescp_keeps_what_was_rendered_bit_for_bit(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
    kind: str,
    options: tuple[str, ...],
) -> None:
    peer = storescp("PEER", options=options)
    channel = make(kind, host="127.0.0.1", port=peer.port, ae_title="PEER")
    payload = channel.render(result, history)

    await channel.probe()
    answer = await channel.deliver(payload, delivery)
    again = await channel.deliver(payload, delivery)

    files = peer.wait_for_files(len(payload.parts))
    assert (answer.code, again.code) == ("0000", "0000")
    assert len(files) == len(payload.parts)
    kept = sorted(data_set_bytes(path.read_bytes()) for path in files)
    assert kept == sorted(data_set_bytes(part.read()) for part in payload.parts)


@pytest.mark.peers
@pytest.mark.parametrize("kind", REPORTS)
async def test_storescp_that_takes_implicit_vr_alone_is_served(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
    kind: str,
) -> None:
    peer = storescp("PEER", options=("+xi",))
    channel = make(kind, host="127.0.0.1", port=peer.port, ae_title="PEER")
    payload = channel.render(result, history)

    answer = await channel.deliver(payload, delivery)

    assert answer.code == "0000"
    assert len(peer.wait_for_files(len(payload.parts))) == len(payload.parts)


@pytest.mark.peers
async def test_storescp_refusing_associations_refuses_the_delivery(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
) -> None:
    peer = storescp("PEER", options=("--refuse",))
    channel = make("dicom_sr", host="127.0.0.1", port=peer.port, ae_title="PEER")

    with pytest.raises(Refused, match="rejects the association"):
        await channel.deliver(channel.render(result, history), delivery)


@pytest.mark.peers
@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
async def test_storescp_aborting_is_tried_again_and_nothing_is_claimed(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
    option: str,
) -> None:
    peer = storescp("PEER", options=(option,))
    channel = make("dicom_pdf", host="127.0.0.1", port=peer.port, ae_title="PEER")

    with pytest.raises(TryAgain) as caught:
        await channel.deliver(channel.render(result, history), delivery)

    assert caught.value.code in ("aborted", "closed")


@pytest.mark.peers
async def test_storescp_sleeping_costs_the_timeout(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    storescp: Callable[..., Storescp],
) -> None:
    peer = storescp("PEER", options=("--sleep-during", "20"))
    channel = make("dicom_sc", host="127.0.0.1", port=peer.port, ae_title="PEER", timeout="1s")
    payload = channel.render(result, history)

    started = time.monotonic()
    with pytest.raises(TryAgain) as caught:
        await channel.deliver(payload, delivery)

    assert caught.value.code == "timeout"
    assert time.monotonic() - started < 10
