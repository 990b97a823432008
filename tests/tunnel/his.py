"""A hospital's HL7 receiver inside a namespace: `python his.py ADDRESS PORT FOLDER` files and answers AA."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server


async def serve(address: str, port: int, folder: Path) -> None:
    numbers = itertools.count()

    async def converse(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                block = await reader.readblock()
                message = hl7.parse(block.decode())
                part = folder / f".{next(numbers):04d}"
                part.write_bytes(block)
                part.rename(folder / f"{part.name[1:]}.hl7")
                writer.writemessage(message.create_ack("AA"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await start_hl7_server(converse, address, port, limit=1 << 26, encoding="utf-8")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
