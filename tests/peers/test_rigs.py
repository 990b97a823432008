"""The rigs themselves: each peer really does what the end-to-end tests trust it to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hl7.mllp import open_hl7_connection
from standardwebhooks import Webhook

from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.fhir import FhirServer
from tests.peers.judges import dciodvfy_errors
from tests.peers.mllp import MllpServer
from tests.peers.orthanc import Orthanc
from tests.peers.part10 import data_set_bytes
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers

ORU = (
    "MSH|^~\\&|PONS|AI|HIS|STM|20260101120000+0000||ORU^R01^ORU_R01|42|P|2.5.1|||||||UNICODE UTF-8\r"
    "PID|1||7^^^STM^MR||Ünal^Ayşe\r"
    "OBR|1|||QC^quality control^99PONS\r"
    "OBX|1|ST|1^x^99PONS||µ"
)


def test_the_real_study_has_one_study_of_260_instances(real_study: Path) -> None:
    assert len(list(real_study.glob("*.dcm"))) == 260


def test_storescu_reports_every_response_and_storescp_keeps_the_data_sets_bit_for_bit(
    storescp: Callable[..., Storescp], real_study_of_dcmtk: Path
) -> None:
    peer = storescp("PEER")
    sources = sorted(real_study_of_dcmtk.glob("*.dcm"))[:5]

    sent = dcmtk.storescu(peer.port, sources, called="PEER")

    assert sent.exit_status == 0
    assert sent.acknowledged == [path.name for path in sources]
    received = {data_set_bytes(path.read_bytes()) for path in peer.wait_for_files(5)}
    assert received == {data_set_bytes(path.read_bytes()) for path in sources}


def test_a_storescp_told_to_refuse_lets_nobody_in(
    storescp: Callable[..., Storescp], real_study: Path
) -> None:
    peer = storescp("PEER", options=("--refuse",))

    sent = dcmtk.storescu(peer.port, sorted(real_study.glob("*.dcm"))[:1], called="PEER")

    assert sent.exit_status != 0
    assert sent.acknowledged == []
    assert peer.files == []


def test_dcmsend_and_echoscu_reach_a_storescp(storescp: Callable[..., Storescp], real_study: Path) -> None:
    peer = storescp("PEER")

    assert dcmtk.echoscu(peer.port, called="PEER").exit_status == 0
    assert dcmtk.dcmsend(peer.port, sorted(real_study.glob("*.dcm"))[:3], called="PEER").exit_status == 0
    assert len(peer.wait_for_files(3)) == 3


def test_orthanc_stores_to_a_modality_and_posts_to_a_dicomweb_server(
    orthanc: Callable[..., Orthanc], storescp: Callable[..., Storescp], real_study_of_dcmtk: Path
) -> None:
    modality = storescp("PEER")
    receiver = orthanc("RECEIVER")
    sender = orthanc(
        "SENDER",
        modalities={"peer": ("PEER", modality.port)},
        dicomweb_servers={"receiver": receiver.dicomweb_url},
    )
    source = min(real_study_of_dcmtk.glob("*.dcm"))

    [instance] = sender.upload([source])
    assert sender.echo("peer")
    assert sender.store("peer", [instance])["State"] == "Success"
    assert sender.stow("receiver", [instance])["State"] == "Success"

    expected = data_set_bytes(source.read_bytes())
    assert [data_set_bytes(path.read_bytes()) for path in modality.wait_for_files(1)] == [expected]
    receiver.wait_for_instances(1)
    assert [data_set_bytes(file) for file in receiver.files()] == [expected]


async def test_the_mllp_receiver_files_a_message_and_answers_as_told(
    hl7_mllp_server: Callable[..., MllpServer],
) -> None:
    peer = hl7_mllp_server(("AE",))

    codes = []
    reader, writer = await open_hl7_connection("127.0.0.1", peer.port, encoding="utf-8")
    for _ in range(2):
        writer.writeblock(ORU.encode())
        async with asyncio.timeout(10):
            answer = await reader.readmessage()
        codes.append((str(answer["MSA.F1"]), str(answer["MSA.F2"])))
    writer.close()
    await writer.wait_closed()

    assert codes == [("AE", "42"), ("AA", "42")]
    assert peer.received == [ORU.encode()] * 2
    assert str(peer.messages[0].segment("OBX")[5]) == "µ"


def test_the_fhir_server_creates_once_updates_in_place_and_refuses_what_is_invalid(
    fhir_server: Callable[..., FhirServer],
) -> None:
    peer = fhir_server()
    once = {"If-None-Exist": "identifier=urn:oid:1.2|7"}
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2", "value": "7"}]}
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": "urn:x", "value": "r1"}],
        "status": "final",
        "code": {"text": "quality control"},
    }

    statuses = [peer.post("/Patient", patient, once).status_code for _ in range(2)]
    url = "/fhir/DiagnosticReport?identifier=urn:x|r1"
    for status in ("final", "corrected"):
        answer = peer.client.put(
            url, json={**report, "status": status}, headers={"Content-Type": "application/fhir+json"}
        )
        statuses.append(answer.status_code)
    statuses.append(peer.post("/DiagnosticReport", {**report, "code": None, "status": 3}).status_code)

    assert statuses == [201, 200, 201, 200, 422]
    assert [held["status"] for held in peer.resources("DiagnosticReport")] == ["corrected"]


def test_a_transaction_resolves_its_references_and_leaves_nothing_when_one_entry_is_invalid(
    fhir_server: Callable[..., FhirServer],
) -> None:
    peer = fhir_server()
    urn = "urn:uuid:6b1d2a3e-0000-4000-8000-000000000001"

    def bundle(status: str) -> dict[str, object]:
        observation = {
            "resourceType": "Observation",
            "code": {"text": "x"},
            "subject": {"reference": urn},
            **({"status": status} if status else {}),
        }
        return {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": urn,
                    "resource": {
                        "resourceType": "Patient",
                        "identifier": [{"system": "urn:x", "value": "1"}],
                    },
                    "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:x|1"},
                },
                {"resource": observation, "request": {"method": "POST", "url": "Observation"}},
            ],
        }

    assert peer.post("", bundle("")).status_code == 422
    assert peer.resources("Patient") == []

    peer.answer_next([503])
    assert [peer.post("", bundle("final")).status_code for _ in range(2)] == [503, 200]
    [patient] = peer.resources("Patient")
    [observation] = peer.resources("Observation")
    assert observation["subject"]["reference"] == f"Patient/{patient['id']}"
    assert len(peer.requests()) == 3


@pytest.mark.parametrize(
    ("tamper", "status"),
    [(b"", 503), (b" ", 401)],  # a signed body reaches the told answer; a body changed after signing does not
)
def test_the_webhook_receiver_believes_only_what_verifies(
    webhook_receiver: Callable[..., WebhookReceiver], tamper: bytes, status: int
) -> None:
    peer = webhook_receiver((503,))
    body = json.dumps({"type": "result.final"})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(peer.secret).sign("msg_1", now, body),
    }

    first = httpx.post(peer.url, content=body.encode() + tamper, headers=headers, trust_env=False)
    second = httpx.post(peer.url, content=body, headers=headers, trust_env=False)

    assert first.status_code == status
    assert second.status_code == (204 if status == 503 else 503)
    assert [call.event["type"] for call in peer.accepted] == (["result.final"] if status == 503 else [])
    assert [peer.verifies_in_node(call) for call in peer.calls] == [status == 503, True]


def test_dciodvfy_finds_the_error_of_a_truncated_image(real_study: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(min(real_study.glob("*.dcm")).read_bytes()[:3000])

    assert any("PixelData" in line for line in dciodvfy_errors(broken))
