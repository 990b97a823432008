"""Send HL7 v2 messages over MLLP and believe only their own acknowledgement (HL7 v2.5.1 2.9, C.4).

Enter: messages as bytes, each with its message control id. Leave: an acknowledgement when every
message was answered AA (CA in enhanced mode) under its own id; TryAgain or Refused otherwise. One
connection carries one delivery, so the late answer to an earlier attempt meets nobody.

What the receiver writes in MSA-3, ERR-7 and ERR-8 is free text and may quote the patient: only
coded values of its answer are told on.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from engine.channel import Tls
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Part

VT, FS, CR = b"\x0b", b"\x1c", b"\x0d"
LONGEST_ACKNOWLEDGEMENT = 1 << 20  # bytes

_ACCEPTED, _REJECTED, _FAILED = ("AA", "CA"), ("AR", "CR"), ("AE", "CE")
_ERROR_CODES = {  # HL7 table 0357
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event code",
    "202": "unsupported processing id",
    "203": "unsupported version id",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
_LOCATION = re.compile(r"[A-Z][A-Z0-9]{2}(\^\d{1,4}){0,5}")  # ERR-2: segment, sequence, field, …


@dataclass(frozen=True, slots=True)
class Receiver:
    """An MLLP listener to call."""

    host: str
    port: int
    tls: Tls | None = None
    timeout: float = 30.0  # seconds for one attempt as a whole

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The coded part of an acknowledgement message."""

    code: str  # MSA-1
    message_control_id: str  # MSA-2: the message it answers
    errors: tuple[str, ...] = ()  # ERR-3 with its meaning and ERR-2, coded values only

    @classmethod
    def parse(cls, data: bytes) -> Answer:
        """Read an acknowledgement; ValueError when it is none (MSH and MSA with a code are demanded)."""
        segments = [segment for segment in re.split(r"[\r\n]+", data.decode("latin-1")) if segment]
        if not segments or not segments[0].startswith("MSH") or len(segments[0]) < 8:
            raise ValueError("it does not start with MSH")
        field_separator, component_separator = segments[0][3], segments[0][4]
        rows = [segment.split(field_separator) for segment in segments]
        msa = next((row for row in rows if row[0] == "MSA"), None)
        if msa is None or len(msa) < 3:
            raise ValueError("it has no MSA segment with a code and a message control id")
        errors = tuple(_coded_error(row, component_separator) for row in rows if row[0] == "ERR")
        return cls(msa[1].strip(), msa[2].strip(), tuple(error for error in errors if error))


def _coded_error(err: list[str], component_separator: str) -> str:
    code = err[3].split(component_separator)[0] if len(err) > 3 else ""
    location = err[2].replace(component_separator, "^") if len(err) > 2 else ""
    words = [f"{code} {_ERROR_CODES[code]}"] if code in _ERROR_CODES else []
    if _LOCATION.fullmatch(location):
        words.append(f"at {location}")
    return " ".join(words)


async def send(receiver: Receiver, messages: Sequence[Part]) -> Acknowledgement:
    """Send every message in order, each after the acknowledgement of the one before.

    Args:
        messages: ``identifier`` is MSH-10, the content the encoded message.

    Raises:
        TryAgain: no connection, closed, too slow, AE or CE, an answer to another message or no answer at all.
        Refused: AR or CR, or a message that cannot be framed.
    """
    if not messages:
        raise Refused("there is no message to send", code="empty")
    connected: list[str] = []
    try:
        async with asyncio.timeout(receiver.timeout):
            return await _converse(receiver, messages, connected)
    except TimeoutError as error:
        raise TryAgain(
            f"{receiver} did not {'acknowledge' if connected else 'connect'} within {receiver.timeout:g} s",
            code="timeout",
            uncertain=bool(connected),
        ) from error
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise TryAgain(
            f"{receiver} closed the connection before it acknowledged", code="closed", uncertain=True
        ) from error
    except asyncio.LimitOverrunError as error:
        raise TryAgain(
            f"{receiver} sent an acknowledgement of more than 1 MB", code="protocol", uncertain=True
        ) from error


async def probe(receiver: Receiver) -> None:
    """Connect, with TLS where it is set, and hang up: MLLP has no message without content."""
    try:
        async with asyncio.timeout(receiver.timeout):
            _, writer = await _connect(receiver)
    except TimeoutError as error:
        raise TryAgain(f"{receiver} did not answer within {receiver.timeout:g} s", code="timeout") from error
    writer.close()


async def _converse(receiver: Receiver, messages: Sequence[Part], connected: list[str]) -> Acknowledgement:
    """Send and believe; whom we reached is noted, for from then on no answer means *unknown*."""
    contents = [await asyncio.to_thread(message.read) for message in messages]
    if any(VT in content or FS in content for content in contents):
        raise Refused("the message contains a framing character of MLLP", code="framing")
    reader, writer = await _connect(receiver)
    connected.append(str(receiver))
    answers = []
    try:
        for message, content in zip(messages, contents, strict=True):
            writer.writelines((VT, content, FS, CR))
            await writer.drain()
            answers.append(_believe(receiver, message.identifier, await _read_block(receiver, reader)))
    finally:
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # a receiver that does not read would keep the socket for ever
        else:
            writer.close()
    return Acknowledgement(code=answers[-1].code, detail=f"{len(answers)} acknowledged by id")


async def _connect(receiver: Receiver) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        context = await asyncio.to_thread(receiver.tls.client_context) if receiver.tls else None
        return await asyncio.open_connection(
            receiver.host, receiver.port, ssl=context, limit=LONGEST_ACKNOWLEDGEMENT
        )
    except TimeoutError:
        raise
    except LookupError as error:
        raise TryAgain(f"TLS towards {receiver}: {error}", code="tls") from error
    except ssl.SSLError as error:
        why = error.reason or "no reason given"
        raise TryAgain(f"TLS towards {receiver} failed: {why}", code="tls") from error
    except OSError as error:
        why = (
            os.strerror(error.errno).lower()
            if error.errno and error.errno > 0
            else error.strerror or str(error)
        )
        raise TryAgain(f"no connection to {receiver}: {why}", code="connection") from error


async def _read_block(receiver: Receiver, reader: asyncio.StreamReader) -> bytes:
    block = await reader.readuntil(FS)
    before, start, content = block.rstrip(FS).partition(VT)
    # the CR that ends the previous block, and the line ends some receivers add, are no content
    if not start or before.strip(b"\r\n"):
        raise TryAgain(f"{receiver} answered with what is no MLLP block", code="protocol", uncertain=True)
    return content


def _believe(receiver: Receiver, message_control_id: str, block: bytes) -> Answer:
    try:
        answer = Answer.parse(block)
    except ValueError as error:
        raise TryAgain(
            f"{receiver} sent no usable acknowledgement: {error}", code="protocol", uncertain=True
        ) from error
    if answer.message_control_id != message_control_id:
        raise TryAgain(f"{receiver} acknowledged another message than ours", code="MSA-2", uncertain=True)
    if answer.code in _ACCEPTED:
        return answer
    why = f": {'; '.join(answer.errors)}" if answer.errors else ""
    if answer.code in _REJECTED:
        raise Refused(f"{receiver} rejected the message{why}", code=answer.code)
    if answer.code in _FAILED:
        raise TryAgain(f"{receiver} could not process the message{why}", code=answer.code, of_payload=True)
    raise TryAgain(
        f"{receiver} acknowledged with a code that HL7 does not name", code="protocol", uncertain=True
    )
