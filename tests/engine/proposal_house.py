"""An engine's database with a running table and studies on record, and new tables to propose beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Connection, insert

from engine import config
from engine.active_table import activate
from engine.proposal import Place, Proposal, propose
from engine.store import lanes, studies, table_versions, work
from engine.store.database import Database
from engine.store.tables import instances, revisions
from engine.store.tables import studies as study_rows

NOW = 1_700_000_000.0
TABLE: dict[str, Any] = {
    "version": 1,
    "engine": {"data": "./data"},
    "sites": {
        "st-marys": {"addresses": ["127.0.0.1"], "ae_titles": ["STM_PACS"], "timezone": "Europe/Dublin"},
        "county": {"addresses": ["127.0.0.2"], "ae_titles": ["CTY"]},
    },
    "inbound": {
        "pacs": {"type": "c_store", "listen": "127.0.0.1:11112"},
        "web": {"type": "stow_rs"},
    },
    "processors": {"model": {"type": "command", "command": ["true"]}},
    "outbound": {
        "ris": {"type": "hl7_oru", "site": "st-marys", "host": "127.0.0.1", "port": 2575},
        "archive": {
            "type": "dicom_forward",
            "site": "st-marys",
            "host": "127.0.0.1",
            "port": 104,
            "ae_title": "ARCHIVE",
        },
        "cellar": {
            "type": "dicom_forward",
            "site": "st-marys",
            "host": "127.0.0.1",
            "port": 105,
            "ae_title": "CELLAR",
        },
    },
    "routes": [
        {
            "name": "mr",
            "match": {"site": "st-marys", "Modality": "MR"},
            "process": "model",
            "deliver": ["ris", "archive"],
        },
        {"name": "us", "match": {"Modality": "US"}, "hold": "ask the radiologist"},
        {"name": "rest", "otherwise": True, "hold": "no route matched"},
    ],
    "tests": [
        {
            "name": "ultrasound waits",
            "given": {"site": "st-marys", "Modality": "US"},
            "expect": {"routes": ["us"]},
        }
    ],
}

Edit = Callable[[dict[str, Any]], Any]


@dataclass
class House:
    """The database, the folder of the table, and what can be done there."""

    database: Database
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "routes.yaml"

    @property
    def place(self) -> Place:
        return Place(self.file, self.folder, config.settings_of(self.file))

    def write(self, edit: Edit = lambda table: None, name: str = "new.yaml") -> Path:
        """The table with an edit, as a file."""
        table = copy.deepcopy(TABLE)
        edit(table)
        path = self.folder / name
        path.write_text(yaml.safe_dump(table, sort_keys=False))
        return path

    def start(self, edit: Edit = lambda table: None, *, action: str = "started", now: float = NOW) -> str:
        """As if an engine had started with the table; its version."""
        table = config.load(self.write(edit, "routes.yaml"), surroundings=False)

        def work_(c: Connection) -> None:
            table_versions.record_version(c, table.version, table.path.name, table.files, now)
            activate(c, table.version, now, actor="engine n1", action=action)

        self.database.write_now(work_)
        return table.version

    def propose(self, edit: Edit = lambda table: None, studies: int = 100) -> Proposal:
        """What the table with an edit would change; it has no errors."""
        proposal = propose(self.place, self.database, self.write(edit), studies)
        assert proposal.table is not None, proposal.findings
        return proposal

    def study(
        self, number: int, *, attributes: dict[str, Any] | None = None, path: str = "gone", **values: Any
    ) -> str:
        """A decided study of one instance; its UID."""
        uid = f"1.2.{number}"
        row = {
            "id": number, "site": "st-marys", "study_instance_uid": uid, "state": "stable", "revision": 1,
            "inbound": "pacs", "calling_ae_title": "STM_PACS", "called_ae_title": "PONS",
            "remote_address": "127.0.0.1", "opened_at": NOW, "last_at": NOW + number, **values,
        }  # fmt: skip
        known = {"Modality": "MR"} if attributes is None else attributes

        def work_(c: Connection) -> None:
            c.execute(insert(study_rows).values(row))
            if row["revision"]:
                c.execute(
                    insert(revisions).values(
                        study_id=number, revision=1, state="decided", closed_at=NOW, why="quiet", instances=1
                    )
                )
                c.execute(
                    insert(instances).values(
                        study_id=number, site=row["site"], sop_instance_uid=f"{uid}.1", path=path, size=1,
                        series_instance_uid=f"{uid}.0", sop_class_uid="1.2", transfer_syntax_uid="1.2",
                        sha256="0", attributes=known, received_at=NOW, revision=1,
                    )
                )  # fmt: skip

        self.database.write_now(work_)
        return uid

    def delivery(self, study: int, to: str, key: str, state: str = "queued") -> None:
        """One delivery of a study, queued or given up."""

        def work_(c: Connection) -> None:
            lanes.enqueue(
                c, NOW, delivery_id=key, destination=to, order_key=key, lineage=f"{study}/{key}",
                study_id=study, study_revision=1, result_id=None, status="study", transform=[], after=[],
            )  # fmt: skip
            if state == "dead":
                (claim,) = lanes.claim(c, to, "n1", NOW, 60.0, 1)
                lanes.settle(c, [lanes.Settlement(claim, "refused", "A900", "no")], NOW)

        self.database.write_now(work_)

    def run(self, study: int, processor: str, outcomes: list[dict[str, Any]], key: str = "job") -> None:
        """One run of a processor, queued."""
        self.database.write_now(
            lambda c: work.queue_job(
                c, job_id=key, study_id=study, revision=1, processor=processor,
                lineage=f"{study}/{processor}/{key}", outcomes=outcomes, now=NOW,
            )
        )  # fmt: skip

    def held(self, study: int, route: str, reason: str) -> None:
        """A hold that a route asked for, with the decision that did."""
        outcome = {"route": route, "position": "routes.yaml:1:1", "hit": True, "why": "holds", "hold": reason}
        decision = {"table_version": "sha256:0", "outcomes": [outcome]}

        def work_(c: Connection) -> None:
            work.record_decision(c, study, 1, "sha256:0", decision, NOW)
            studies.hold(c, study, 1, reason, NOW)

        self.database.write_now(work_)
