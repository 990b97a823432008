"""FHIR R5: its models take every mode and standing, and nothing that only R4 has is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources import get_fhir_model_class
from fhir.resources.R4B import get_fhir_model_class as get_r4b_model_class
from pydantic import ValidationError

from channels.content import fhir
from engine.model import History, Result, ResultStatus

Standing = Callable[..., tuple[Result, History]]
MODES = ("upsert", "report", "document")


def content(result: Result, past: History, mode: Any, version: Any = "R5") -> bytes:
    return fhir.render(result, past, mode, version, include_pdf=True).parts[0].read()


def all_resources(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "resourceType" in value:
            yield value
        for one in value.values():
            yield from all_resources(one)
    elif isinstance(value, list):
        for one in value:
            yield from all_resources(one)


def found(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in all_resources(resource) if one["resourceType"] == kind)


@pytest.mark.judges
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_the_r5_models_take_it_whole(in_standing: Standing, mode: Any, kind: str, status: Any) -> None:
    sent = content(*in_standing(kind, status), mode)
    plain = json.loads(sent)
    for one in all_resources(plain):
        assert get_fhir_model_class(one["resourceType"]).model_validate(one)


@pytest.mark.judges
@pytest.mark.parametrize("mode", MODES)
def test_the_models_tell_the_versions_apart(full: Result, history: Any, mode: Any) -> None:
    """Each judge refuses the other version: it does look."""
    r4, r5 = (json.loads(content(full, history(), mode, version)) for version in ("R4", "R5"))
    for sent, judge in ((r4, get_fhir_model_class), (r5, get_r4b_model_class)):
        refused = []
        for one in all_resources(sent):
            try:
                judge(one["resourceType"]).model_validate(one)
            except ValidationError:
                refused.append(one["resourceType"])
        assert refused


def test_every_difference_is_in_r5_s_words(full: Result, history: Any) -> None:
    sent = json.loads(content(full, history(), "upsert"))
    report, study, device = (found(sent, kind) for kind in ("DiagnosticReport", "ImagingStudy", "Device"))
    assert "imagingStudy" not in report
    assert report["study"][0]["type"] == "ImagingStudy"
    assert report["presentedForm"][0]["size"].isdigit()
    assert study["modality"][0]["coding"][0]["code"] == study["series"][0]["modality"]["coding"][0]["code"]
    assert device["name"] == [{"value": "Pons quality control", "type": "user-friendly-name"}]
    assert device["type"] == [{"text": "Software"}]
    assert device["udiCarrier"] == [
        {
            "deviceIdentifier": "00844588003288",
            "issuer": "http://hl7.org/fhir/NamingSystem/gs1-di",
            "carrierHRF": "(01)00844588003288(10)A213B1",
        }
    ]
    assert found(sent, "ServiceRequest")["code"]["concept"]["coding"][0]["code"] == "BRDTI"


def test_a_udi_of_another_issuer_is_an_identifier(full: Result, history: Any) -> None:
    algorithm = full.report.algorithm.model_copy(update={"udi": "+H123ABC0/$$3231201A"})
    report = full.report.model_copy(update={"algorithm": algorithm})
    sent = json.loads(content(full.model_copy(update={"report": report}), history(), "upsert"))
    device = found(sent, "Device")
    assert "udiCarrier" not in device
    assert device["identifier"][1] == {"type": {"text": "UDI"}, "value": "+H123ABC0/$$3231201A"}
    entry = next(one for one in sent["entry"] if one["resource"] == device)
    assert device["identifier"][0]["value"] in entry["request"]["ifNoneExist"]


def test_a_document_says_what_it_replaces_and_what_it_is_of(full: Result, history: Any) -> None:
    past = history(ResultStatus.FINAL)
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED})
    sent = json.loads(content(corrected, past, "document"))
    assert not {"masterIdentifier", "context"} & sent.keys()
    assert sent["relatesTo"][0]["code"]["coding"][0]["code"] == "replaces"
    assert sent["relatesTo"][0]["target"]["identifier"]["value"] == past.acknowledged[0].identifiers[0]
    assert sent["event"][0]["reference"]["type"] == "ImagingStudy"
    assert sent["basedOn"][0]["type"] == "ServiceRequest"
    assert sent["period"]["start"] == "2024-04-09T12:45:18+01:00"
    assert sent["content"][0]["attachment"]["size"].isdigit()


@pytest.mark.parametrize("mode", MODES)
def test_both_versions_have_one_identifier_and_the_same_digits(full: Result, history: Any, mode: Any) -> None:
    r4, r5 = (fhir.render(full, history(), mode, version).parts[0] for version in ("R4", "R5"))
    assert r4.identifier == r5.identifier
    assert (r4.facts["fhir_version"], r5.facts["fhir_version"]) == ("R4", "R5")
    decimals = [
        [one["valueQuantity"]["value"] for one in all_resources(json.loads(part.read(), parse_float=Decimal))
         if "valueQuantity" in one]
        for part in (r4, r5)
    ]  # fmt: skip
    assert [str(one) for one in decimals[0]] == [str(one) for one in decimals[1]]
