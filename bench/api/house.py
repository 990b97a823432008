"""The engine that is measured: `pons run` with the REST API and STOW-RS, and a client's token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.api import rows
from bench.intake.receivers import Receiver
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from tests.e2e.engine import Engine
from tests.e2e.rest_house import Api

SITE = rows.site(3)  # one of those whose orders come one by one


@dataclass(frozen=True, slots=True)
class House:
    """An engine that is up."""

    port: int
    token: str
    process: Receiver


@contextlib.contextmanager
def serving(folder: Path, http_port: int, dicom_port: int, orders: int = 0) -> Iterator[House]:
    """An engine on SQLite with so many orders of forty sites."""
    sites = {rows.site(number): {"addresses": [f"127.0.1.{number + 1}"]} for number in range(rows.SITES)}
    sites[SITE] = {"addresses": ["127.0.0.1"]}
    table = {
        "assembly": {"stable_after": "1s"},
        "sites": sites,
        "inbound": {
            "api": {"type": "rest", "requests_per_second": 10_000},
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": "bench", "match": {"series": {"Modality": "CT"}}, "hold": "measured"}],
    }
    engine = Engine(folder / "pons", http_port, dicom_port, table, engine={"log": "json"})
    if orders:
        engine.data.mkdir(parents=True, mode=0o700)
        database = SqliteDatabase(engine.data / "pons.sqlite")
        try:
            migrate(database.engine)
            rows.fill(database, orders)
        finally:
            database.close()
    engine.start()
    try:
        api = Api(engine, "bench", "--site", SITE)
        api.http.close()
        yield House(http_port, api.token, Receiver(http_port, "", engine.pid))
    finally:
        engine.kill9()
