"""One rig for every installed way out: a peer on a real socket that plays a script.

A script says how each attempt is treated, in order: *take*, *busy* (a transient failure), *refuse*
(a permanent one), *stall* (received, never answered), *close* (the connection ends in the middle).
After the script everything is taken.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server
from pydicom import dcmread
from standardwebhooks import Webhook
from starlette.responses import JSONResponse, Response

from tests.contract.peer import Peer
from tests.contract.scp import Scp, serving
from tests.contract.sftp import sftp_push
from tests.contract.web import CLOSE, STALL, Seen, receiving

Rig = Callable[[Sequence[str], Path], AbstractAsyncContextManager[Peer]]


def _dicom(kind: str) -> Rig:
    @asynccontextmanager
    async def rig(script: Sequence[str], folder: Path) -> AsyncIterator[Peer]:
        with serving(Scp(script=script)) as scp:
            yield Peer(
                {"type": kind, "host": "127.0.0.1", "port": scp.port, "ae_title": "PEER"},
                lambda: [each.sop_instance_uid for each in scp.requests],
                lambda: [each.sop_instance_uid for each in scp.stored],
            )

    return rig


@asynccontextmanager
async def _hl7_oru(script: Sequence[str], folder: Path) -> AsyncIterator[Peer]:
    """python-hl7 frames, parses and acknowledges."""
    left, attempted, accepted = list(script), list[str](), list[str]()
    codes = {"take": "AA", "busy": "AE", "refuse": "AR"}
    connections: set[asyncio.Task[None]] = set()

    async def converse(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            message = await reader.readmessage()
            treatment = left.pop(0) if left else "take"
            attempted.append(str(message["MSH.F10"]))
            if treatment == "stall":
                await asyncio.sleep(60)
            if treatment == "close":
                writer.write(b"\x0bMSH|^~\\&|HIS")
                return
            if treatment == "take":
                accepted.append(str(message["MSH.F10"]))
            writer.writemessage(message.create_ack(codes[treatment]))
            await writer.drain()
        finally:
            writer.close()

    def connected(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(converse(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await start_hl7_server(connected, "127.0.0.1", 0, limit=1 << 24, encoding="utf-8")
    try:
        port = server.sockets[0].getsockname()[1]
        block = {"type": "hl7_oru", "host": "127.0.0.1", "port": port}
        yield Peer(block, lambda: list(attempted), lambda: list(accepted))
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


@dataclass
class _Web:
    """Plays a script over HTTP; ``identify`` names what a request holds, ``take`` answers it."""

    script: list[str]
    identify: Callable[[Seen], list[str]]
    take: Callable[[Seen], Response]
    refuse: Response
    attempted: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def __call__(self, seen: Seen) -> Response:
        if seen.method != "POST":  # a probe, or the question for an earlier attempt
            return JSONResponse({"resourceType": "Bundle", "total": 0})
        found = self.identify(seen)
        self.attempted += found
        match self.script.pop(0) if self.script else "take":
            case "busy":
                return Response(status_code=503, headers={"Retry-After": "0"})
            case "refuse":
                return self.refuse
            case "stall":
                return STALL
            case "close":
                return CLOSE
        self.accepted += found
        return self.take(seen)


def _web(
    identify: Callable[[Seen], list[str]], take: Callable[[Seen], Response], refuse: Response, **block: Any
) -> Rig:
    @asynccontextmanager
    async def rig(script: Sequence[str], folder: Path) -> AsyncIterator[Peer]:
        web = _Web(list(script), identify, take, refuse)
        with receiving(web) as peer:
            yield Peer(
                {"url": f"{peer.url}/base", **block}, lambda: list(web.attempted), lambda: list(web.accepted)
            )

    return rig


def _stored_uids(seen: Seen) -> list[str]:
    assert seen.path == "/base/studies"
    return [str(dcmread(BytesIO(part)).SOPInstanceUID) for part in seen.parts()]


def _stored(seen: Seen) -> Response:
    items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in _stored_uids(seen)]
    return JSONResponse({"00081199": {"vr": "SQ", "Value": items}}, media_type="application/dicom+json")


def _fhir_identifier(seen: Seen) -> list[str]:
    assert seen.headers["content-type"] == "application/fhir+json"
    resource = json.loads(seen.body)
    if resource["resourceType"] == "Bundle":
        assert seen.path == "/base"
        resources = [entry["resource"] for entry in resource["entry"]]
        [resource] = [each for each in resources if each["resourceType"] == "DiagnosticReport"]
    return [resource["identifier"][0]["value"]]


def _fhir_taken(seen: Seen) -> Response:
    entries = json.loads(seen.body).get("entry", [])
    answers = [{"response": {"status": "201 Created"}} for _ in entries]
    return JSONResponse({"resourceType": "Bundle", "type": "transaction-response", "entry": answers})


_OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invariant"}]}


@asynccontextmanager
async def _webhook(script: Sequence[str], folder: Path) -> AsyncIterator[Peer]:
    """The `standardwebhooks` library verifies every attempt."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    (folder / "hook.secret").write_text(secret + "\n")
    verifier = Webhook(secret)

    def identify(seen: Seen) -> list[str]:
        event = verifier.verify(seen.body, dict(seen.headers))
        assert event["id"] == seen.headers["webhook-id"]
        return [seen.headers["webhook-id"]]

    made = _web(identify, lambda _: Response(status_code=204), Response(status_code=410))
    async with made(script, folder) as peer:
        peer.block |= {"type": "webhook", "secret": {"file": "hook.secret"}}
        yield peer


RIGS: dict[str, Rig] = {
    "dicom_forward": _dicom("dicom_forward"),
    "dicom_objects": _dicom("dicom_objects"),
    "dicom_pdf": _dicom("dicom_pdf"),
    "dicom_sc": _dicom("dicom_sc"),
    "dicom_sr": _dicom("dicom_sr"),
    "fhir_diagnostic_report": _web(
        _fhir_identifier, _fhir_taken, JSONResponse(_OUTCOME, 422), type="fhir_diagnostic_report"
    ),
    "hl7_oru": _hl7_oru,
    "sftp_push": sftp_push,
    "stow_forward": _web(_stored_uids, _stored, Response(status_code=400), type="stow_forward"),
    "webhook": _webhook,
}

KEPT = ("rest",)
"""Ways out without a peer: the engine keeps what it is given, and is asked for it (`test_kept.py`)."""

FILED = ("sftp",)
"""Ways out into a folder of a way in of this engine (`tests/channels/outbound/test_sftp.py`)."""
