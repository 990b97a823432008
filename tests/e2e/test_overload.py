"""Too much at once for a running engine: what it says on both ways in, in its log and in its metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.channels.inbound.dimse_wire import (
    ASSOCIATE_AC,
    RELEASE,
    Wire,
    command,
    instance,
    message,
    status,
    store_fields,
)
from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study
from tests.peers.process import wait_until

MB = 1 << 20
GREEDY, MODEST = "127.0.0.1", "127.0.0.2"


def table(dicom_port: int) -> dict[str, Any]:
    return {
        "sites": {
            "greedy": {"name": "Greedy", "ae_titles": ["STM_PACS"], "addresses": [GREEDY]},
            "modest": {"name": "Modest", "ae_titles": ["STM_PACS"], "addresses": [MODEST]},
        },
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "max_associations": 4},
            "web": {"type": "stow_rs"},
        },
    }


def stow(engine: Engine, file: Path, source: str) -> httpx.Response:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=60) as client:
        return client.post(f"{engine.url}/dicomweb/studies", content=body, headers={"Content-Type": kind})


def told(engine: Engine, words: str) -> int:
    return sum(words in line for line in engine.log_lines())


def test_one_site_cannot_take_all_and_hears_that_it_should_come_again(
    engine_process: Callable[..., Engine], real_study: Path, tmp_path: Path
) -> None:
    engine = engine_process(table, engine={"max_bytes_in_flight": "4MB"}, patient_data=PERSON.words)
    files = small_study(real_study, tmp_path / "study", instances=2)
    large = instance(1, bulk=3 * MB)
    whole = message(1, command(store_fields(large.sop_instance_uid)), large.data_set)

    held = [Wire(engine.dicom_port) for _ in range(3)]
    assert [wire.answer[0] for wire in held] == [ASSOCIATE_AC] * 3
    with Wire(engine.dicom_port) as one_more:
        assert tuple(one_more.answer[7:10]) == (2, 3, 2)  # transient, local limit exceeded
    held[0].write(whole[:-1])
    wait_until(lambda: engine.metrics()["pons_intake_bytes_in_flight"] >= 3 * MB, "most of it to land")

    refused = stow(engine, files[0], GREEDY)  # over the other way in: the limit is of both
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert stow(engine, files[0], MODEST).status_code == 200
    with Wire(engine.dicom_port, source=MODEST) as modest:
        small = instance(2)
        modest.write(message(1, command(store_fields(small.sop_instance_uid)), small.data_set))
        assert status(modest.read()) == 0x0000

    samples = engine.metrics()
    assert samples['pons_associations{inbound="pacs",site="greedy"}'] == 3
    assert samples['pons_associations_refused_total{inbound="pacs",limit="site"}'] == 1
    assert samples['pons_intake_refused_total{reason="in_flight"}'] == 1
    assert told(engine, "too many associations") == 1
    assert told(engine, "instance refused: too much in flight") == 1

    held[0].write(whole[-1:])
    assert status(held[0].read()) == 0x0000
    assert stow(engine, files[1], GREEDY).status_code == 200
    for wire in held:
        wire.write(RELEASE)
        wire.rest()
        wire.socket.close()
    wait_until(
        lambda: (
            not engine.metrics()['pons_associations{inbound="pacs",site="greedy"}']
            and not engine.metrics()["pons_intake_bytes_in_flight"]
            and not engine.landing_files()
        ),
        "everything to be given back",
    )
