"""What becomes of studies and deliveries when not all is well: held, late, dead, refused, repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.fhir import FhirServer
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers

RETRY = {"first": "300ms", "cap": "1s"}
# Of age, which counts from when a delivery was queued: a busy machine takes a while to begin.
QUICK_TO_GIVE_UP = {"first": "200ms", "cap": "300ms", "give_up_after": "10s"}
TO = {"site": "st-marys", "retry": RETRY, "breaker": {"open_for": "500ms", "cap": "1s"}}


def table(dicom_port: int, outbound: dict[str, Any], **assembly: str) -> dict[str, Any]:
    """Every MR series is judged and its result goes everywhere; all else is held."""
    return {
        "assembly": {"stable_after": "1s", **assembly},
        "sites": {"st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": outbound,
        "routes": [
            {
                "name": "diffusion",
                "match": {"series": {"Modality": "MR", "SeriesDescription": {"matches": "(?i)dti"}}},
                "process": "dti-qc",
                "deliver": list(outbound),
            },
            {"name": "nothing matched", "otherwise": True, "hold": "no route matched"},
        ],
    }


def send(engine: Engine, files: list[Path]) -> str:
    """Send by storescu; the Study Instance UID."""
    sent = dcmtk.storescu(engine.dicom_port, files)
    assert len(sent.acknowledged) == len(files), sent.output[-2000:]
    return study_of(files[0])


@pytest.fixture
def engine_to(engine_process: Callable[..., Engine]) -> Callable[..., Engine]:
    """An engine that sends results to the given outbound channels."""

    def make(
        outbound: dict[str, Any], *, environment: dict[str, str] | None = None, **assembly: str
    ) -> Engine:
        return engine_process(
            lambda port: table(port, outbound, **assembly),
            patient_data=PERSON.words,
            environment=environment,
        )

    return make


def test_a_study_that_no_route_wants_is_held_and_visible_with_its_reason(
    engine_to: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his = hl7_mllp_server()
    engine = engine_to({"his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port}})
    files = small_study(real_study, tmp_path / "knee", instances=2, SeriesDescription="sag pd")

    uid = send(engine, files)

    study = engine.wait_for_study(study=uid, state="held")
    assert study["instances"] == 2
    story = {event["what"]: event["text"] for event in engine.trace(uid)}
    assert "no route matched" in story["held"]
    assert engine.metrics()["pons_holds_open"] == 1
    assert engine.deliveries() == []
    assert his.received == []


def test_late_instances_make_revision_2_and_a_corrected_result(
    engine_to: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his = hl7_mllp_server()
    engine = engine_to({"his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port}})
    early = small_study(real_study, tmp_path / "early")
    uid = send(engine, early)
    engine.wait_for_states({"his": ["delivered"]})

    send(engine, early)  # all duplicates: nothing happens
    assert engine.wait_for_study(study=uid, duplicates=8)["revision"] == 1
    send(engine, small_study(real_study, tmp_path / "late", skip=8, instances=2, study_instance_uid=uid))

    engine.wait_for_states({"his": ["delivered", "delivered"]})
    assert engine.wait_for_study(study=uid)["revision"] == 2
    assert [str(message.segment("OBR")[25]) for message in his.messages] == ["F", "C"]


def test_a_dead_destination_does_not_stop_the_others_and_gets_its_own_once_it_lives(
    engine_to: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study: Path,
    tmp_path: Path,
) -> None:
    dead, his, hook = storescp("DEAD", start=False), hl7_mllp_server(), webhook_receiver()
    engine = engine_to(
        {
            "dead": {"type": "dicom_sr", **TO, "host": "127.0.0.1", "port": dead.port, "ae_title": "DEAD"},
            "his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port},
            "hook": {"type": "webhook", **TO, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
        },
        environment={"HOOK_SECRET": hook.secret},
    )

    for number in range(2):  # the second study passes the first one's waiting report
        send(engine, small_study(real_study, tmp_path / f"{number}", instances=4))
    his.wait_for_messages(2)
    hook.wait_for_accepted(2)

    waiting = {"dead": ["queued"] * 2, "his": ["delivered"] * 2, "hook": ["delivered"] * 2}
    engine.wait_for_states(waiting)
    wait_until(
        lambda: all(d["attempts"] >= 2 for d in engine.deliveries() if d["destination"] == "dead"),
        "two attempts at the dead destination",
        every=0.5,
    )
    assert all(d["reason"] for d in engine.deliveries() if d["destination"] == "dead")

    dead.start()
    engine.wait_for_states(dict.fromkeys(waiting, ["delivered"] * 2))
    assert len(dead.files) == 2
    assert (len(his.received), len(hook.accepted)) == (2, 2)


def test_a_transient_failure_is_followed_by_one_delivery_with_the_same_identifiers(
    engine_to: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    fhir_server: Callable[..., FhirServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his, hook, fhir = hl7_mllp_server(("close", "AE")), webhook_receiver((503, 500)), fhir_server()
    fhir.answer_next([503, 429])
    engine = engine_to(
        {
            "his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port},
            "hook": {"type": "webhook", **TO, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
            "fhir": {"type": "fhir_diagnostic_report", **TO, "url": fhir.url},
        },
        environment={"HOOK_SECRET": hook.secret},
    )

    uid = send(engine, small_study(real_study, tmp_path / "study"))
    engine.wait_for_states({name: ["delivered"] for name in ("his", "hook", "fhir")})

    assert {d["destination"]: d["attempts"] for d in engine.deliveries()} == dict.fromkeys(
        ("his", "hook", "fhir"), 3
    )
    assert len(set(his.received)) == 1, "a resend differs from the first attempt"
    assert len(his.received) == 3
    assert [call.answered for call in hook.calls] == [503, 500, 204]
    assert len({(call.webhook_id, call.body) for call in hook.calls}) == 1
    assert len(fhir.resources("DiagnosticReport")) == 1
    attempts = [event["text"] for event in engine.trace(uid) if event["what"] == "attempt"]
    assert len(attempts) == 9


def test_a_refusal_for_good_is_a_dead_letter_with_its_reason(
    engine_to: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    fhir_server: Callable[..., FhirServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    absent = storescp("ABSENT", start=False)
    his, hook, fhir = hl7_mllp_server(("AR",)), webhook_receiver((410,)), fhir_server()
    fhir.answer_next([422])
    engine = engine_to(
        {
            "absent": {
                "type": "dicom_sr",
                **TO,
                "retry": QUICK_TO_GIVE_UP,
                "host": "127.0.0.1",
                "port": absent.port,
                "ae_title": "ABSENT",
            },
            "his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port},
            "hook": {"type": "webhook", **TO, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
            "fhir": {"type": "fhir_diagnostic_report", **TO, "url": fhir.url},
        },
        environment={"HOOK_SECRET": hook.secret},
    )

    uid = send(engine, small_study(real_study, tmp_path / "study"))
    engine.wait_for_states({name: ["dead"] for name in ("absent", "his", "hook", "fhir")})

    letters = {delivery["destination"]: delivery for delivery in engine.deliveries()}
    assert {name: letter["attempts"] for name, letter in letters.items() if name != "absent"} == {
        "his": 1,
        "hook": 1,
        "fhir": 1,
    }
    assert letters["absent"]["attempts"] > 1
    assert "gave up" in letters["absent"]["reason"]
    assert all(letter["reason"] for letter in letters.values())
    attempts = [event["text"] for event in engine.trace(uid) if event["what"] == "attempt"]
    for name, said in (("his", "AR"), ("hook", "410"), ("fhir", "422")):
        assert any(text.startswith(f"{name} ") and f"refused {said}" in text for text in attempts), attempts
    assert fhir.resources("DiagnosticReport") == []


def test_an_engine_stopped_between_two_studies_goes_on_where_it_was(
    engine_to: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his = hl7_mllp_server()
    engine = engine_to({"his": {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": his.port}})
    first = send(engine, small_study(real_study, tmp_path / "first"))
    engine.wait_for_states({"his": ["delivered"]})

    engine.restart()
    send(engine, small_study(real_study, tmp_path / "second"))

    engine.wait_for_states({"his": ["delivered", "delivered"]})
    assert engine.wait_for_study(study=first)["revision"] == 1
    assert len(his.received) == 2
