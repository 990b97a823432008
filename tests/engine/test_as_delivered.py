"""What a table's test expects of what leaves is what leaves: the same study, once by each way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread

from engine.channel import OutboundContext
from engine.config import load
from engine.intake import DurableIntake
from engine.model import Payload
from engine.outgoing import Outgoing
from engine.rendering import Rendering
from engine.route import decide
from engine.store.tables import deliveries
from engine.table_tests import run_tests, study_of
from tests.engine.processing_rig import HEAD, REPORT, Rig, writes

TABLE = (
    HEAD
    + """outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  late: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
  fhir: {type: fhir_diagnostic_report, site: st-marys, url: "http://127.0.0.1:8081/fhir"}
  pacs: {type: dicom_sr, site: st-marys, host: 127.0.0.1, port: 105, ae_title: PACS}
  archive: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 104, ae_title: ARCHIVE}
routes:
  - name: mr
    match: {series: {Modality: MR}}
    transform: [{set: {StudyDescription: Schädel}}, {remove: [PatientComments]}]
    process: model
    deliver:
      - archive
      - {to: ris, transform: [{set: {AccessionNumber: RIS-7}}]}
      - {to: late, when: {findings: {value: {at_least: 30}}}}
      - {to: pacs, when: {findings: {value: {at_most: 30}}}}
      - fhir
  - {name: also, match: {Modality: MR}, transform: [{set: {StudyDescription: other}}], deliver: [archive]}
"""
)

FINDING = {
    "concept": {"value": "ef", "scheme": "99T", "meaning": "Ejection fraction"},
    "value": "20.50",
    "unit": {"value": "%", "scheme": "UCUM", "meaning": "percent"},
}
DESTINATIONS = ("archive", "ris", "pacs", "fhir")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_test_of_a_table_renders_what_the_engine_sends(
    rig: Callable[..., Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
    tmp_path: Path,
) -> None:
    made = rig(writes(findings=[FINDING]), TABLE)
    (tmp_path / "study").mkdir()
    for number in (1, 2):
        content = instance(number, PatientComments="tall", AccessionNumber="ACC-1", StudyDate="20260301")
        (tmp_path / "study" / f"{number}.dcm").write_bytes(content)
        await intake.accept(arrive(content))
    await made.close()
    assert await made.run()
    rendering = Rendering(made.database, made.clock, made.decider, tmp_path / "data")
    rows = {row.destination: row for row in made.rows(deliveries)}
    sent = {}
    for name, row in rows.items():
        declared = made.table.outbound[name]
        context = OutboundContext(name, made.table.sites["st-marys"])
        sent[name] = await rendering.payload(declared.type.build(declared.settings, context), row)

    (tmp_path / "result.json").write_text(json.dumps(REPORT | {"findings": [FINDING]}))
    test = {
        "name": "the same",
        "given": {"folder": "study", "result": "result.json", "calling_ae_title": "STM_PACS"},
        "expect": {"deliver": list(DESTINATIONS)},
    }
    with (tmp_path / "routes.yaml").open("a") as file:
        file.write(yaml.safe_dump({"tests": [test]}))
    table = load(tmp_path / "routes.yaml")
    (verdict,) = run_tests(table)
    assert verdict.passed, verdict.lines
    assert set(sent) == set(DESTINATIONS)

    study = study_of(table.tests[0], table, tmp_path)
    outgoing = Outgoing(table, study, decide(study, table), table.tests[0].given.result, tmp_path / "out")
    for name in ("ris", "fhir", "pacs"):
        (expected,) = outgoing.payloads(name)
        assert _lasting(expected) == _lasting(sent[name]), name
    (expected,) = outgoing.payloads("archive")
    assert _data_sets(expected) == _data_sets(sent["archive"])
    assert {one.StudyDescription for one in _data_sets(expected)} == {"Schädel"}


def _lasting(payload: Payload) -> list[str]:
    """What a payload says, without when it was made and the numbers that identify this delivery."""
    if payload.parts[0].media_type == "application/dicom":
        texts = [re.sub(r"\(300A.*", "", str(one)) for one in _data_sets(payload)]
    else:
        texts = [part.read().decode() for part in payload.parts]
    changing = (
        r"2\.25\.\d+",  # UIDs of this delivery
        r"[0-9a-f]{8}-[0-9a-f-]{27}|table-test-[12]|\b[0-9a-f]{32}\b|\b[0-9A-Z]{20}\b",  # of this result
        r"\b20[0-9]{2}-[0-9T:.+-]+Z?|\b20[0-9]{12}(\.[0-9]+)?([+-]\d{4})?|'\d{6}(\.\d+)?'|'20\d{6}'",  # now
    )
    for pattern in changing:
        texts = [re.sub(pattern, "…", text) for text in texts]
    return texts


def _data_sets(payload: Payload) -> list[Any]:
    return sorted(
        (dcmread(BytesIO(part.read())) for part in payload.parts),
        key=lambda one: str(one.SOPInstanceUID),
    )
