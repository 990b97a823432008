"""An engine starts on what an earlier release left, and goes on with it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate, revisions, schema_of
from tests.e2e.engine import PONS, Engine
from tests.e2e.studies import PERSON, data_sets, small_study
from tests.engine.store.earlier import RESULT, STUDY, lay, rows_of
from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers


def test_what_the_first_schema_had_queued_waiting_and_dead_is_delivered(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study: Path,
    tmp_path: Path,
) -> None:
    """The queued one's engine died with it; one waits for it; a third gave up; a study was half here."""
    his, hook, later, archive = hl7_mllp_server(), webhook_receiver(), webhook_receiver(), storescp("ARCHIVE")
    to = {"site": "st-marys", "retry": {"first": "300ms", "cap": "1s"}}

    def table(dicom_port: int) -> dict[str, object]:
        here = {"host": "127.0.0.1"}
        return {
            "assembly": {"stable_after": "1s"},
            "sites": {"st-marys": {"name": "St. Mary's", "addresses": ["127.0.0.1"]}},
            "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
            "outbound": {
                "his": {"type": "hl7_oru", **to, **here, "port": his.port},
                "pacs": {"type": "webhook", **to, "url": later.url, "secret": {"env": "LATER"}},
                "hook": {"type": "webhook", **to, "url": hook.url, "secret": {"env": "HOOK"}},
                "archive": {
                    "type": "dicom_forward",
                    **to,
                    **here,
                    "port": archive.port,
                    "ae_title": "ARCHIVE",
                },
            },
            "routes": [{"name": "mr", "match": {"series": {"Modality": "MR"}}, "deliver": ["archive"]}],
        }

    engine = engine_process(
        table,
        start=False,
        environment={"HOOK": hook.secret, "LATER": later.secret},
        patient_data=(*PERSON.words, "P-4711", "Yamada"),
    )
    files = small_study(real_study, tmp_path / "study")
    for row, file in zip(rows_of("0001", engine.data)["instances"], files, strict=False):
        kept = engine.data / "instances" / row["path"]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(file.read_bytes())
    database = SqliteDatabase(engine.data / "pons.sqlite")
    lay(database, "0001", engine.data)
    database.close()
    before = data_sets(engine.instance_files())

    engine.start()

    [message] = his.wait_for_messages(1)
    [told] = later.wait_for_accepted(1)
    assert len(archive.wait_for_files(1)) == 1, "the study that was half here is stable now, and goes on"
    wait_until(lambda: engine.delivery_states().get("archive") == ["delivered"], "the study to be delivered")
    assert engine.delivery_states() == {
        "his": ["delivered"],
        "pacs": ["delivered"],
        "hook": ["dead"],
        "fhir": ["delivered"],
        "archive": ["delivered"],
    }
    assert told.event["data"]["result"]["id"] == RESULT
    assert "23.50" in str(message), "the result is the one that the earlier release had stored"
    assert hook.calls == [], "a dead letter stays dead until a person says otherwise"
    assert data_sets(engine.instance_files()) == before

    engine.pons("replay", "--from", "deliver", "--destination", "hook", "--reason", "upgraded", "--yes")

    [again] = hook.wait_for_accepted(1)
    assert again.event["data"]["result"]["id"] == RESULT
    assert {"received", "attempt"} <= {event["what"] for event in engine.trace(STUDY)}


def test_an_engine_refuses_the_data_folder_of_a_newer_release(
    engine_process: Callable[..., Engine],
) -> None:
    engine = engine_process(
        {"sites": {"st-marys": {"name": "St. Mary's", "addresses": ["127.0.0.1"]}}}, start=False
    )
    database = SqliteDatabase(engine.data / "pons.sqlite")
    migrate(database.engine)
    with database.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    done = subprocess.run(
        [str(PONS), "run", "--table", str(engine.table)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    engine.log.write_text(done.stderr)
    assert done.returncode == 1
    assert f"schema 9999, which this release (schema {revisions()[-1]}) does not know" in done.stderr
    assert "run the release that wrote it, or restore a backup made before the upgrade" in done.stderr
    with database.engine.connect() as connection:
        assert schema_of(connection) == "9999"
    database.close()
