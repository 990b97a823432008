"""The operator's desk beside a running engine: dead letters go again, studies are taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers

TO = {
    "site": "st-marys",
    "retry": {"first": "200ms", "cap": "300ms", "give_up_after": "6s"},
    "breaker": {"open_for": "500ms", "cap": "1s"},
}
WHY = ("--reason", "the receiver is back", "--yes")


def table(
    dicom_port: int,
    outbound: dict[str, Any],
    deliver: list[Any] | None = None,
    *,
    modality: str = "MR",
    route: str = "diffusion",
) -> dict[str, Any]:
    """Every MR series is judged and its result goes to those named, or everywhere; all else is held."""
    return {
        "assembly": {"stable_after": "1s"},
        "sites": {
            "st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]},
            "elsewhere": {"name": "Elsewhere", "addresses": ["127.0.0.2"]},
        },
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": outbound,
        "routes": [
            {
                "name": route,
                "match": {"series": {"Modality": modality}},
                "process": "dti-qc",
                "deliver": deliver or list(outbound),
            },
            {"name": "nothing matched", "otherwise": True, "hold": "no route matched"},
        ],
    }


def oru(port: int, **more: Any) -> dict[str, Any]:
    return {"type": "hl7_oru", **TO, "host": "127.0.0.1", "port": port, **more}


def send(engine: Engine, files: list[Path]) -> str:
    """Send by storescu; the Study Instance UID."""
    sent = dcmtk.storescu(engine.dicom_port, files)
    assert len(sent.acknowledged) == len(files), sent.output[-2000:]
    return study_of(files[0])


def test_dead_letters_go_again_under_the_same_identifiers_once_the_receivers_live(
    engine_process: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    free_port: Callable[[], int],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his, hook, down = hl7_mllp_server(["AR"]), webhook_receiver([400]), free_port()
    outbound = {
        "his": oru(his.port),
        "ris": oru(down),
        "hook": {"type": "webhook", **TO, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
        "after": oru(his.port),
    }
    deliver = ["his", "ris", "hook", {"to": "after", "after": ["ris"]}]
    engine = engine_process(
        lambda port: table(port, outbound, deliver),
        patient_data=PERSON.words,
        environment={"HOOK_SECRET": hook.secret},
    )
    uid = send(engine, small_study(real_study, tmp_path / "study", instances=2))
    engine.wait_for_states({"his": ["dead"], "ris": ["dead"], "hook": ["dead"], "after": ["waiting"]})

    dead = {row["destination"]: row for row in engine.json("dead")}
    assert set(dead) == {"his", "ris", "hook"}
    assert dead["his"]["reason"].startswith("AR")
    assert "gave up after" in dead["ris"]["reason"]
    tries = engine.json("dead", "show", dead["ris"]["delivery"])["tries"]
    assert len(tries) == dead["ris"]["attempts"] > 1

    preview = engine.pons("replay", "--from", "deliver", "--study", uid)
    assert "3 deliveries selected: 3 would be replayed, 0 left out" in preview
    engine.pons("replay", "--from", "deliver", "--study", uid, "--yes", expect=2)  # no reason
    assert len(engine.json("dead")) == 3, "nothing was changed"

    ris = hl7_mllp_server(port=down)
    engine.pons("replay", "--from", "deliver", "--study", uid, "--state", "dead", *WHY)
    engine.wait_for_states({name: ["delivered"] for name in outbound})

    first, again = hook.calls
    assert (first.webhook_id, first.body) == (again.webhook_id, again.body)
    wait_until(lambda: len(his.received) == 3, "the refused one, the same again, and its dependant")
    assert his.received[0] in his.received[1:], "the same bytes: a receiver that had it knows it"
    assert len(ris.received) == 1
    assert engine.json("dead") == []
    (event,) = engine.json("audit", "--action", "replayed")
    assert (event["subject"], event["detail"]["reason"]) == ("3 from deliver", WHY[1])
    assert engine.pons("audit", "verify").endswith("the chain is whole\n")
    assert [one["text"] for one in engine.trace(uid) if one["what"] == "person"]


def test_a_dead_letter_goes_to_another_destination_of_its_site_and_to_no_other_site(
    engine_process: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    free_port: Callable[[], int],
    real_study: Path,
    tmp_path: Path,
) -> None:
    desk, abroad = hl7_mllp_server(), hl7_mllp_server()
    outbound = {
        "ris": oru(free_port()),
        "desk": oru(desk.port),
        "abroad": oru(abroad.port, site="elsewhere"),
    }
    engine = engine_process(lambda port: table(port, outbound, ["ris"]), patient_data=PERSON.words)
    uid = send(engine, small_study(real_study, tmp_path / "study", instances=2))
    engine.wait_for_states({"ris": ["dead"]})

    refused = engine.pons("replay", "--from", "deliver", "--study", uid, "--to", "abroad", *WHY, expect=1)
    assert "destination abroad belongs to another site" in refused
    engine.pons("replay", "--from", "deliver", "--study", uid, "--to", "desk", *WHY)

    engine.wait_for_states({"ris": ["dead"], "desk": ["delivered"]})
    (message,) = desk.wait_for_messages(1)
    assert str(message.segment("OBR")[25]) == "F"
    again = engine.pons("replay", "--from", "deliver", "--study", uid, "--to", "desk", *WHY, expect=1)
    assert "desk has it" in again
    (letter,) = engine.json("dead")
    engine.pons("dead", "discard", letter["delivery"], "--reason", "desk has it", "--yes")
    engine.wait_for_states({"ris": ["discarded"], "desk": ["delivered"]})
    assert abroad.received == []


def test_a_study_taken_up_again_corrects_what_its_receivers_have_and_doubles_nothing(
    engine_process: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    storescp: Callable[..., Storescp],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his, archive = hl7_mllp_server(), storescp("ARCHIVE")
    outbound = {
        "his": oru(his.port),
        "archive": {
            "type": "dicom_forward", **TO, "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE",
        },
    }  # fmt: skip
    engine = engine_process(lambda port: table(port, outbound), patient_data=PERSON.words)
    uid = send(engine, small_study(real_study, tmp_path / "study", instances=2))
    engine.wait_for_states({"his": ["delivered"], "archive": ["delivered"]})
    stored = [path.name for path in archive.wait_for_files(2)]

    def standing() -> list[str]:
        return [str(message.segment("OBR")[25]) for message in his.messages]

    engine.pons("replay", "--from", "process", uid, *WHY)
    engine.wait_for_states({"his": ["delivered"] * 2, "archive": ["delivered"]})
    engine.pons("replay", "--from", "route", uid, *WHY)
    engine.wait_for_states({"his": ["delivered"] * 3, "archive": ["delivered"] * 2})
    engine.pons("replay", "--from", "assemble", uid, *WHY)
    engine.wait_for_states({"his": ["delivered"] * 4, "archive": ["delivered"] * 3})

    assert standing() == ["F", "C", "C", "C"]
    fillers = {str(message.segment("OBR")[3]) for message in his.messages}
    assert len(fillers) == 1, "one report, in four versions"
    assert len({str(message.segment("MSH")[10]) for message in his.messages}) == 4
    assert [path.name for path in archive.files] == stored, "the same instances under the same UIDs"
    versions = [(one["status"], one["revision"]) for one in engine.json("result", "list", uid)]
    assert versions == [("final", 1), ("corrected", 2), ("corrected", 3), ("corrected", 4)]
    assert engine.wait_for_study(study=uid)["revision"] == 2


def test_a_held_study_goes_on_by_the_corrected_table(
    engine_process: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his = hl7_mllp_server()
    outbound = {"his": oru(his.port)}
    engine = engine_process(lambda port: table(port, outbound, modality="CT"), patient_data=PERSON.words)
    uid = send(engine, small_study(real_study, tmp_path / "study", instances=2))
    engine.wait_for_study(study=uid, state="held")

    engine.write_table(table(engine.dicom_port, outbound))
    engine.restart()
    (hold,) = engine.json("hold")
    assert (hold["study"], hold["reason"]) == (uid, "no route matched")
    assert "is decided again" in engine.pons(
        "hold", "release", str(hold["hold"]), "--reason", "MR was forgotten", "--then", "route"
    )
    assert his.received == []
    engine.pons(
        "hold", "release", str(hold["hold"]), "--reason", "MR was forgotten", "--then", "route", "--yes"
    )

    engine.wait_for_states({"his": ["delivered"]})
    assert engine.json("hold") == []
    assert engine.wait_for_study(study=uid)["state"] == "stable"
    assert [str(message.segment("OBR")[25]) for message in his.messages] == ["F"]


def test_a_result_that_the_table_makes_no_more_is_not_left_standing_unseen(
    engine_process: Callable[..., Engine],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> None:
    his = hl7_mllp_server()
    outbound = {"his": oru(his.port)}
    engine = engine_process(lambda port: table(port, outbound), patient_data=PERSON.words)
    uid = send(engine, small_study(real_study, tmp_path / "study", instances=2))
    engine.wait_for_states({"his": ["delivered"]})
    (first,) = engine.json("result", "list", uid)

    engine.write_table(table(engine.dicom_port, outbound, route="renamed"))
    engine.restart()
    engine.pons("replay", "--from", "route", uid, *WHY)

    engine.wait_for_states({"his": ["delivered"] * 2})
    (hold,) = engine.json("hold")
    assert f"result {first['result']} of route diffusion stands at his" in hold["reason"]
    engine.pons("result", "retract", first["result"], "--reason", "made again by another route", "--yes")
    engine.wait_for_states({"his": ["delivered"] * 3})
    assert [str(message.segment("OBR")[25]) for message in his.messages][:2] == ["F", "F"]
    engine.pons("hold", "release", str(hold["hold"]), "--reason", "retracted", "--yes")
    assert engine.json("hold") == []
