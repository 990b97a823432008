"""What machines hear of the tunnels: samples, a reason not to be ready, an alarm where something waits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from engine.store import lanes
from engine.store.database import Database
from engine.store.tables import results, studies
from engine.tunnel_watch import STALE, TunnelWatch


def status(clock: Any, **alive: bool) -> str:
    sites = [
        {
            "site": site,
            "alive": lives,
            "last_handshake": clock.now() - 10 if lives else 0.0,
            "rx_bytes": 5,
            "tx_bytes": 7,
        }
        for site, lives in alive.items()
    ]
    return json.dumps({"at": clock.now(), "interface": "pons0", "sites": sites})


def wait_for_north(connection: Connection) -> None:
    """One delivery that waits for site north."""
    connection.execute(
        insert(studies).values(
            id=1, site="north", study_instance_uid="1.2", state="stable", revision=1, inbound="pacs",
            calling_ae_title="", called_ae_title="", remote_address="", opened_at=0, last_at=0,
        )
    )  # fmt: skip
    connection.execute(
        insert(results).values(
            result_id="r", study_id=1, study_revision=1, lineage="1/a", revision=1, status="final",
            shadow=False, produced_at=0, document={},
        )
    )  # fmt: skip
    lanes.enqueue(
        connection, 0, delivery_id="d", destination="north-his", order_key="north/1.2", lineage="1/a",
        study_id=1, study_revision=1, result_id="r", status="final", transform=[], after=[],
    )  # fmt: skip


async def test_an_alarm_is_for_a_silent_site_that_something_waits_for(
    tmp_path: Path, database: Database, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "status.json"
    watch = TunnelWatch(file, database, clock)
    database.write_now(wait_for_north)
    file.write_text(status(clock, north=False, south=False))
    with caplog.at_level(logging.INFO, logger="pons.tunnel"):
        await watch.look()
        await watch.look()
        file.write_text(status(clock, north=True, south=False))
        await watch.look()
    assert [(one.levelname, one.pons["site"]) for one in caplog.records] == [  # type: ignore[attr-defined]
        ("ERROR", "north"),
        ("INFO", "north"),
    ], "once for each change, and nobody waits for south"


async def test_samples_and_readiness(tmp_path: Path, database: Database, clock: Any) -> None:
    file = tmp_path / "status.json"
    watch = TunnelWatch(file, database, clock)
    await watch.look()
    assert watch.reasons != []
    file.write_text(status(clock, north=True, south=False))
    await watch.look()
    assert watch.reasons == []
    samples = watch.measured()
    assert samples['pons_tunnel_alive{site="north"}'] == 1
    assert samples['pons_tunnel_alive{site="south"}'] == 0
    assert samples['pons_tunnel_handshake_age_seconds{site="north"}'] == 10
    assert 'pons_tunnel_handshake_age_seconds{site="south"}' not in samples
    clock.advance(STALE + 1)
    assert watch.reasons != []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', '{"at": 1, "sites": [{}]}'])
async def test_a_file_that_cannot_be_read_is_no_status(
    text: str, tmp_path: Path, database: Database, clock: Any
) -> None:
    (tmp_path / "status.json").write_text(text)
    watch = TunnelWatch(tmp_path / "status.json", database, clock)
    await watch.look()
    assert watch.reasons != []
