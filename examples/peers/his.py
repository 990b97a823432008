"""A hospital information system for loopback: HL7 v2 over MLLP in, one .hl7 file per message out.

    python -m examples.peers.his --port 2575 --folder received/his

Each message is filed under its message control id (MSH-10) and then answered with an `AA` that
names it in MSA-2 (HL7 v2.5.1 chapter 2.9.2, original mode). What has no MSH-10 is answered `AR`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import re
import signal
from datetime import UTC, datetime
from pathlib import Path

logger = logging.getLogger("peers.his")

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c\x0d"
LONGEST_MESSAGE = 64 * 1024 * 1024  # bytes; an ORU carries a whole PDF
SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def answer(message: bytes, code: str) -> bytes:
    """The framed acknowledgement of one message: applications swapped, MSH-10 returned in MSA-2."""
    fields = [*message.split(b"\r", 1)[0].decode("ascii", "replace").split("|"), *[""] * 12]
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    control_id, version = fields[9], fields[11] or "2.5.1"
    trigger = fields[8].partition("^")[2].partition("^")[0]
    kind, acknowledgement_id = f"ACK^{trigger}^ACK", f"A{control_id}"[:20]
    header = ["MSH", "^~\\&", *fields[4:6], *fields[2:4], now, "", kind, acknowledgement_id, "P", version]
    segments = ["|".join(header), f"MSA|{code}|{control_id}"]
    return START_BLOCK + "\r".join(segments).encode() + b"\r" + END_BLOCK


def file_message(message: bytes, folder: Path) -> str:
    """Keep one message; answer the acknowledgement code it deserves (HL7 table 0008)."""
    fields = message.split(b"\r", 1)[0].decode("ascii", "replace").split("|")
    if not message.startswith(b"MSH|") or len(fields) < 10 or not fields[9]:
        return "AR"
    name = fields[9] if SAFE_NAME.fullmatch(fields[9]) else hashlib.sha256(message).hexdigest()
    unfinished = folder / f".{name}.part"
    try:
        unfinished.write_bytes(message)
        unfinished.replace(folder / f"{name}.hl7")
    except OSError as error:
        logger.error("cannot file a message: %s", error.strerror)
        return "AE"
    logger.info("filed %s", name)
    return "AA"


class Receiver:
    """One MLLP listener; a connection may carry many messages, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every message of one connection until the sender closes it."""
        try:
            while True:
                await reader.readuntil(START_BLOCK)
                message = (await reader.readuntil(END_BLOCK)).removesuffix(END_BLOCK)
                code = file_message(message, self.folder)
                writer.write(answer(message, code))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # closed between messages, or in the middle of one that stays unanswered
        except asyncio.LimitOverrunError:
            logger.error("a message is longer than %d bytes, closing", LONGEST_MESSAGE)
        except ConnectionError as error:
            logger.error("connection lost: %s", error)
        finally:
            writer.close()


async def serve(host: str, port: int, folder: Path) -> None:
    """Listen until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Receiver(folder).converse, host, port, limit=LONGEST_MESSAGE)
    logger.info("his listens on %s:%d", host, port)
    async with server:
        await stop.wait()


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="an MLLP receiver that files and acknowledges")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2575)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(arguments.host, arguments.port, arguments.folder))


if __name__ == "__main__":
    main()
