"""A table is planned, applied and taken back beside a running engine, and studies go the way of the day."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp

pytestmark = pytest.mark.peers


def table(dicom_port: int, peer: Storescp, to: str) -> dict[str, Any]:
    """Every MR series is forwarded to one of two archives."""
    archive = {
        "type": "dicom_forward", "site": "st-marys", "host": "127.0.0.1", "port": peer.port,
        "ae_title": peer.ae_title,
    }  # fmt: skip
    return {
        "assembly": {"stable_after": "500ms"},
        "sites": {"st-marys": {"ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "outbound": {"old": archive, "new": archive},
        "routes": [
            {"name": f"mr to {to}", "match": {"series": {"Modality": "MR"}}, "deliver": [to]},
            {"name": "nothing matched", "otherwise": True, "hold": "no route matched"},
        ],
        "tests": [
            {
                "name": "mr goes on",
                "given": {"series": [{"Modality": "MR"}]},
                "expect": {"routes": [f"mr to {to}"]},
            }
        ],
    }


def written(engine: Engine, document: dict[str, Any], name: str = "new.yaml") -> str:
    """A table beside the one that the engine was given; its path."""
    given = yaml.safe_load(engine.table.read_text())
    path = engine.folder / name
    path.write_text(yaml.safe_dump({"version": 1, "engine": given["engine"], **document}, sort_keys=False))
    return str(path)


def send(engine: Engine, source: Path, folder: Path) -> str:
    files = small_study(source, folder, instances=2)
    sent = dcmtk.storescu(engine.dicom_port, files)
    assert len(sent.acknowledged) == 2, sent.output[-2000:]
    return study_of(files[0])


def test_studies_go_by_the_table_that_was_applied_and_by_the_one_before_after_a_rollback(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    real_study: Path,
    tmp_path: Path,
) -> None:
    peer = storescp()
    engine = engine_process(lambda port: table(port, peer, "old"), patient_data=PERSON.words)
    first = send(engine, real_study, tmp_path / "1")
    engine.wait_for_states({"old": ["delivered"]})

    new = written(engine, table(engine.dicom_port, peer, "new"))
    plan = engine.json("plan", new)
    assert plan["running"]["action"] == "started"
    assert [(one["study"], one["kind"]) for one in plan["studies"]["changed"]] == [(first, "elsewhere")]
    done = engine.json("apply", new, "--message", "the new archive is there", "--yes")
    (taker,) = done["engines"]
    assert (taker["state"], taker["runs"]) == ("taken", plan["version"])
    second = send(engine, real_study, tmp_path / "2")
    engine.wait_for_states({"old": ["delivered"], "new": ["delivered"]})

    said = engine.pons("apply", "--rollback", "--yes", "--message", "the new archive is full")
    assert f"engine {taker['engine']} runs it" in said
    third = send(engine, real_study, tmp_path / "3")
    engine.wait_for_states({"old": ["delivered", "delivered"], "new": ["delivered"]})

    changes = engine.json("history")
    assert [(one["action"], one["message"]) for one in changes] == [
        ("rolled back", "the new archive is full"),
        ("applied", "the new archive is there"),
        ("started", ""),
    ]
    assert changes[0]["version"] == changes[2]["version"] == plan["running"]["version"]
    decided = {uid: engine.json("explain", uid)[0]["table_version"] for uid in (first, second, third)}
    assert decided == {
        first: changes[2]["version"], second: changes[1]["version"], third: changes[0]["version"],
    }  # fmt: skip
    events = engine.json("audit")
    assert [one["action"] for one in events] == ["table started", "table applied", "table rolled back"]
    assert engine.metrics()[f'pons_table_info{{version="{changes[0]["version"]}"}}'] == 1.0


def test_what_an_engine_cannot_take_is_taken_back_and_what_it_missed_it_runs_at_its_next_start(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    real_study: Path,
    tmp_path: Path,
) -> None:
    peer = storescp()
    engine = engine_process(lambda port: table(port, peer, "old"), patient_data=PERSON.words)
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        document = table(engine.dicom_port, peer, "new")
        document["inbound"]["second"] = {"type": "c_store", "listen": f"127.0.0.1:{port}"}
        new = written(engine, document)
        done = json.loads(engine.pons("apply", new, "--yes", "--auto-rollback", "--json", expect=1))
    (refuser,) = done["engines"]
    assert refuser["state"] == "refused"
    assert str(port) in refuser["trouble"]
    assert done["back"] == done["plan"]["running"]["version"]
    assert [one["action"] for one in engine.json("history")] == ["rolled back", "applied", "started"]
    send(engine, real_study, tmp_path / "1")
    engine.wait_for_states({"old": ["delivered"]})

    engine.stop()
    new = written(engine, table(engine.dicom_port, peer, "new"))
    assert "no engine runs: it takes effect at the next start" in engine.pons("apply", new, "--yes")
    engine.start()
    send(engine, real_study, tmp_path / "2")
    engine.wait_for_states({"old": ["delivered"], "new": ["delivered"]})
