"""ORU messages: what the table says is in them, and another implementation takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hl7
import pytest
import yaml
from pydantic import ValidationError

from channels.outbound.hl7_oru import Settings
from engine.config import examine
from engine.errors import Refused, TryAgain
from engine.model import Delivery, DeliveryId, History, PersonName, Result
from tests.docs.blocks import completed
from tests.peers.mllp import MllpServer

PEER = {"host": "127.0.0.1", "port": 2575}


def header(payload: Any) -> list[str]:
    """The fields of MSH, numbered as HL7 does: MSH-1 is the separator."""
    return ["", "|", *payload.parts[0].read().decode("latin-1").split("\r")[0].split("|")[1:]]


def test_the_table_fills_the_header(make: Callable[..., Any], result: Result, history: History) -> None:
    channel = make(
        "hl7_oru",
        **PEER,
        version="2.4",
        sending_application="AI",
        sending_facility="VENDOR",
        receiving_application="RIS",
        receiving_facility="STM",
        processing_id="T",
        charset="8859/1",
    )

    payload = channel.render(result, history)
    msh = header(payload)

    assert msh[3:7] == ["AI", "VENDOR", "RIS", "STM"]
    assert (msh[11], msh[12], msh[18]) == ("T", "2.4", "8859/1")
    assert msh[10] == payload.parts[0].identifier


def test_what_the_table_leaves_out_is_named_after_us_and_the_site(
    make: Callable[..., Any], result: Result, history: History
) -> None:
    msh = header(make("hl7_oru", **PEER).render(result, history))

    assert (msh[3], msh[6]) == ("PONS", "st-marys")
    assert (msh[11], msh[12], msh[18]) == ("P", "2.5.1", "UNICODE UTF-8")


@pytest.mark.parametrize("field", ["OBR-18", "OBR-20", "OBR-3", "ORC-3"])
def test_the_accession_number_stands_where_the_receiver_looks(
    make: Callable[..., Any], result: Result, history: History, field: str
) -> None:
    payload = make("hl7_oru", **PEER, accession_field=field).render(result, history)
    name, number = field.split("-")
    rows = [row.split("|") for row in payload.parts[0].read().decode().split("\r")]
    [row] = [row for row in rows if row[0] == name][:1]

    assert row[int(number)].startswith("ACC-99")


def test_the_pdf_travels_only_when_it_is_wanted(
    make: Callable[..., Any], result: Result, history: History
) -> None:
    without, with_pdf = (
        make("hl7_oru", **PEER, include_pdf=wanted).render(result, history).parts[0].read()
        for wanted in (False, True)
    )

    assert b"|ED|" not in without
    assert b"|ED|" in with_pdf


def test_the_message_control_id_is_the_deliverys(
    make: Callable[..., Any], result: Result, history: History
) -> None:
    channel = make("hl7_oru", **PEER)
    other = History(DeliveryId("another"), history.rendered_at)

    ids = [channel.render(result, each).parts[0].identifier for each in (history, history, other)]

    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) <= 20  # MSH-10 in v2.3.1 to v2.5.1


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"port": 0}, "greater than or equal to 1"),
        ({"host": "his example"}, "match pattern"),
        ({"host": "http://his.example"}, "match pattern"),
        ({"version": "2.9"}, "2.5.1"),
        ({"charset": "UTF-8"}, "UNICODE UTF-8"),
        ({"accession_field": "OBR-4"}, "OBR-18"),
        ({"receiving_application": "RIS|X"}, "match pattern"),  # would add a field
        ({"receiving_application": "RIS\rX"}, "match pattern"),  # would add a segment
        ({"charset": "ISO IR88"}, "ISO IR87"),
        ({"segments": ["ZDS"]}, "PV1"),
        ({"segments": ["NTE", "NTE"]}, "a segment is named once"),
        ({"segments": ["NTE"], "accession_field": "ORC-3"}, "ORC cannot be left out"),
        ({"segments": ["NTE"], "set": {"ORC-9": "x"}}, "`segments` leaves ORC out"),
        ({"set": {"OBR-18": "{order.accesion}"}}, "did you mean {order.accession_number}"),
        ({"set": {"MSH-10": "1"}}, "MSH-10 cannot be set"),
        ({"version": "2.3.1", "set": {"OBR-46": "x"}}, "OBR of version 2.3.1 ends with OBR-45"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"site": "st-marys", **PEER, **block})

    assert words in str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"OBR-18": "{order.accesion}"}, "did you mean {order.accession_number}"),
        ({"OBR18": "x"}, "write SEGMENT-FIELD or SEGMENT-FIELD.COMPONENT"),
        ({"MSH-10": "x"}, "the acknowledgement is known by it"),
        ({"OBR-18": 5}, "must be text"),
    ],
)
def test_a_table_with_a_field_that_cannot_be_set_is_found_by_its_check(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    ris = {"type": "hl7_oru", "site": "st-marys", **PEER, "set": fields}
    path = tmp_path / "routes.yaml"
    path.write_text(yaml.safe_dump(completed({"outbound": {"ris": ris}}), sort_keys=False))
    table, findings = examine(path, surroundings=False)
    assert table is None
    [told] = [str(one) for one in findings if "outbound.ris.set" in str(one)]
    assert words in told


def names(payload: Any) -> list[str]:
    return [row.split(b"|")[0].decode() for row in payload.parts[0].read().split(b"\r")[:-1]]


@pytest.mark.parametrize(
    ("segments", "first"),
    [
        (["ORC", "NTE"], ["MSH", "PID", "ORC", "OBR"]),
        (["ORC", "PV1"], ["MSH", "PID", "PV1", "ORC", "OBR"]),
        ([], ["MSH", "PID", "OBR", "OBX"]),
    ],
)
def test_a_receiver_gets_the_segments_it_takes(
    make: Callable[..., Any], result: Result, history: History, segments: list[str], first: list[str]
) -> None:
    payload = make("hl7_oru", **PEER, segments=segments).render(result, history)
    assert names(payload)[:4] == first[:4]
    assert ("NTE" in names(payload)) <= ("NTE" in segments)
    if "PV1" in segments:
        assert b"\rPV1||O\r" in payload.parts[0].read()


def test_without_notes_a_comment_travels_as_an_observation(
    make: Callable[..., Any], result: Result, history: History
) -> None:
    finding = result.report.findings[0].model_copy(update={"comment": "seen twice\nlook | again"})
    report = result.report.model_copy(update={"findings": (finding,)})
    commented = result.model_copy(update={"report": report})
    rows = [
        make("hl7_oru", **PEER, segments=segments).render(commented, history).parts[0].read().split(b"\r")
        for segments in (["NTE"], [])
    ]
    assert [row for row in rows[0] if row.startswith(b"NTE|")][-1] == b"NTE|1|L|seen twice~look \\F\\ again"
    [comment] = [row.split(b"|") for row in rows[1] if b"|48767-8^" in row]
    assert (comment[2], comment[5]) == (b"TX", b"seen twice~look \\F\\ again")


def test_the_table_sets_fields_by_itself(make: Callable[..., Any], result: Result, history: History) -> None:
    fields = {"MSH-6.2": "1.2.3", "MSH-6": "HIS|1", "OBR-19": "{order.accession_number}"}
    payload = make("hl7_oru", **PEER, set=fields).render(result, history)
    assert header(payload)[6] == "HIS\\F\\1^1.2.3"  # the field first, then its component
    [row] = [row.split(b"|") for row in payload.parts[0].read().split(b"\r") if row.startswith(b"OBR|")]
    assert row[19] == result.order.accession_number.encode()


@pytest.mark.peers
async def test_python_hl7_receives_japanese_in_iso_2022(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    hl7_mllp_server: Callable[..., MllpServer],
) -> None:
    name = PersonName.parse("Yamada^Tarou=山田^淫緯")  # second bytes that are | and ^
    patient = result.patient.model_copy(update={"name": name})
    peer = hl7_mllp_server(("AA",))
    channel = make("hl7_oru", host="127.0.0.1", port=peer.port, charset="ISO IR87")
    payload = channel.render(result.model_copy(update={"patient": patient}), history)
    assert (await channel.deliver(payload, delivery)).code == "AA"

    [received] = peer.received
    assert received == payload.parts[0].read()
    message = hl7.parse(received.decode("iso2022_jp"))
    assert str(message["PID.F5.R2.C2"]) == "淫緯"


@pytest.mark.peers
async def test_python_hl7_receives_a_busy_receivers_message_again_unchanged(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    hl7_mllp_server: Callable[..., MllpServer],
) -> None:
    peer = hl7_mllp_server(("AE", "close", "AA"))
    channel = make("hl7_oru", host="127.0.0.1", port=peer.port, include_pdf=True)
    payload = channel.render(result, history)

    await channel.probe()
    for code in ("AE", "closed"):
        with pytest.raises(TryAgain) as caught:
            await channel.deliver(payload, delivery)
        assert caught.value.code == code
    answer = await channel.deliver(payload, delivery)

    assert answer.code == "AA"
    assert peer.received == [payload.parts[0].read()] * 3
    message = peer.messages[-1]
    assert str(message["PID.F5.R1.C1"]) == "Murphy"
    assert str(message["PID.F5.R1.C2"]) == "Síle"
    assert [str(segment[5]) for segment in message.segments("OBX") if str(segment[2]) == "NM"] == ["23.50"]


@pytest.mark.peers
async def test_python_hl7_rejecting_a_message_refuses_it(
    make: Callable[..., Any],
    result: Result,
    history: History,
    delivery: Delivery,
    hl7_mllp_server: Callable[..., MllpServer],
) -> None:
    peer = hl7_mllp_server(("AR",))
    channel = make("hl7_oru", host="127.0.0.1", port=peer.port)

    with pytest.raises(Refused) as caught:
        await channel.deliver(channel.render(result, history), delivery)

    assert caught.value.code == "AR"
