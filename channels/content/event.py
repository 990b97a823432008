"""A result as an event for a webhook: CloudEvents 1.0, structured JSON.

Enter: a result, the destination's history, how much patient data the receiver may see. Leave: one
JSON body below 20 kB, whatever the result holds; what was cut is said under ``data.cut``. The
signature (Standard Webhooks) is made at delivery, afresh for each attempt.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from channels.content.standing import aware, replaced, site_zone, told_status
from engine.channel import Link
from engine.model import Code, Finding, History, Issuer, Part, Payload, Range, Result

MEDIA_TYPE = "application/json"
MAX_BYTES = 20_000
MAX_NAME = 200  # bytes of JSON for an identifier, name or title
MAX_TEXT = {"narrative": 3000, "impression": 1500, "disclaimer": 1000, "finding": 1000}
MAX_SERIES = 20
MAX_LINKS = 5000  # bytes of JSON

Phi = Literal["none", "minimal", "full"]


def render(result: Result, history: History, phi: Phi = "minimal", links: Sequence[Link] = ()) -> Payload:
    """One event.

    ``phi`` is what the receiver may see: *none* (UIDs, coded and numeric findings; no free text),
    *minimal* (with patient id and order numbers), *full* (with name, birth date, sex, requester,
    study description). ``links`` are the addresses where the result's files can be fetched.
    """
    event = _Event(result, history, phi, links)
    part = Part(identifier=event.identifier, media_type=MEDIA_TYPE, content=event.encode())
    return Payload(
        parts=(part,), summary=f"event result.{event.status.value}, {len(result.report.findings)} findings"
    )


class _Event:
    """One event under construction."""

    def __init__(self, result: Result, history: History, phi: Phi, links: Sequence[Link]) -> None:
        self.result = result
        self.history = history
        self.phi = phi
        self.links = links if phi != "none" else ()  # behind a link stands the whole result
        self.status = told_status(result, history)
        digest = hashlib.sha256(f"webhook-id {history.delivery_id}".encode()).hexdigest()
        self.identifier = f"msg_{digest[:32]}"
        self.cut: dict[str, Any] = {}

    def encode(self) -> bytes:
        """The body; as many findings as fit, in their order."""
        data = self._data()
        body = {
            "specversion": "1.0",
            "id": self.identifier,
            "source": f"/sites/{self._name(self.result.site)}",
            "type": f"result.{self.status.value}",
            "subject": self._name(self.result.study.study_instance_uid),
            "time": aware(self.result.produced_at, site_zone(self.result.study.timezone)).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        data["findings"] = []
        data["links"] = self._links(min(MAX_LINKS, MAX_BYTES - len(_json(body)) - 400))
        room = MAX_BYTES - len(_json(body)) - 200  # for saying what was cut
        told: list[dict[str, Any]] = []
        for one in self._told_findings():
            finding = _finding(one, self.phi)
            room -= len(_json(finding)) + 1
            if room < 0:
                break
            told.append(finding)
        data["findings"] = told
        if len(told) < len(self.result.report.findings):
            self.cut["findings"] = {"shown": len(told), "of": len(self.result.report.findings)}
        if self.cut:
            data["cut"] = self.cut
        return _json(body)

    def _told_findings(self) -> list[Finding]:
        findings = self.result.report.findings
        return [one for one in findings if self.phi != "none" or not isinstance(one.value, str)]

    def _data(self) -> dict[str, Any]:
        result, report = self.result, self.result.report
        before = replaced(result, self.history)
        data: dict[str, Any] = {
            "site": self._name(result.site),
            "route": self._name(result.route),
            "result": {
                "id": self._name(result.result_id),
                "status": self.status.value,
                "revision": result.revision,
                "supersedes": self._name(result.supersedes) if result.supersedes else None,
                "replaces_event": before.identifiers[0] if before else None,
                "produced_at": result.produced_at.isoformat(),
                "title": self._name(report.title),
            },
            "study": self._study(),
            "device": {
                key: self._name(value)
                for key, value in report.algorithm.model_dump().items()
                if value or key in ("name", "version")
            },
        }
        if self.phi != "none":
            data |= {"patient": self._patient(), "order": self._order()}
            data["text"] = {
                "narrative": self._text("narrative", report.narrative),
                "impression": self._text("impression", report.impression),
            }
        data |= {"disclaimer": self._text("disclaimer", report.disclaimer), "links": []}
        return data

    def _links(self, room: int) -> list[dict[str, str]]:
        """As many links as fit, in their order; an address is told whole or not at all."""
        told: list[dict[str, str]] = []
        for one in self.links:
            link = {"name": one.name, "media_type": one.media_type, "url": one.url}
            link["expires"] = one.expires.isoformat()
            if one.sha256:
                link["sha256"] = one.sha256
            room -= len(_json(link)) + 1
            if room < 0:
                self.cut["links"] = {"shown": len(told), "of": len(self.links)}
                break
            told.append(link)
        return told

    def _study(self) -> dict[str, Any]:
        study = self.result.study
        series = Counter(one.series_instance_uid for one in study.instances)
        if len(series) > MAX_SERIES:
            self.cut["series"] = {"shown": MAX_SERIES, "of": len(series)}
        told: dict[str, Any] = {
            "uid": self._name(study.study_instance_uid),
            "revision": study.revision,
            "modalities": [_clip(one, 16) for one in study.modalities[:MAX_SERIES]],
            "instances": len(study.instances),
            "series": [
                {"uid": self._name(uid), "instances": count}
                for uid, count in list(series.items())[:MAX_SERIES]
            ],
        }
        if self.phi == "full":
            started = study.started_at
            told["description"] = self._name(study.description)
            told["started_at"] = aware(started, site_zone(study.timezone)).isoformat() if started else None
        return told

    def _patient(self) -> dict[str, Any]:
        patient = self.result.patient
        told: dict[str, Any] = {"id": self._name(patient.patient_id), "issuer": self._issuer(patient.issuer)}
        if self.phi == "full":
            told["name"] = {key: self._name(value) for key, value in patient.name.model_dump().items()}
            told["birth_date"] = patient.birth_date.isoformat() if patient.birth_date else None
            told["sex"] = patient.sex
        return told

    def _order(self) -> dict[str, Any]:
        order = self.result.order
        told: dict[str, Any] = {
            "placer": self._name(order.placer_order_number),
            "filler": self._name(order.filler_order_number),
            "accession": self._name(order.accession_number),
            "issuer_of_accession": self._issuer(order.issuer_of_accession_number),
            "procedure": _code(order.procedure) if order.procedure else None,
        }
        if self.phi == "full":
            told["requester"] = self._name(str(order.requester))
        return told

    def _issuer(self, issuer: Issuer) -> dict[str, str]:
        return {"namespace": self._name(issuer.namespace), "oid": self._name(issuer.oid)}

    def _name(self, value: str) -> str:
        return _clip(value, MAX_NAME)

    def _text(self, what: str, value: str) -> str:
        kept = _clip(value, MAX_TEXT[what])
        if kept != value:
            self.cut[what] = {"shown": len(kept), "of": len(value)}
        return kept


def _finding(finding: Finding, phi: Phi) -> dict[str, Any]:
    """Numbers travel as text: JSON readers would make binary floats of them."""
    value = finding.value
    told: dict[str, Any] = {"concept": _code(finding.concept), "group": _clip(finding.group, MAX_NAME)}
    if isinstance(value, Decimal):
        told |= {"value": _number(value), "unit": _code(finding.unit) if finding.unit else None}
    elif isinstance(value, Code):
        told["code"] = _code(value)
    else:
        told["text"] = _clip(value, MAX_TEXT["finding"])
    if finding.reference_range:
        told["range"] = _range(finding.reference_range)
    if finding.flag:
        told["flag"] = finding.flag.value
    for key, code in (("site", finding.site), ("laterality", finding.laterality)):
        if code:
            told[key] = _code(code)
    for key, words in (("tracking_id", finding.tracking_id), ("tracking_uid", finding.tracking_uid)):
        if words:
            told[key] = _clip(words, MAX_NAME)
    if finding.comment and phi != "none":
        told["comment"] = _clip(finding.comment, MAX_NAME)
    return told


def _range(span: Range) -> dict[str, str | None]:
    return {
        "low": None if span.low is None else _number(span.low),
        "high": None if span.high is None else _number(span.high),
    }


def _number(value: Decimal) -> str:
    plain = format(value, "f")
    return plain if len(plain) <= 40 else str(value)


def _code(code: Code) -> dict[str, str]:
    return {key: _clip(value, MAX_NAME) for key, value in code.model_dump().items()}


def _clip(value: str, limit: int) -> str:
    """The longest beginning whose JSON has at most ``limit`` bytes, an ellipsis at a cut."""
    if len(value) * 6 <= limit or (len(value) <= limit and len(_json(value)) - 2 <= limit):
        return value
    shortest, longest = 0, min(len(value), limit)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if len(_json(value[:middle])) + 1 <= limit:  # two quotes off, three bytes of ellipsis on
            shortest = middle
        else:
            longest = middle - 1
    return value[:shortest] + "…"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
