"""A study goes through each site story: in as its site sends, out to peers that nobody here wrote.

The tables are the examples' own, every block as it stands; only addresses become loopback ports, a
study is stable at once, and what would wait for an hour of the day may go now.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pydicom
import pytest

from engine.document import read
from examples.demo.senders import by_stow_rs
from examples.phantom import make_phantom
from tests.e2e.engine import Engine
from tests.peers.dcmtk import Storescp, storescu
from tests.peers.fhir import FhirServer
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers

STORIES = Path(__file__).parents[2] / "examples"
PATIENT = ("Phantom^Diffusion", "PHANTOM-1", "19800504", "PH000001")
ENHANCED_SR = {
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
}


@dataclass
class Town:
    """The peers of a story, started when a destination asks for them."""

    folder: Path
    make: dict[str, Callable[..., Any]]
    pacs: dict[str, Storescp] = field(default_factory=dict)
    his: MllpServer | None = None
    fhir: FhirServer | None = None
    hook: WebhookReceiver | None = None

    def serve(self, block: dict[str, Any]) -> dict[str, Any]:
        """The block of a destination, its peer running where it says."""
        kept = {key: value for key, value in block.items() if key not in ("maintenance", "retry")}
        kept["retry"] = {"first": "500ms", "cap": "2s"}
        if block["type"].startswith("dicom_"):
            title = block["ae_title"]
            self.pacs[title] = self.pacs.get(title) or self.make["pacs"](title)
            return {**kept, "host": "127.0.0.1", "port": self.pacs[title].port}
        if block["type"] == "hl7_oru":
            self.his = self.his or self.make["his"]()
            return {**kept, "host": "127.0.0.1", "port": self.his.port}
        if block["type"] in ("rest", "sftp"):  # its peer is a client
            return kept | {key: block[key] for key in ("retry",) if key in block}
        if block["type"] == "fhir_diagnostic_report":
            self.fhir = self.fhir or self.make["fhir"]()
            assert urlsplit(self.fhir.url).path == urlsplit(block["url"]).path
            return {**kept, "url": self.fhir.url}
        assert block["type"] == "webhook"
        self.hook = self.hook or self.make["hook"]()
        secret = self.folder / block["secret"]["file"]
        secret.write_text(self.hook.secret)
        return {**kept, "url": self.hook.url}


@pytest.fixture
def play(
    tmp_path: Path,
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    fhir_server: Callable[..., FhirServer],
    webhook_receiver: Callable[..., WebhookReceiver],
) -> Callable[..., tuple[Engine, Town]]:
    """A function that starts a story by its name, sends it one study, and waits for the deliveries."""

    def start(
        name: str,
        calling: str,
        delivered: dict[str, list[str]],
        *,
        instances: int = 4,
        at: Sequence[str] = (),
        before: Callable[[Engine], object] = lambda _: None,
    ) -> tuple[Engine, Town]:
        story = tmp_path / "engine-0"
        shutil.copytree(STORIES / name, story)
        makers = {"pacs": storescp, "his": hl7_mllp_server, "fhir": fhir_server, "hook": webhook_receiver}
        town = Town(story, makers)
        engine = engine_process(
            lambda port: on_loopback(read(STORIES / name / "routes.yaml").data, port, town, at),
            patient_data=PATIENT,
            environment={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},  # `python3`
        )
        before(engine)
        send(
            engine, make_phantom(tmp_path / "study", slices=instances // 2, volumes=2, size=16, b0=1), calling
        )
        engine.wait_for_states(delivered)
        return engine, town

    return start


def on_loopback(story: dict[str, Any], port: int, town: Town, at: Sequence[str]) -> dict[str, Any]:
    """The story with every address on this machine, and each schedule at the hour given for it."""
    table: dict[str, Any] = {key: story[key] for key in ("processors", "routes", "defaults") if key in story}
    for route, window in zip([one for one in table["routes"] if "schedule" in one], at, strict=True):
        route["schedule"] = window
    sites = {
        name: {
            **{k: v for k, v in site.items() if k not in ("tunnel", "forwards")},
            "addresses": ["127.0.0.1"],
        }
        for name, site in story["sites"].items()
    }
    ports = {"c_store": port, "sftp": 0}
    inbound = {
        name: {**way, "listen": f"127.0.0.1:{ports[way['type']]}"} if way["type"] in ports else way
        for name, way in story["inbound"].items()
    }
    outbound = {name: town.serve(block) for name, block in story["outbound"].items()}
    return {
        "assembly": {"stable_after": "500ms"},
        **table,
        "sites": sites,
        "inbound": inbound,
        "outbound": outbound,
    }


def send(engine: Engine, files: list[Path], calling: str) -> None:
    """By C-STORE under the calling AE title, or by STOW-RS where there is none."""
    if calling:
        sent = storescu(engine.dicom_port, files, calling=calling)
        assert len(sent.acknowledged) == len(files), sent.output
    else:
        address = {"engine": {"http": f"127.0.0.1:{engine.http_port}"}}
        assert sum(by_stow_rs(files, address)) == len(files)


def received(peer: Storescp, count: int) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in peer.wait_for_files(count)]


Play = Callable[..., tuple[Engine, Town]]
DONE = ["delivered"]


def test_the_single_hospital_has_report_and_pdf_and_its_ris_hears_of_it(play: Play) -> None:
    expected = {"stm-pacs": DONE, "stm-pacs-pdf": DONE, "stm-ris": DONE}
    _, town = play("single-hospital", "STM_PACS", expected, instances=60)
    assert len(received(town.pacs["STM_PACS"], 2)) == 2
    assert town.his is not None
    assert len(town.his.messages) == 1


def test_a_hospital_of_the_group_gets_what_is_its_own(play: Play) -> None:
    engine, town = play(
        "hospital-group", "NS_PACS", dict.fromkeys(("ns-pacs", "ns-pacs-pdf", "ns-archive"), DONE)
    )
    assert engine.studies()[0]["site"] == "northside"
    assert len(received(town.pacs["NS_VNA"], 4)) == 4
    assert received(town.pacs["NS_PACS"], 2)
    assert town.pacs["STM_PACS"].files == []
    assert town.his is not None
    assert town.his.messages == []


def test_the_result_goes_back_into_the_tunnel_that_its_study_came_from(play: Play) -> None:
    _, town = play("tunnelled-site", "NS_MR", {"ns-pacs": DONE})
    assert {one.SOPClassUID for one in received(town.pacs["NS_PACS"], 1)} <= ENHANCED_SR
    assert town.pacs["STM_PACS"].files == []


def test_the_brain_model_reads_the_brain(play: Play) -> None:
    _, town = play("two-models", "STM_MR1", {"stm-pacs": DONE})
    (report,) = received(town.pacs["STM_PACS"], 1)
    text = str(report)
    assert "'brain'" in text
    assert "knee" not in text


def test_the_candidate_runs_and_nobody_is_told(play: Play) -> None:
    engine, town = play("shadow-trial", "STM_PACS", {"stm-pacs": DONE, "stm-archive": DONE})
    assert len(received(town.pacs["STM_PACS"], 1)) == 1
    copies = received(town.pacs["STM_VNA"], 4)
    assert {one.InstitutionName for one in copies} == {"St. Mary's"}
    study = str(copies[0].StudyInstanceUID)

    def told() -> list[str]:
        return [event["text"] for event in engine.trace(study)]

    wait_until(
        lambda: [text for text in told() if text.startswith("candidate done")], "the candidate's run", 60
    )
    assert [text for text in told() if text.endswith("shadow: nothing is delivered")]


def test_the_clinic_without_dimse_posts_and_is_told_by_fhir_and_by_event(play: Play) -> None:
    engine, town = play("stow-only-site", "", {"hbr-fhir": DONE, "hbr-events": DONE, "hbr-drop": DONE})
    reports = sorted(path.suffix for path in engine.data.glob("sftp/drop/harbour/files/output/*/*"))
    assert reports == [".csv", ".pdf"]
    assert town.fhir is not None
    assert town.hook is not None
    assert len(town.fhir.wait_for("DiagnosticReport")) == 1
    assert [call.verified for call in town.hook.accepted] == [True]


def test_the_program_orders_fetches_and_acknowledges_what_waits_for_it(play: Play, tmp_path: Path) -> None:
    client, results = tmp_path / "client.json", tmp_path / "results"

    def run(engine: Engine, *command: str | Path) -> str:
        program = engine.folder / "client.py"
        asked = [sys.executable, program, "--engine", engine.url, "--client", client, *command]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def before(engine: Engine) -> None:
        scopes = ("--scope", "orders:write", "--scope", "orders:read", "--scope", "results:read")
        client.write_text(json.dumps(engine.json("client", "add", "mlb-his", "--site", "millbrook", *scopes)))
        assert run(engine, "order", PATIENT[3]) == run(engine, "order", PATIENT[3]) != ""

    engine, _ = play("rest-api", "", {"mlb-pull": ["waiting"]}, before=before)
    assert run(engine, "fetch", results) == "1 results"
    engine.wait_for_states({"mlb-pull": DONE})
    names = sorted(path.suffix for path in results.iterdir())
    assert names == [".dcm", ".json", ".pdf"]
    assert {path.stat().st_mode & 0o777 for path in results.iterdir()} == {0o600}
    (report,) = [pydicom.dcmread(path) for path in results.glob("*.dcm")]
    assert report.SOPClassUID in ENHANCED_SR
    assert run(engine, "fetch", results) == "0 results"


def test_the_ris_that_reads_hl7_gets_one_message_as_it_wants_it(play: Play) -> None:
    _, town = play("hl7-return", "LKV_PACS", {"lkv-ris": DONE})
    assert town.his is not None
    (message,) = town.his.messages
    assert str(message.segment("MSH")[12]) == "2.4"
    assert str(message.segment("MSH")[6]) == "LKV"
    assert str(message.segment("OBR")[24]) == "MR"
    assert "ED" in [str(one[2]) for one in message.segments("OBX")]


def test_the_fhir_server_has_one_report_with_its_pdf(play: Play) -> None:
    _, town = play("fhir-return", "RVS_PACS", {"rvs-fhir": DONE})
    assert town.fhir is not None
    (report,) = town.fhir.wait_for("DiagnosticReport")
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    assert town.fhir.resources("Observation")


def hours(begins: int, ends: int) -> str:
    """A daily window from and to so many hours from now, in the clinic's time."""
    now = datetime.now(ZoneInfo("Europe/Madrid"))
    return f"daily {now + timedelta(hours=begins):%H:%M}-{now + timedelta(hours=ends):%H:%M}"


def test_what_has_its_hour_goes_and_what_has_not_waits_in_sight(play: Play) -> None:
    engine, town = play(
        "night-batch",
        "HLS_PACS",
        {"hls-pacs": DONE, "hls-archive": ["waiting"]},
        at=[hours(-2, 2), hours(3, 5)],
    )
    assert len(received(town.pacs["HLS_PACS"], 1)) == 1
    assert town.pacs["HLS_VNA"].files == []
    (archive,) = [one for one in engine.deliveries() if one["destination"] == "hls-archive"]
    assert archive["attempts"] == 0
    assert archive["reason"] != ""
