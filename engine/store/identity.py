"""Identifiers that come out the same when the same is done again after a restore.

Enter: what a run, a result or a delivery is of. Leave: its id, a UUID of version 5 (RFC 9562 5.5), from
which everything that receivers see derives (SOP Instance UIDs, MSH-10, webhook-id). What an engine did
after its last backup it does again once that is restored: of the same instances, by the same route, with
the same findings, under the same ids. So a receiver knows the repeat. Whatever is different has another
id, and so has whatever a person asks to be done once more.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from engine.model import Report
from engine.store import studies as study_queries
from engine.store.tables import deliveries, jobs

_NAMESPACE = uuid.UUID("0d3a6d0e-53c4-5a44-8c0f-706f6e730002")


def job_id(connection: Connection, study_id: int, revision: int, lineage: str) -> str:
    """Of the next run of a processor on a study revision; inside the transaction that queues it."""
    earlier = connection.execute(
        select(func.count()).select_from(jobs).where(jobs.c.study_id == study_id, jobs.c.lineage == lineage)
    ).scalar_one()
    return _id("job", *_contents(connection, study_id, revision), _told(lineage), str(earlier))


def result_id(job: str, report: Report, out: Path) -> str:
    """Of what a run found: the report and the files that it names in ``out``."""
    files = [hashlib.sha256((out / one.name).read_bytes()).hexdigest() for one in report.artefacts]
    return _id("result", job, report.model_dump_json(), *files)


def delivery_id(
    connection: Connection,
    *,
    study_id: int,
    revision: int,
    result_id: str | None,
    destination: str,
    lineage: str,
    transform: Sequence[Mapping[str, Any]],
) -> str:
    """Of the next delivery of a result, or of the study itself; inside the transaction that queues it."""
    same = deliveries.c.result_id == result_id if result_id else deliveries.c.result_id.is_(None)
    earlier = connection.execute(
        select(func.count())
        .select_from(deliveries)
        .where(
            deliveries.c.study_id == study_id,
            deliveries.c.study_revision == revision,
            deliveries.c.destination == destination,
            same,
        )
    ).scalar_one()
    subject = (result_id,) if result_id else _contents(connection, study_id, revision)
    edits = json.dumps([dict(step) for step in transform], sort_keys=True)
    return _id("delivery", *subject, destination, _told(lineage), edits, str(earlier))


def _contents(connection: Connection, study_id: int, revision: int) -> tuple[str, ...]:
    """A study revision by what it is everywhere: a row's number is this database's own."""
    study = study_queries.study(connection, study_id)
    digests = "".join(sorted(study_queries.digests(connection, study_id, revision)))
    contents = hashlib.sha256(digests.encode()).hexdigest()
    return study.site, study.study_instance_uid, str(revision), contents


def _told(lineage: str) -> str:
    """A lineage without the number of the study's row before its first slash."""
    return lineage.partition("/")[2]


def _id(*names: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join(names)))
