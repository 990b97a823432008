"""FHIR R4: three judges and a server take it, decimals keep their digits, links lead somewhere."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import fhirkit
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content import fhir
from engine.model import (
    History,
    InstanceReference,
    Issuer,
    Order,
    Patient,
    PersonName,
    Result,
    ResultStatus,
    uid_from,
)
from tests.peers.fhir import FhirServer
from tests.peers.fhir_judges import fhir_errors

Standing = Callable[..., tuple[Result, History]]
MODES = ("upsert", "report", "document")


def loaded(result: Result, past: History, mode: Any = "upsert") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fhir.render(result, past, mode).parts[0].read(), parse_float=Decimal)
    return found


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def every(value: Any, key: str) -> Iterator[Any]:
    """Every value under this key, however deep."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield one
            yield from every(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from every(one, key)


# ── judges ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.judges
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_three_judges_find_no_error(
    in_standing: Standing, mode: Any, kind: str, status: ResultStatus
) -> None:
    content = fhir.render(*in_standing(kind, status), mode).parts[0].read()
    assert fhir_errors(content) == []


@pytest.mark.peers
def test_a_server_updates_where_it_had_the_result_and_makes_no_second_patient(
    fhir_server: Callable[..., FhirServer], full: Result, history: Any
) -> None:
    server = fhir_server()
    full = full.model_copy(update={"patient": full.patient.model_copy(update={"patient_id": "P-1"})})
    first, past = fhir.render(full, history(delivery="d-1")).parts[0], history(ResultStatus.FINAL)
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED, "revision": 2})
    second = fhir.render(corrected, past).parts[0]
    assert first.identifier == second.identifier

    for part in (first, first, second):
        answer = server.post("", json.loads(part.read()))
        assert answer.status_code == 200, answer.text
        statuses = [entry["response"]["status"] for entry in answer.json()["entry"]]
        assert all(status.startswith(("200", "201")) for status in statuses), statuses

    [report] = server.resources(
        "DiagnosticReport", f"identifier={fhir.IDENTIFIER_SYSTEM}|{second.identifier}"
    )
    assert report["status"] == "corrected"
    assert len(server.resources("Observation", "_count=100")) == len(full.report.findings)
    counts = {
        kind: len(server.resources(kind)) for kind in ("Patient", "ServiceRequest", "Device", "ImagingStudy")
    }
    assert set(counts.values()) == {1}, counts
    [patient] = server.resources("Patient", "identifier=urn:oid:1.2.3.4|P-1")
    assert report["subject"]["reference"] == f"Patient/{patient['id']}"


@pytest.mark.peers
@pytest.mark.parametrize(
    ("mode", "kind"), [("report", "DiagnosticReport"), ("document", "DocumentReference")]
)
def test_a_server_takes_a_single_resource_and_finds_it_again(
    fhir_server: Callable[..., FhirServer], full: Result, history: Any, mode: Any, kind: str
) -> None:
    server = fhir_server()
    part = fhir.render(full, history(), mode).parts[0]
    answer = server.post(f"/{kind}", json.loads(part.read()))
    assert answer.status_code == 201, answer.text
    query = f"identifier={part.facts['identifier_system']}|{part.identifier}"
    assert len(server.resources(kind, query)) == 1


# ── content ─────────────────────────────────────────────────────────────────────────────────────


def test_decimals_keep_their_digits(full: Result, history: Any) -> None:
    content = fhir.render(full, history()).parts[0].read()
    for written in (b'"value":3.50,', b'"value":1.900,', b'"value":1.60,', b'"value":-0.0000123'):
        assert written in content
    volumes = [one for one in resources(loaded(full, history()), "Observation") if "bodySite" in one]
    assert [str(one["valueQuantity"]["value"]) for one in volumes] == ["3.50", "1.900"]


def test_every_link_leads_to_an_entry(full: Result, history: Any) -> None:
    bundle = loaded(full, history())
    links = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(links) == len(bundle["entry"])
    assert all(uuid.UUID(link.removeprefix("urn:uuid:")) for link in links)
    references = list(every(bundle, "reference"))
    assert references
    assert set(references) <= links


@pytest.mark.parametrize("mode", ["report", "document"])
def test_every_contained_resource_is_linked(full: Result, history: Any, mode: Any) -> None:
    resource = loaded(full, history(), mode)
    contained = {f"#{one['id']}" for one in resource["contained"]}
    assert contained == set(every(resource, "reference"))


def test_what_exists_is_not_made_twice(full: Result, history: Any) -> None:
    requests = [entry["request"] for entry in loaded(full, history())["entry"]]
    assert [one.get("ifNoneExist") for one in requests[:4]] == [
        "identifier=urn:oid:1.2.3.4|P%5C%7C1",  # the value's own | is escaped (search.html#escaping)
        f"identifier=urn:ietf:rfc:3986|urn:oid:{uid_from('device', 'Pons', 'Pons quality control', '0.1.0')}",
        f"identifier=urn:dicom:uid|urn:oid:{full.study.study_instance_uid}",
        "identifier=urn:oid:1.2.3.5|ACC-1",
    ]
    assert {one["method"] for one in requests[4:]} == {"PUT"}
    assert all("?identifier=urn:ietf:rfc:3986|urn:oid:2.25." in one["url"] for one in requests[4:])


STATUSES = [
    # result, acknowledged before, DiagnosticReport and Observation, DocumentReference
    (ResultStatus.PRELIMINARY, (), "preliminary", "preliminary"),
    (ResultStatus.FINAL, (), "final", "final"),
    (ResultStatus.CORRECTED, (), "final", "final"),
    (ResultStatus.CORRECTED, (ResultStatus.FINAL,), "corrected", "amended"),
    (ResultStatus.RETRACTED, (ResultStatus.FINAL,), "entered-in-error", "entered-in-error"),
    (ResultStatus.FAILED, (), "cancelled", "final"),
]


@pytest.mark.parametrize(("status", "before", "report_status", "document_status"), STATUSES)
def test_the_standing_follows_what_this_destination_acknowledged(
    full: Result,
    history: Any,
    status: ResultStatus,
    before: tuple[ResultStatus, ...],
    report_status: str,
    document_status: str,
) -> None:
    result = full.model_copy(update={"status": status})
    bundle = loaded(result, history(*before))
    [report] = resources(bundle, "DiagnosticReport")
    assert report["status"] == report_status
    assert {one["status"] for one in resources(bundle, "Observation")} == {report_status}
    document = loaded(result, history(*before), "document")
    assert document["docStatus"] == document_status
    assert (document["status"] == "entered-in-error") == (status is ResultStatus.RETRACTED)


def test_a_document_replaces_the_one_before(full: Result, history: Any) -> None:
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED})
    past = history(ResultStatus.FINAL)
    [relation] = loaded(corrected, past, "document")["relatesTo"]
    assert relation["code"] == "replaces"
    assert relation["target"]["identifier"]["value"] == past.acknowledged[0].identifiers[0]
    assert "relatesTo" not in loaded(corrected, history(), "document")


def test_a_single_resource_carries_the_page(full: Result, history: Any) -> None:
    for resource in (loaded(full, history(), "report"), loaded(full, history(), "document")):
        [attachment] = list(every(resource, "attachment")) or resource["presentedForm"]
        page = base64.b64decode(attachment["data"])
        assert page.startswith(b"%PDF-")
        assert attachment["size"] == len(page)


def test_the_patient_in_three_scripts(full: Result, history: Any) -> None:
    [patient] = resources(loaded(full, history()), "Patient")
    assert [(one["family"], one["given"], one["extension"][0]["valueCode"]) for one in patient["name"]] == [
        ("Yamada", ["Tarou"], "ABC"),
        ("山田", ["太郎"], "IDE"),
        ("やまだ", ["たろう"], "SYL"),
    ]
    assert (patient["name"][0]["prefix"], patient["name"][0]["suffix"]) == (["Dr"], ["Jr"])
    assert (patient["gender"], patient["birthDate"]) == ("female", "1970-03-01")


def test_two_sites_patient_1_are_two_patients(full: Result, history: Any) -> None:
    """Without an issuer's OID the identifier's system is the site's own."""
    unissued = full.model_copy(update={"patient": Patient(patient_id="1", issuer=Issuer(namespace="PAS"))})
    systems = set()
    for site in ("st-marys", "st-johns"):
        [patient] = resources(loaded(unissued.model_copy(update={"site": site}), history()), "Patient")
        systems.add(patient["identifier"][0]["system"])
    assert len(systems) == 2
    assert all(system.startswith("urn:oid:2.25.") for system in systems)


def test_a_patient_without_an_id_travels_inside_the_report(full: Result, history: Any) -> None:
    anonymous = full.model_copy(update={"patient": Patient(name=PersonName(alphabetic="Doe^Jane"))})
    bundle = loaded(anonymous, history())
    assert resources(bundle, "Patient") == []
    [report] = resources(bundle, "DiagnosticReport")
    assert report["contained"][0]["name"][0]["family"] == "Doe"
    assert report["subject"]["reference"] == "#patient"


def test_without_an_order_there_is_no_request(full: Result, history: Any) -> None:
    bundle = loaded(full.model_copy(update={"order": Order()}), history())
    assert resources(bundle, "ServiceRequest") == []
    assert "basedOn" not in resources(bundle, "DiagnosticReport")[0]


def test_an_observation_says_all_that_the_finding_says(full: Result, history: Any) -> None:
    by_code = {
        one["code"]["coding"][0]["code"]: one for one in resources(loaded(full, history()), "Observation")
    }
    resolution = by_code["in-plane"]
    assert resolution["valueQuantity"] == {
        "value": Decimal("1.60"),
        "unit": "mm",
        "system": "http://unitsofmeasure.org",
        "code": "mm",
    }
    assert resolution["referenceRange"][0]["high"]["value"] == Decimal("2.15")
    assert resolution["interpretation"][0]["coding"][0]["code"] == "L"
    assert resolution["effectiveDateTime"] == "2024-04-09T12:45:18+01:00"
    verdict = by_code["protocol-check"]
    assert verdict["valueCodeableConcept"]["coding"][0]["code"] == "out-of-protocol"
    assert (verdict["note"][0]["text"], verdict["category"][1]["text"]) == ("DTI | 3 T", "Verdict")
    assert by_code["118565006"]["component"][0]["valueCodeableConcept"]["text"] == "Right"
    assert by_code["remark"]["valueString"] == "first line ~ ^ & \\ |\nzweite Zeile µ"


def test_the_narrative_and_the_disclaimer_are_readable(full: Result, history: Any) -> None:
    [report] = resources(loaded(full, history()), "DiagnosticReport")
    for word in ("In-plane resolution is 1.60 mm.", "1.60 mm (1.85 to 2.15) L", full.report.disclaimer):
        assert word in report["text"]["div"]
    assert report["conclusion"] == f"{full.report.impression}\n{full.report.disclaimer}"


def test_very_many_instances_are_counted(full: Result, history: Any) -> None:
    many = tuple(
        InstanceReference(series_instance_uid="1.2", sop_class_uid="1.3", sop_instance_uid=f"1.4.{n}")
        for n in range(1001)
    )
    study = full.study.model_copy(update={"instances": many})
    [imaging] = resources(loaded(full.model_copy(update={"study": study}), history()), "ImagingStudy")
    assert imaging["numberOfInstances"] == 1001
    assert "instance" not in imaging["series"][0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(max_size=60))
def test_any_text_makes_valid_json_without_control_characters(full: Result, history: Any, words: str) -> None:
    remark = full.report.findings[-1].model_copy(
        update={"value": words, "comment": words, "group": words, "tracking_id": words}
    )
    report = full.report.model_copy(
        update={"findings": (remark,), "title": words, "narrative": words, "impression": words}
    )
    patient = Patient(patient_id=words, name=PersonName(alphabetic=words))
    result = full.model_copy(update={"report": report, "patient": patient})
    content = fhir.render(result, history()).parts[0].read().decode("utf-8")
    assert list(fhirkit.validate(content)) == []
    assert json.loads(content)["resourceType"] == "Bundle"
