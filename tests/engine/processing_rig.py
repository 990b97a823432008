"""The stages between a closed revision and the queue of deliveries, run by hand with a real processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.channel import ProcessorContext
from engine.clock import Clock
from engine.config import load
from engine.decide import Decider
from engine.processing import Processing
from engine.schedule import opening_of_job
from engine.spool import Spool
from engine.store import studies as study_queries
from engine.store import work
from engine.store.database import Database
from engine.store.tables import deliveries

HEAD = """
version: 1
engine: {data: ./data}
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1], ae_titles: [STM_PACS]}
inbound:
  pacs: {type: c_store, ae_title: PONS}
processors:
  model: {type: command, command: PROGRAM, timeout: 30s}
"""
"""Of every table of these stages: one site, one way in, one program."""

TABLE = (
    HEAD
    + """outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  desk: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
  archive: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 104, ae_title: ARCHIVE}
routes:
  - name: mr
    match: {series: {Modality: MR}}
    process: model
    deliver:
      - archive
      - {to: ris, after: [archive]}
      - {to: desk, when: {status: [failed]}, after: [ris]}
  - {name: nothing matched, otherwise: true, hold: no route matched}
"""
)

REPORT = {"version": "pons.result/1", "algorithm": {"name": "model", "version": "7"}}


class Rig:
    """The stages between a closed revision and the queue of deliveries, run by hand."""

    def __init__(
        self,
        folder: Path,
        program: list[str],
        database: Database,
        spool: Spool,
        clock: Clock,
        written: str = TABLE,
    ) -> None:
        path = folder / "routes.yaml"
        path.write_text(written.replace("PROGRAM", json.dumps(program)))
        self.table = table = load(path)
        self.database, self.clock = database, clock
        self.decider = Decider(database, spool, clock, table, on_decided=lambda: None)
        declared = table.processors["model"]
        self.processing = Processing(
            database,
            clock,
            table,
            self.decider,
            {"model": declared.type.build(declared.settings, ProcessorContext("model", folder))},
            data=folder / "data",
            node="n1",
            on_result=lambda: None,
        )

    async def close(self, *, study: int = 1) -> None:
        """Close the open revision and decide it."""
        last_at = self.clock.now()
        await self.database.write(
            lambda c: study_queries.close_revision(
                c, study, last_at, "told to", on_late="rerun", last_at=last_at
            )
        )
        await self.decider.decide_closed()

    async def claim(self) -> Any:
        """The job that is due, claimed; None when none is."""
        now = self.clock.now()
        opening = opening_of_job(self.table.sites, now)
        return await self.database.write(lambda c: work.claim_job(c, "n1", now, 60.0, opening))

    async def run(self) -> bool:
        """Run one job; False when none is due."""
        job = await self.claim()
        if job is not None:
            await self.processing.run_job(job)
        return job is not None

    async def run_guarded(self) -> bool:
        """The same as the loop does it: whatever breaks is settled."""
        job = await self.claim()
        if job is not None:
            await self.processing._run_and_release(job)
        return job is not None

    def rows(self, table: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))

    def queued(self) -> dict[str, list[str]]:
        return {
            row.destination: row.after for row in self.rows(deliveries) if row.state in ("queued", "waiting")
        }


def writes(**changes: object) -> str:
    """A program that writes a result."""
    return f"import json, sys; json.dump({REPORT | changes!r}, open(sys.argv[2] + '/result.json', 'w'))"
