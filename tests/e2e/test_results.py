"""A result after it was made: fetched by link, exported by command, taken back beside a running engine."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage

from engine.audit import verify
from engine.store.sqlite import connect
from engine.store.tables import audit_events
from tests.e2e.engine import Engine, running_engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers

PUBLIC = "https://pons.example/engine"
FORMATS = {
    "csv": "csv", "fhir": "fhir.json", "json": "json", "pdf": "pdf", "png": "png", "sr": "dcm", "txt": "txt",
    "xml": "xml",
}  # fmt: skip
"""How a file in each is named."""


@dataclass
class Told:
    """An engine whose one result went to a HIS, a PACS and, as an event with links, to a hook."""

    engine: Engine
    study: str
    hook: WebhookReceiver
    his: MllpServer
    pacs: Storescp
    result_id: str

    def link(self, name: str) -> str:
        """The address of a file, as a receiver behind the public address would reach it."""
        links = self.hook.calls[0].event["data"]["links"]
        url: str = next(one["url"] for one in links if one["name"] == name)
        assert url.startswith(PUBLIC + "/artefacts/")
        return self.engine.url + url.removeprefix(PUBLIC)

    def audit(self) -> list[Any]:
        """The audit trail, which must be whole."""
        database = connect(self.engine.data / "pons.sqlite")
        try:
            with database.connect() as connection:
                assert verify(connection) is None
                return list(connection.execute(audit_events.select()).all())
        finally:
            database.dispose()


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("results")
    his, hook = MllpServer(folder / "his", free_port()), WebhookReceiver(free_port())
    pacs = Storescp(folder / "pacs", free_port(), "PACS", ()).start()
    dicom_port = free_port()
    to = {"site": "st-marys", "retry": {"first": "300ms", "cap": "1s"}}
    table = {
        "assembly": {"stable_after": "1s"},
        "sites": {"st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": {
            "his": {"type": "hl7_oru", **to, "host": "127.0.0.1", "port": his.port},
            "pacs": {"type": "dicom_sr", **to, "host": "127.0.0.1", "port": pacs.port, "ae_title": "PACS"},
            "hook": {"type": "webhook", **to, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
        },
        "routes": [
            {
                "name": "mr",
                "match": {"series": {"Modality": "MR"}},
                "process": "dti-qc",
                "deliver": ["his", "pacs", "hook"],
            }
        ],
    }
    files = small_study(real_study, folder / "study", instances=4)
    try:
        with running_engine(
            folder / "engine",
            free_port(),
            dicom_port,
            table,
            patient_data=PERSON.words,
            environment={"HOOK_SECRET": hook.secret},
            engine={"public_url": PUBLIC},
        ) as engine:
            sent = dcmtk.storescu(dicom_port, files)
            assert len(sent.acknowledged) == len(files), sent.output[-2000:]
            engine.wait_for_states({name: ["delivered"] for name in table["outbound"]})
            study = study_of(files[0])
            (listed,) = engine.json("result", "list", study)
            yield Told(engine, study, hook, his, pacs, listed["result"])
    finally:
        his.stop()
        hook.stop()
        pacs.stop()


def test_an_event_links_to_the_result_in_every_format_for_a_week(told: Told) -> None:
    event = told.hook.calls[0].event
    links = {one["name"]: one for one in event["data"]["links"]}
    assert set(links) >= {f"result.{suffix}" for suffix in FORMATS.values()}
    assert len(told.hook.calls[0].body) < 20_000
    for link in links.values():
        answer = httpx.get(told.link(link["name"]), trust_env=False)
        assert (answer.status_code, answer.headers["content-type"]) == (200, link["media_type"])
        assert answer.headers["cache-control"] == "no-store"
        if "sha256" in link:
            assert hashlib.sha256(answer.content).hexdigest() == link["sha256"]
    assert PERSON.patient_id in httpx.get(told.link("result.csv"), trust_env=False).text


def test_each_hand_out_is_on_the_audit_trail_without_the_patient(told: Told) -> None:
    before = len([one for one in told.audit() if one.action == "artefact handed out"])
    assert httpx.get(told.link("result.txt"), trust_env=False).status_code == 200
    events = [one for one in told.audit() if one.action == "artefact handed out"]
    assert len(events) == before + 1
    assert (events[-1].subject, events[-1].detail["name"]) == (f"result {told.result_id}", "result.txt")
    assert not [word for word in PERSON.words if word in json.dumps(events[-1].detail) + events[-1].actor]


def test_a_link_that_was_changed_opens_nothing(told: Told) -> None:
    url = told.link("result.pdf")
    later = re.sub(r"expires=(\d+)", lambda found: f"expires={int(found[1]) + 1}", url)
    other = url.replace("result.pdf", "result.csv")
    unsigned = url.partition("?")[0]
    for changed in (later, other, unsigned, url[:-1] + ("0" if url[-1] != "0" else "1")):
        assert httpx.get(changed, trust_env=False).status_code == 403, changed
    away = url.replace("result.pdf", "..%2F..%2Fpons.sqlite")
    assert httpx.get(away, trust_env=False).status_code in (403, 404)
    key = told.engine.data / "link.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_is_exported_into_a_private_file(told: Told, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"result.{FORMATS[form]}"
    told.engine.pons("result", "export", told.result_id, "--format", form, "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_bytes() == httpx.get(told.link(out.name), trust_env=False).content


def test_a_result_is_shown_without_its_patient(told: Told) -> None:
    shown = told.engine.json("result", "show", told.result_id)
    assert (shown["study"], shown["status"], shown["revision"]) == (told.study, "final", 1)
    assert {one["destination"]: one["state"] for one in shown["deliveries"]} == {
        "his": "delivered",
        "pacs": "delivered",
        "hook": "delivered",
    }
    assert len(shown["findings"]) > 3
    assert shown["findings"][0]["finding"] in told.engine.pons("result", "show", told.result_id)


def test_what_cannot_be_exported_is_said_clearly(told: Told) -> None:
    told.engine.pons("result", "export", told.result_id, "--format", "docx", expect=2)
    told.engine.pons("result", "export", "no-such-id", "--format", "csv", expect=1)


# The last of the module: it ends the result's life.
def test_a_retraction_reaches_everybody_who_had_the_result(told: Told) -> None:
    engine, reason = told.engine, "wrong protocol was applied"
    preview = engine.pons("result", "retract", told.result_id, "--reason", reason)
    assert "his, pacs, hook" in preview
    assert "nothing was changed" in preview
    assert len(engine.json("result", "list", told.study)) == 1

    engine.pons("result", "retract", told.result_id, "--reason", reason, "--yes")

    engine.wait_for_states({name: ["delivered"] * 2 for name in ("his", "pacs", "hook")})
    first, second = engine.json("result", "list", told.study)
    assert (second["status"], second["revision"], second["supersedes"]) == ("retracted", 2, first["result"])
    wait_until(lambda: len(told.hook.calls) >= 2, "the retraction's event", 20)
    event = told.hook.calls[-1].event
    assert (event["type"], event["data"]["result"]["supersedes"]) == ("result.retracted", told.result_id)
    assert f"Retracted: {reason}" in event["data"]["text"]["narrative"]
    message = told.his.wait_for_messages(2)[-1]
    assert {str(obx[11]) for obx in message.segments("OBX")} == {"D"}
    report, note = sorted(
        map(pydicom.dcmread, told.pacs.wait_for_files(2)), key=lambda one: one.Modality != "SR"
    )
    assert note.SOPClassUID == KeyObjectSelectionDocumentStorage
    (named,) = note.CurrentRequestedProcedureEvidenceSequence
    rejected = [
        one.ReferencedSOPInstanceUID for one in named.ReferencedSeriesSequence[0].ReferencedSOPSequence
    ]
    assert rejected == [report.SOPInstanceUID]

    (audited,) = [one for one in told.audit() if one.action == "result retracted"]
    assert audited.detail["told"] == ["his", "pacs", "hook"]
    assert audited.detail["reason"] == reason
    assert "uid " in audited.actor

    assert httpx.get(told.link("result.pdf"), trust_env=False).status_code == 410  # the version before
    engine.pons("result", "retract", told.result_id, "--reason", "again", "--yes", expect=1)
    assert len(engine.json("result", "list", told.study)) == 2
