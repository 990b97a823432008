"""Databases as earlier releases left them: the tables of a schema, with something in every one of them.

The rows are inserted into whatever columns that schema has, by names alone: nothing of the present
release's own definitions has a part in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, insert, select

from engine.audit import GENESIS, event_hash
from engine.store.database import Database
from engine.store.migrate import migrate

BEGAN = 1_700_000_000.0
NEVER = 1e18  # how the first schema marked the lane of a delivery that waits for another
STUDY = "1.2.826.0.1.3680043.8.498.1"
RESULT = "11111111-1111-4111-8111-111111111111"

Rows = dict[str, list[dict[str, Any]]]

OF_A_BUNDLE = "00000009-0000-4000-8000-00000000000b"


def lay(database: Database, revision: str, data: Path) -> None:
    """Make the tables of a schema and fill them."""
    migrate(database.engine, revision)
    tables = MetaData()
    tables.reflect(database.engine)
    rows = rows_of(revision, data)

    def fill(connection: Connection) -> None:
        for table in tables.sorted_tables:
            for row in rows.get(table.name, ()):
                connection.execute(insert(table).values(**row))

    database.write_now(fill)


def empty_tables(database: Database) -> list[str]:
    """Tables without a row."""
    tables = MetaData()
    tables.reflect(database.engine)

    def count(connection: Connection) -> list[str]:
        found: list[Table] = tables.sorted_tables
        return [one.name for one in found if connection.execute(select(one).limit(1)).first() is None]

    return database.read_now(count)


def rows_of(revision: str, data: Path) -> Rows:
    """What a release with this schema would have written, columns by name."""
    rows = _first(data)
    if revision >= "0002":
        _since_the_second(rows)
    if revision >= "0003":
        for artefact in rows["results"][0]["document"]["report"]["artefacts"]:
            artefact["path"] = f"artefacts/{RESULT}/{artefact['name']}"
    if revision >= "0004":
        _since_the_fourth(rows)
    if revision >= "0006":
        _since_the_sixth(rows)
    if revision >= "0005":
        _since_the_fifth(rows)
    if revision >= "0007":
        _since_the_seventh(rows)
    if revision >= "0009":
        member = {"delivery_id": "00000005-0000-4000-8000-000000000000", "bundle_id": OF_A_BUNDLE}
        rows["bundled"] = [{**member, "formed_at": BEGAN + 60}]
    return rows


def result_document(data: Path) -> dict[str, Any]:
    """A stored result of the first schema: its picture is named by an absolute path."""
    document: dict[str, Any] = json.loads(
        """{"result_id": "", "site": "st-marys", "route": "mr", "status": "final", "revision": 1,
        "supersedes": null, "produced_at": "2023-11-14T22:15:00Z", "order": {},
        "patient": {"patient_id": "P-4711",
          "name": {"alphabetic": "Yamada^Tarou", "ideographic": "山田^太郎"}},
        "study": {"study_instance_uid": "", "instances": []},
        "report": {"version": "pons.result/1", "status": "final", "title": "Quality", "narrative": "",
          "impression": "Within protocol.", "disclaimer": "",
          "findings": [{"concept": {"value": "SNR", "scheme": "99PONS", "meaning": "Signal to noise ratio"},
                        "value": "23.50", "unit": {"value": "1", "scheme": "UCUM", "meaning": "no units"}}],
          "artefacts": [{"name": "montage.png", "media_type": "image/png", "title": "", "sha256": ""}],
          "algorithm": {"name": "dti", "version": "1"}}}"""
    )
    document["result_id"] = RESULT
    document["study"]["study_instance_uid"] = STUDY
    document["report"]["artefacts"][0]["path"] = str(data.absolute() / "artefacts" / RESULT / "montage.png")
    return document


def _study(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": number,
        "site": "st-marys",
        "study_instance_uid": STUDY if number == 1 else f"{STUDY}.{number}",
        "state": "stable",
        "revision": 1,
        "inbound": "pacs",
        "calling_ae_title": "STM_PACS",
        "called_ae_title": "PONS",
        "remote_address": "127.0.0.1",
        "opened_at": BEGAN,
        "last_at": BEGAN + 5,
        "duplicates": 0,
        **changed,
    }


def _instance(number: int, study: int, revision: int | None) -> dict[str, Any]:
    uid = STUDY if study == 1 else f"{STUDY}.{study}"
    return {
        "id": number,
        "study_id": study,
        "site": "st-marys",
        "sop_instance_uid": f"{STUDY}.9.{number}",
        "series_instance_uid": f"{uid}.1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "sha256": f"{number:064x}",
        "size": 1000 + number,
        "path": f"st-marys/{uid}/{STUDY}.9.{number}-{number:016x}.dcm",
        "attributes": {"Modality": "MR"},
        "received_at": BEGAN + number,
        "revision": revision,
    }


def _delivery(seq: int, destination: str, **changed: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "delivery_id": f"{seq:08d}-0000-4000-8000-000000000000",
        "destination": destination,
        "order_key": f"st-marys/{STUDY}",
        "lineage": "1/dti-qc/mr",
        "study_id": 1,
        "study_revision": 1,
        "result_id": RESULT,
        "status": "final",
        "transform": [],
        "after": [],
        "state": "queued",
        "attempts": 0,
        "created_at": BEGAN + 60,
        "reason": "",
        **changed,
    }


def _lane(destination: str, **changed: Any) -> dict[str, Any]:
    key = f"st-marys/{STUDY}"
    return {
        "destination": destination,
        "order_key": key,
        "pending": 1,
        "due_at": BEGAN + 60,
        "fence": 1,
        **changed,
    }


def _first(data: Path) -> Rows:
    event = (BEGAN, "engine", "study held", f"study {STUDY}.3", {"why": "no route matched"})
    outcome = {"route": "mr", "hit": True, "why": "all", "position": "routes.yaml:1:1", "deliver": []}
    return {
        "studies": [
            _study(1),
            _study(2, state="receiving", revision=0),
            _study(3),
        ],
        "instances": [_instance(1, 1, 1), _instance(2, 1, 1), _instance(3, 2, None), _instance(4, 3, 1)],
        "revisions": [
            {"study_id": study, "revision": 1, "state": state, "closed_at": BEGAN + 50, "why": "quiet",
             "instances": count}
            for study, state, count in ((1, "decided", 2), (3, "held", 1))
        ],
        "decisions": [
            {"study_id": 1, "revision": 1, "table_version": "sha256:000000000000", "decided_at": BEGAN + 51,
             "decision": {"outcomes": [outcome], "table_version": "sha256:000000000000", "passed_over": 0}}
        ],
        "holds": [{"study_id": 3, "revision": 1, "reason": "no route matched", "held_at": BEGAN + 51}],
        "jobs": [
            {"job_id": f"job-{number}", "study_id": 1, "revision": 1, "processor": "dti-qc",
             "lineage": "1/dti-qc/mr", "outcomes": [outcome], "state": state, "due_at": BEGAN + 51,
             "owner": owner, "fence": 1, "attempts": 1, "queued_at": BEGAN + 51, "detail": ""}
            for number, state, owner in ((1, "done", None), (2, "running", "a node that is gone"))
        ],
        "results": [
            {"result_id": RESULT, "study_id": 1, "study_revision": 1, "lineage": "1/dti-qc/mr", "revision": 1,
             "status": "final", "shadow": False, "produced_at": BEGAN + 55, "document": result_document(data)}
        ],
        "deliveries": [
            _delivery(1, "his", attempts=1),
            _delivery(2, "pacs", after=["his"], reason="waits for his"),
            _delivery(3, "hook", state="dead", attempts=9, finished_at=BEGAN + 300, reason="403"),
            _delivery(4, "fhir", state="delivered", attempts=1, finished_at=BEGAN + 61, reason="201"),
        ],
        "lanes": [
            _lane("his", owner="a node that is gone", due_at=BEGAN + 120),
            _lane("pacs", due_at=NEVER),
            _lane("hook", pending=0),
            _lane("fhir", pending=0),
        ],
        "attempts": [
            {"delivery_id": f"{seq:08d}-0000-4000-8000-000000000000", "attempt": attempt,
             "started_at": BEGAN + 60, "outcome": outcome, "code": code, "detail": "", "warning": ""}
            for seq, attempt, outcome, code in (
                (1, 1, "unknown", ""), (3, 9, "refused", "403"), (4, 1, "delivered", "201"),
            )
        ],
        "audit_events": [
            {"at": event[0], "actor": event[1], "action": event[2], "subject": event[3], "detail": event[4],
             "prev_hash": GENESIS, "hash": event_hash(GENESIS, *event)}
        ],
    }  # fmt: skip


def _since_the_second(rows: Rows) -> None:
    """Destinations, storage commitment, and lanes that hold only what is queued."""
    for delivery in rows["deliveries"]:
        delivery["age_from"] = delivery["created_at"]
        if delivery["after"]:
            delivery["state"] = "waiting"
    for lane in rows["lanes"]:
        if lane["due_at"] == NEVER:
            lane |= {"due_at": BEGAN, "pending": 0}
    transaction = "1.2.826.0.1.3680043.8.498.77"
    rows["deliveries"].append(
        _delivery(
            5, "archive", state="waiting", attempts=1, age_from=BEGAN + 60, transaction_uid=transaction,
            stored=["1.2.3"], payload=[], reason="0000",
        )
    )  # fmt: skip
    rows["lanes"].append(_lane("archive", pending=0))
    rows["attempts"].append(
        {"delivery_id": "00000005-0000-4000-8000-000000000000", "attempt": 1, "started_at": BEGAN + 60,
         "outcome": "stored", "code": "0000", "detail": "", "warning": ""}
    )  # fmt: skip
    rows["commitments"] = [
        {"transaction_uid": transaction, "delivery_id": "00000005-0000-4000-8000-000000000000", "attempt": 1,
         "requested_at": BEGAN + 60, "expires_at": BEGAN + 1e9, "state": "requested"}
    ]  # fmt: skip
    rows["commitment_requests"] = [
        {"site": "st-marys", "inbound": "pacs", "calling_ae_title": "STM_PACS", "called_ae_title": "PONS",
         "transaction_uid": "1.2.3.4", "references": [["1.2.840.10008.5.1.4.1.1.4", f"{STUDY}.9.1"]],
         "requested_at": BEGAN, "state": "owed", "due_at": BEGAN, "attempts": 0, "detail": ""}
    ]  # fmt: skip
    rows["destinations"] = [
        {"destination": "hook", "breaker": "open", "failures": 9, "opened_at": BEGAN, "probe_at": BEGAN + 60,
         "openings": 1, "next_slot_at": 0.0, "paused_by": "", "pause_reason": ""}
    ]  # fmt: skip


def _since_the_fourth(rows: Rows) -> None:
    """Versions of the table, the engines that ran them, and the studies these held open."""
    version = "sha256:000000000000"
    rows["table_versions"] = [
        {"version": version, "main": "routes.yaml", "files": {"routes.yaml": "version: 1\n"},
         "first_seen_at": BEGAN}
    ]  # fmt: skip
    rows["table_changes"] = [
        {"version": version, "at": BEGAN, "actor": "engine", "action": "started", "message": "",
         "forced": False}
    ]  # fmt: skip
    rows["engines"] = [
        {"node": "a node that is gone", "started_at": BEGAN, "seen_at": BEGAN + 90, "table_version": version}
    ]
    rows["study_holders"] = [
        {"study_id": 2, "session": "s-1", "node": "a node that is gone", "until": BEGAN + 60}
    ]


def _since_the_fifth(rows: Rows) -> None:
    """Orders: one a study, as its way in made it, and one of a client's in a batch; what was retrieved."""
    rows["batches"] = [
        {"seq": 1, "batch_id": "b" * 32, "site": "st-marys", "submitter_kind": "client", "submitter": "ris",
         "name": "May", "created_at": BEGAN}
    ]  # fmt: skip
    rows["orders"] = [
        {"seq": study, "order_id": f"{study:032d}", "site": "st-marys", "submitter_kind": "channel",
         "submitter": "pacs", "inbound": "pacs", "study_id": study, "since_revision": 1,
         "study_instance_uid": STUDY if study == 1 else f"{STUDY}.{study}", "state": state,
         "overrides": {}, "created_at": BEGAN, "updated_at": BEGAN + 60}
        for study, state in ((1, "processing"), (2, "receiving"), (3, "held"))
    ] + [
        {"seq": 4, "order_id": f"{4:032d}", "site": "st-marys", "submitter_kind": "client",
         "submitter": "ris", "batch_id": "b" * 32, "state": "created", "created_at": BEGAN,
         "overrides": {"PatientSex": "F"}, "updated_at": BEGAN, "accession_number": "ACC-9"}
    ]  # fmt: skip
    rows["order_results"] = [
        {"seq": 1, "order_id": f"{1:032d}", "result_id": RESULT, "site": "st-marys", "filed_at": BEGAN + 55}
    ]
    rows["retrievals"] = [{"reader": "ris", "seq": 1, "acknowledged_at": BEGAN + 90}]
    rows["retrieval_marks"] = [{"reader": "ris", "site": "st-marys", "seq": 0}]


def _since_the_sixth(rows: Rows) -> None:
    """Clients of the authorization server, an assertion that was used up, a token that was called back."""
    rows["clients"] = [
        {"client_id": "stm-his", "name": "HIS of St. Mary's", "site": "st-marys", "scopes": ["orders:read"],
         "secret_hash": "a" * 64, "previous_hash": "", "previous_until": 0.0, "keys": [], "created_at": BEGAN,
         "created_by": "root (uid 0)"}
    ]  # fmt: skip
    rows["client_assertions"] = [{"client_id": "stm-his", "digest": "b" * 64, "until": BEGAN + 300}]
    rows["revoked_tokens"] = [
        {"token_id": "22222222-2222-4222-8222-222222222222", "client_id": "stm-his", "revoked_at": BEGAN,
         "until": BEGAN + 3600}
    ]  # fmt: skip


def _since_the_seventh(rows: Rows) -> None:
    """Somebody who is signed in, somebody who is invited, and what was tried."""
    rows["people"] = [
        {"person_id": f"{number:036d}", "username": name, "display_name": name, "memberships": [],
         "password_hash": hashed, "second_factor": secret, "last_step": 56666666, "identity_issuer": "",
         "created_at": BEGAN, "created_by": "root (uid 0)"}
        for number, name, hashed, secret in ((1, "ana", "$argon2id$", "enciphered"), (2, "ben", "", ""))
    ]  # fmt: skip
    ana, ben = (row["person_id"] for row in rows["people"])
    rows["person_sessions"] = [
        {"session_id": "s" * 36, "token_hash": "a" * 64, "person_id": ana, "stage": "open", "csrf_token": "c",
         "remote_address": "192.0.2.7", "signed_in_at": BEGAN, "expires_at": BEGAN + 3600, "enrolling": ""}
    ]  # fmt: skip
    rows["recovery_codes"] = [{"person_id": ana, "code_hash": "b" * 64}]
    rows["invitations"] = [{"token_hash": "d" * 64, "person_id": ben, "until": BEGAN + 72 * 3600}]
    rows["sign_in_tries"] = [
        {"kind": "person", "key": ana, "failures": [BEGAN], "locks": 0, "locked_at": 0.0, "locked_until": 0.0,
         "until": BEGAN + 900}
    ]  # fmt: skip
    rows["sign_in_places"] = [{"person_id": ana, "network": "192.0.2.7", "until": BEGAN + 30 * 86400}]
    rows["outside_states"] = [{"state_hash": "e" * 64, "until": BEGAN + 600}]
