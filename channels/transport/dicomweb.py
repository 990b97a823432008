"""Store instances by STOW-RS (PS3.18 10.5) and read what became of each of them.

Enter: an endpoint and parts, each a DICOM file in memory or on disk. Leave: an acknowledgement
when every instance is stored, or TryAgain or Refused as the statuses and failure reasons say.
The files are streamed as they are, byte for byte, in requests of bounded size.

dicomweb-client is not used to send: it builds the whole request in memory three times over,
writes each data set anew (group lengths are lost), has one boundary for all requests, and reads
no failures from a response whose media type has a parameter (docs/decisions/stow-without-copies.md).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from channels.transport import dimse_status
from channels.transport.dimse_status import Verdict
from channels.transport.http import Answer, Endpoint, failure, request
from channels.transport.instance_file import InstanceFile
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Part

_MOST_INSTANCES, _MOST_BYTES = 100, 64 << 20  # of one request; a single larger instance goes alone

_REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE = "00081199", "00081198"
_REFERENCED_SOP_INSTANCE_UID, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"

# A UID that names nothing: asking for it shows life and returns nobody's data.
_NO_STUDY = "2.25.0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a response says: instances stored (None: it does not say), warned of and failed."""

    status: int
    stored: frozenset[str] | None
    warnings: dict[str, int]
    failures: dict[str, int]


async def store(
    endpoint: Endpoint, parts: Sequence[Part], *, headers: dict[str, str] | None = None
) -> Acknowledgement:
    """Store every part; requests follow each other, each after the answer to the one before.

    Raises:
        TryAgain: no answer, 429 or 5xx, a transient failure reason, or an instance unaccounted for.
        Refused: 400 and other 4xx, or a permanent failure reason.
    """
    if not parts:
        raise Refused("there is no instance to send", code="empty")
    warnings: dict[str, int] = {}
    failures: dict[str, int] = {}
    done, code = 0, "200"
    try:
        async with asyncio.timeout(endpoint.timeout) as limit:
            files = await asyncio.to_thread(lambda: [InstanceFile.of(part) for part in parts])
            for batch in batches(files):
                outcome = await post(endpoint, batch, headers or {})
                limit.reschedule(asyncio.get_running_loop().time() + endpoint.timeout)
                warnings |= outcome.warnings
                for uid, reason in outcome.failures.items():
                    # 0111 is how some servers acknowledge a repetition.
                    kept = dimse_status.verdict(reason) is Verdict.WARNING
                    (warnings if kept else failures)[uid] = reason
                done += len(batch)
                code = max(code, str(outcome.status))
    except TimeoutError as error:
        raise TryAgain(
            f"{endpoint} answered for {done} of {len(parts)} instances, then not for {endpoint.timeout:g} s",
            code="timeout",
        ) from error
    _raise_worst(endpoint, failures, len(parts))
    return Acknowledgement(
        code=code,
        detail=f"{len(parts)} {'instance' if len(parts) == 1 else 'instances'} stored",
        warning="; ".join(
            f"{count} of {len(parts)}: {dimse_status.describe(reason)}"
            for reason, count in Counter(warnings.values()).items()
        ),
    )


async def probe(endpoint: Endpoint, *, headers: dict[str, str] | None = None) -> None:
    """Ask for a study that nobody has; any answer but a refusal to let us in is a sign of life."""
    answer = await request(
        endpoint,
        "GET",
        f"/studies?StudyInstanceUID={_NO_STUDY}&limit=1",
        headers={"Accept": "application/dicom+json", **(headers or {})},
    )
    if answer.status in (401, 403) or answer.status >= 500:
        raise failure(endpoint, answer)


def batches(files: Sequence[InstanceFile]) -> Iterator[list[InstanceFile]]:
    """The files in requests of bounded size, in order."""
    batch: list[InstanceFile] = []
    for file in files:
        if batch and (
            len(batch) == _MOST_INSTANCES or sum(each.size for each in batch) + file.size > _MOST_BYTES
        ):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


async def post(
    endpoint: Endpoint,
    batch: Sequence[InstanceFile],
    headers: dict[str, str],
    moved: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """One request, and what its answer says of each instance.

    Args:
        moved: called with a number of bytes when they have left.

    Raises:
        TryAgain: no answer, 429 or 5xx, or an instance unaccounted for.
        Refused: 400 and other 4xx.
    """
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"--{boundary}--\r\n".encode()
    length = sum(len(head) + file.size + 2 for file in batch) + len(tail)

    async def multipart() -> AsyncGenerator[bytes, None]:
        for file in batch:
            yield head
            async with aclosing(file.whole()) as chunks:
                async for chunk in chunks:
                    yield chunk
                    moved(len(chunk))
            yield b"\r\n"
        yield tail

    async with aclosing(multipart()) as body:
        answer = await request(
            endpoint,
            "POST",
            "/studies",
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Content-Length": str(length),  # servers refuse or buffer what comes without
                "Accept": "application/dicom+json",
                **headers,
            },
            body=body,
        )
    return _read_outcome(endpoint, answer, batch)


def _read_outcome(endpoint: Endpoint, answer: Answer, batch: Sequence[InstanceFile]) -> Outcome:
    """What a response says of each instance; raises when it answers for the request as a whole."""
    outcome = _parse(answer)
    if answer.status not in (200, 202, 409) or (answer.status == 409 and not outcome.failures):
        raise failure(endpoint, answer)
    sent = {file.sop_instance_uid for file in batch}
    if outcome.stored is None:
        # 200 says that all is stored, and some servers say no more than that; 202 must name what is not.
        missing = set() if answer.status == 200 else sent - outcome.failures.keys()
    else:
        missing = sent - outcome.stored - outcome.failures.keys()
    if missing:
        raise TryAgain(
            f"{endpoint} answered {answer.status} without a word on {len(missing)} of {len(batch)} instances",
            code=str(answer.status),
        )
    return outcome


def _parse(answer: Answer) -> Outcome:
    """Read a Store Instances Response Module in DICOM JSON (PS3.18 I.2); lenient about its frame."""
    document = answer.json()
    if isinstance(document, list):  # one data set, or a list of one
        document = document[0] if document else None
    if not isinstance(document, dict):
        return Outcome(answer.status, None, {}, {})
    stored = _items(document, _REFERENCED_SOP_SEQUENCE)
    failed = _items(document, _FAILED_SOP_SEQUENCE)
    return Outcome(
        answer.status,
        stored=frozenset(map(_uid, stored)) if _REFERENCED_SOP_SEQUENCE in document else None,
        warnings={_uid(item): reason for item in stored if (reason := _number(item, _WARNING_REASON))},
        failures={_uid(item): _number(item, _FAILURE_REASON) or 0x0110 for item in failed},
    )


def _items(document: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    value = _value(document, tag)
    return [item for item in value if isinstance(item, dict)]


def _uid(item: dict[str, Any]) -> str:
    value = _value(item, _REFERENCED_SOP_INSTANCE_UID)
    return str(value[0]) if value else ""


def _number(item: dict[str, Any], tag: str) -> int | None:
    value = _value(item, tag)
    return value[0] if value and isinstance(value[0], int) else None


def _value(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    value = element.get("Value") if isinstance(element, dict) else None
    return value if isinstance(value, list) else []


def _raise_worst(endpoint: Endpoint, failures: dict[str, int], total: int) -> None:
    for verdict, error in ((Verdict.TRY_AGAIN, TryAgain), (Verdict.REFUSED, Refused)):
        failed = {uid: reason for uid, reason in failures.items() if dimse_status.verdict(reason) is verdict}
        if failed:
            uid, reason = next(iter(failed.items()))
            words = (
                f"{endpoint} did not store {len(failed)} of {total} instances,"
                f" first {uid}: {dimse_status.describe(reason)}"
            )
            code = dimse_status.code(reason)
            if error is Refused:
                raise Refused(words, code=code)
            # Out of resources is the peer's own trouble; anything else is about these instances.
            is_full = any(dimse_status.is_out_of_resources(reason) for reason in failed.values())
            raise TryAgain(words, code=code, of_payload=not is_full)
