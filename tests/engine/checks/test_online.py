"""What the network and the moment tell of a table, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from engine.checks.online import findings_of, ports_in_use, probe_all
from engine.config import load
from engine.data_folder import tenancy
from engine.table import Table

HEAD = """version: 1
engine: {{data: data, http: "127.0.0.1:{http}"}}
sites: {{a: {{addresses: [10.0.0.1], ae_titles: [A]}}}}
processors: {{qc: {{type: quality_control}}}}
inbound: {{pacs: {{type: c_store, listen: "127.0.0.1:0"}}}}
outbound:
  his: {{type: hl7_oru, site: a, host: 127.0.0.1, port: {his}}}
  pacs: {{type: dicom_sr, site: a, host: 127.0.0.1, port: {pacs}, ae_title: A}}
  gone: {{type: hl7_oru, site: a, host: 127.0.0.1, port: {gone}}}
routes: [{{name: x, match: {{Modality: MR}}, process: qc, deliver: [his, pacs, gone]}}]
"""


def written(folder: Path, *, http: int = 0, his: int = 1, pacs: int = 1, gone: int = 1) -> Table:
    path = folder / "routes.yaml"
    path.write_text(HEAD.format(http=http, his=his, pacs=pacs, gone=gone))
    return load(path)


@contextlib.asynccontextmanager
async def silent(heard: list[bytes]) -> AsyncIterator[int]:
    """A port that takes connections, answers nothing, and keeps what it hears."""
    done = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            heard.append(data)
        writer.close()
        done.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        await done.wait()
    finally:
        server.close()


async def test_each_destination_answers_or_says_why_not_and_none_keeps_the_others_waiting(
    tmp_path: Path,
) -> None:
    of_his: list[bytes] = []
    of_pacs: list[bytes] = []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: whoever calls is refused
        async with silent(of_his) as his, silent(of_pacs) as pacs:
            table = written(tmp_path, his=his, pacs=pacs, gone=held.getsockname()[1])
            probes = await probe_all(table, patience=0.5)
    assert [(one.destination, one.answered) for one in probes] == [
        ("his", True),
        ("pacs", False),
        ("gone", False),
    ]
    assert probes[1].reason == "no answer within 0.5 s"
    assert "no connection" in probes[2].reason
    assert of_his == [], "MLLP is only connected to"
    assert b"".join(of_pacs)[:1] == b"\x01", "DIMSE is asked for an association (PS3.8 9.3.2), no more"
    assert [str(one).partition(": ")[0] for one in findings_of(table, probes)] == [
        "routes.yaml:8:3",
        "routes.yaml:9:3",
    ]


async def test_a_taken_port_is_told_unless_the_engine_itself_has_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        table = written(tmp_path, http=other.getsockname()[1])
        (found,) = ports_in_use(table)
        assert (found.path, found.severity, found.code) == ("engine.http", "warning", "port-in-use")
        assert "is taken by another process" in found.message
        table.engine.data.mkdir()
        async with tenancy(table.engine.data, shared=False) as place:
            place.started()
            assert list(ports_in_use(table)) == []
        assert len(list(ports_in_use(table))) == 1
    assert list(ports_in_use(table)) == []


def test_an_address_that_this_machine_lacks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(
        'version: 1\nengine: {http: "127.0.0.1:0"}\ninbound: {pacs: {type: c_store, listen: "192.0.2.1:0"}}\n'
    )
    (found,) = ports_in_use(load(path))
    assert found.path == "inbound.pacs.listen"
    assert "no address of this machine" in found.message
