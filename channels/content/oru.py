"""A result as an HL7 v2 unsolicited observation message (ORU^R01).

Enter: a result, the destination's history, the receiver's profile. Leave: one message in bytes,
framing excluded. HL7 v2.5.1 chapters 2 (control), 3 (PID), 4 (ORC, OBR), 7 (OBX); the field
choices are told in docs/formats.md.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import replace
from datetime import datetime, tzinfo
from decimal import Decimal

from channels.content.coding import (
    COMMENT,
    DISCLAIMER,
    IMAGING_REPORT,
    IMPRESSION,
    MEASUREMENT_GROUP,
    NARRATIVE,
    STUDY_INSTANCE_UID,
)
from channels.content.hl7 import EMPTY, Encoded, Encoder, announced, join, segment
from channels.content.oru_profile import Profile
from channels.content.standing import BANNERS, aware, lineage_uid, site_zone, told_status
from engine.model import (
    Code,
    Finding,
    History,
    Issuer,
    Part,
    Payload,
    PersonName,
    Range,
    Result,
    ResultStatus,
)

MEDIA_TYPE = "application/hl7-v2"

OBR_STATUS = {
    ResultStatus.PRELIMINARY: "P",
    ResultStatus.FINAL: "F",
    ResultStatus.CORRECTED: "C",
    ResultStatus.RETRACTED: "C",
    ResultStatus.FAILED: "I",  # no results available, procedure incomplete; X would cancel the order
}
"""Table 0123."""

OBX_STATUS = {
    ResultStatus.PRELIMINARY: "P",
    ResultStatus.FINAL: "F",
    ResultStatus.CORRECTED: "C",
    ResultStatus.RETRACTED: "D",
    ResultStatus.FAILED: "X",
}
"""Table 0085."""

_NO_RESULT = (ResultStatus.RETRACTED, ResultStatus.FAILED)  # said in words too: few read OBX-11


_Key = tuple[Encoded, Encoded]  # OBX-3 and -4, which name an observation
_Content = tuple[Encoded, ...]  # OBX-2, -5, -6, -7, -8

PLAIN = Profile()


def render(result: Result, history: History, profile: Profile = PLAIN) -> Payload:
    """One ORU^R01; the same delivery always gives the same bytes."""
    message = _Message(result, history, profile)
    part = Part(
        identifier=message.control_id,
        media_type=MEDIA_TYPE,
        content=message.encode(),
        facts={"charset": profile.charset, "version": profile.version},
    )
    return Payload(parts=(part,), summary=f"ORU^R01, {len(result.report.findings)} findings")


class _Message:
    """One message under construction: what its segments share."""

    def __init__(self, result: Result, history: History, profile: Profile) -> None:
        self.result = result
        self.history = history
        self.profile = profile
        self.status = told_status(result, history)
        self.told = result.model_copy(update={"status": self.status})
        self.zone: tzinfo = site_zone(profile.timezone or result.study.timezone)
        self.encoder = Encoder(profile.charset)
        self.control_id = _digits(f"MSH-10 {history.delivery_id}")
        self.observations: list[str] = []  # OBX with their NTE
        self.observed = 0  # OBX so far
        self.said: dict[_Key, _Content] = {}
        self.before: dict[_Key, _Content] | None = None  # what a correction corrects, where it is known
        self.observed_at = self._time(result.study.started_at or result.produced_at)
        algorithm = result.report.algorithm
        made_by = " ".join(filter(None, (algorithm.name, algorithm.version)))
        self.method = self.encoder.component("", made_by)
        self.equipment = self.encoder.component(algorithm.udi or made_by, algorithm.manufacturer)

    def encode(self) -> bytes:
        """The segments in the order of ORU_R01."""
        msh, pid, orc, obr = self._msh(), self._pid(), self._orc(), self._obr()
        if self.status is ResultStatus.CORRECTED and self.history.standing is not None:
            self.before = self._said_of(self.history.standing)
        visit = segment("PV1", {2: self.encoder.text("O")}) if "PV1" in self.profile.segments else ""
        self._report_observations()
        lost = self.encoder.lost
        words = f"{lost} characters that {self.profile.charset} lacks were replaced by ?"
        notes = []
        if lost and "NTE" in self.profile.segments:
            notes = [self._note(1, words)]
        elif lost:
            self._comment("", words)
        order = orc if "ORC" in self.profile.segments else ""
        text = "".join([msh, pid, visit, order, obr, *notes, *self.observations])
        return text.encode(self.encoder.codec)

    def _segment(self, name: str, fields: dict[int, Encoded]) -> str:
        """A segment with what the table sets in it by itself."""
        for override in self.profile.overrides:
            if override.segment == name:
                override.apply(fields, self.encoder, override.value(self.told, self._moment))
        return segment(name, fields)

    def _msh(self) -> str:
        profile, text = self.profile, self.encoder.text
        structure = () if profile.version == "2.3.1" else ("ORU_R01",)
        charset, handling = announced(profile.charset)
        fields = {
            3: text(profile.sending_application),
            4: text(profile.sending_facility),
            5: text(profile.receiving_application),
            6: text(profile.receiving_facility),
            7: self._time(self.history.rendered_at),
            9: self.encoder.component("ORU", "R01", *structure),
            10: text(self.control_id),
            11: text(profile.processing_id),
            12: text(profile.version),
            18: Encoded(charset),
            20: Encoded(handling),
        }
        return self._segment("MSH", fields)

    def _pid(self) -> str:
        patient = self.result.patient
        identifier = EMPTY
        if patient.patient_id:
            identifier = join(
                "^",
                self.encoder.text(patient.patient_id),
                EMPTY,
                EMPTY,
                self._authority(patient.issuer),
                self.encoder.text("MR"),
            )
        fields = {
            1: self.encoder.text("1"),
            3: identifier,
            5: self._person_name(patient.name),
            7: self.encoder.text(patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""),
            8: self.encoder.text(patient.sex),
        }
        return self._segment("PID", fields)

    def _orc(self) -> str:
        placer, filler = self._order_numbers()
        if self.profile.accession_field == "ORC-3":
            filler = self._accession()
        return self._segment("ORC", {1: self.encoder.text("RE"), 2: placer, 3: filler})

    def _obr(self) -> str:
        result, text = self.result, self.encoder.text
        placer, filler = self._order_numbers()
        procedure = result.order.procedure
        title = result.study.description or result.report.title or IMAGING_REPORT.meaning
        fields = {
            1: text("1"),
            2: placer,
            3: filler,
            4: self._code(procedure) if procedure else self.encoder.component("", title),
            7: self.observed_at,
            16: self._requester(result.order.requester),
            22: self._time(result.produced_at),
            25: text(OBR_STATUS[self.status]),
        }
        place = self.profile.accession_field
        if place in ("OBR-18", "OBR-20"):
            fields[int(place[4:])] = text(result.order.accession_number)
        return self._segment("OBR", fields)

    def _order_numbers(self) -> tuple[Encoded, Encoded]:
        """ORC/OBR-2 and -3; without an order the result is its own, numbered alike in every version."""
        order = self.result.order
        placer = self.encoder.text(order.placer_order_number)
        if self.profile.accession_field == "OBR-3" and order.accession_number:
            return placer, self._accession()
        if order.filler_order_number:
            return placer, self.encoder.text(order.filler_order_number)
        own = _digits(lineage_uid(self.result, "filler order number"))
        return placer, self.encoder.component(own, self.profile.sending_application)

    def _accession(self) -> Encoded:
        order = self.result.order
        issuer = order.issuer_of_accession_number
        universal = (issuer.oid, "ISO") if issuer.oid else ()
        return self.encoder.component(order.accession_number, issuer.namespace, *universal)

    # ── observations ────────────────────────────────────────────────────────────────────────────

    def _said_of(self, earlier: Result) -> dict[_Key, _Content]:
        """What this receiver's message said of an earlier version, its page left out."""
        message = _Message(earlier, self.history, replace(self.profile, include_pdf=False))
        message._report_observations()
        return message.said

    def _delete_observations(self) -> None:
        """What the earlier version said and this one does not: deleted, by its own words (table 0085)."""
        for key, content in (self.before or {}).items():
            if key not in self.said and key[0] != self._code(COMMENT):
                self._append(key, content, OBX_STATUS[ResultStatus.RETRACTED])

    def _report_observations(self) -> None:
        result, report = self.result, self.result.report
        self._observe("ST", STUDY_INSTANCE_UID, "", self.encoder.text(result.study.study_instance_uid))
        self._findings()
        warning = BANNERS[self.status] if self.status in _NO_RESULT else ""
        impression = "\n".join(filter(None, (warning, report.impression)))
        for concept, words in ((NARRATIVE, report.narrative), (IMPRESSION, impression)):
            if words:
                self._observe("TX", concept, "", self.encoder.lines(words))
        if report.disclaimer:
            self._observe("TX", DISCLAIMER, "", self.encoder.lines(report.disclaimer))
        if self.profile.include_pdf:
            self._observe("ED", IMAGING_REPORT, "", self._pdf())
        self._delete_observations()

    def _findings(self) -> None:
        groups: dict[str, list[Finding]] = {}
        for finding in self.result.report.findings:
            groups.setdefault(finding.group, []).append(finding)
        for number, (name, findings) in enumerate(groups.items(), start=1):
            if name:
                self._observe("ST", MEASUREMENT_GROUP, str(number), self.encoder.text(name))
            alike = Counter((finding.concept.scheme, finding.concept.value) for finding in findings)
            seen: Counter[tuple[str, str]] = Counter()
            for finding in findings:
                key = (finding.concept.scheme, finding.concept.value)
                seen[key] += 1
                # OBX-3 with OBX-4 must be unique in a message (7.4.2.4)
                self._finding(finding, f"{number}.{seen[key]}" if alike[key] > 1 else str(number))

    def _finding(self, finding: Finding, sub_id: str) -> None:
        extra = {
            6: self._code(finding.unit) if finding.unit else EMPTY,
            7: self.encoder.text(_range_text(finding.reference_range)),
            8: self.encoder.text(finding.flag or ""),
        }
        value = finding.value
        if isinstance(value, Decimal):
            self._observe("NM", finding.concept, sub_id, self.encoder.text(format(value, "f")), extra)
        elif isinstance(value, Code):
            # CE, not CWE: table 0125 lists it in every version up to 2.5.1
            self._observe("CE", finding.concept, sub_id, self._code(value), extra)
        else:
            self._observe("TX", finding.concept, sub_id, self.encoder.lines(value), extra)
        places = [code.meaning for code in (finding.site, finding.laterality) if code]
        remarks = [", ".join(places), finding.comment]
        for number, remark in enumerate(filter(None, remarks), start=1):
            if "NTE" in self.profile.segments:
                self.observations.append(self._note(number, remark))
            else:
                self._comment(sub_id, remark)

    def _comment(self, sub_id: str, words: str) -> None:
        """What an NTE would say, for who takes none; OBX-4 joins it to its group (7.4.2.4)."""
        joined = ".".join(filter(None, (sub_id, str(self.observed + 1))))
        self._observe("TX", COMMENT, joined, self.encoder.lines(words))

    def _observe(
        self,
        value_type: str,
        concept: Code,
        sub_id: str,
        value: Encoded,
        extra: dict[int, Encoded] | None = None,
    ) -> None:
        if not sub_id and self.profile.version == "2.3.1":
            sub_id = "0"  # readers of 2.3.1 hold OBX-4 to be required
        fields = {5: value, **(extra or {})}
        key = (self._code(concept), self.encoder.text(sub_id))
        content = (Encoded(value_type), *(fields.get(number, EMPTY) for number in (5, 6, 7, 8)))
        self.said[key] = content
        unchanged = self.before is not None and self.before.get(key) == content
        self._append(key, content, OBX_STATUS[ResultStatus.FINAL if unchanged else self.status])

    def _append(self, key: _Key, content: _Content, status: str) -> None:
        self.observed += 1
        fields = {
            1: Encoded(str(self.observed)),
            2: content[0],
            3: key[0],
            4: key[1],
            **dict(zip((5, 6, 7, 8), content[1:], strict=True)),
            11: Encoded(status),
            14: self.observed_at,
            17: self.method,
        }
        if self.profile.version != "2.3.1":  # OBX-18 and -19 came with 2.4
            fields[18] = self.equipment
            fields[19] = self._time(self.result.produced_at)
        self.observations.append(segment("OBX", fields))

    def _pdf(self) -> Encoded:
        from channels.content import pdf  # typst is heavy and rarely asked for here

        document = pdf.render_pdf(self.told, self.history.rendered_at)
        encoded = base64.b64encode(document).decode("ascii")
        return self.encoder.component(
            self.profile.sending_application, "application", "pdf", "Base64", encoded
        )

    def _note(self, number: int, words: str) -> str:
        return segment("NTE", {1: Encoded(str(number)), 2: Encoded("L"), 3: self.encoder.lines(words)})

    # ── data types ──────────────────────────────────────────────────────────────────────────────

    def _code(self, code: Code) -> Encoded:
        return self.encoder.component(code.value, code.meaning, code.scheme)

    def _authority(self, issuer: Issuer) -> Encoded:
        """HD as a component: its parts are subcomponents."""
        parts = (issuer.namespace, issuer.oid, "ISO") if issuer.oid else (issuer.namespace,)
        return join("&", *(self.encoder.text(part) for part in parts))

    def _time(self, moment: datetime) -> Encoded:
        return self.encoder.text(self._moment(moment))

    def _moment(self, moment: datetime) -> str:
        return aware(moment, self.zone).strftime("%Y%m%d%H%M%S%z")[:19]

    def _person_name(self, name: PersonName) -> Encoded:
        """XPN, one repetition a group, XPN-8 telling which (table 0465)."""
        return join(
            "~",
            *(
                self.encoder.component(*_name_parts(group), "", "L", representation)
                for group, representation in _groups(name)
            ),
        )

    def _requester(self, name: PersonName) -> Encoded:
        """XCN without an identifier, one repetition a group, XCN-15 telling which."""
        blanks = ("",) * 7  # XCN-7 degree, -8 source table, -9 authority, then -10 type, …, -14
        return join(
            "~",
            *(
                self.encoder.component("", *_name_parts(group), *blanks[:3], "L", *blanks[:4], representation)
                for group, representation in _groups(name)
            ),
        )


def _groups(name: PersonName) -> list[tuple[str, str]]:
    groups = ((name.alphabetic, "A"), (name.ideographic, "I"), (name.phonetic, "P"))
    return [(group, representation) for group, representation in groups if group]


def _name_parts(group: str) -> list[str]:
    """DICOM `family^given^middle^prefix^suffix` in HL7's order, which has the suffix first."""
    family, given, middle, prefix, suffix = [*group.split("^"), "", "", "", "", ""][:5]
    return [family, given, middle, suffix, prefix]


def _range_text(span: Range | None) -> str:
    """OBX-7; both limits belong to the range, so `>=` and `<=` rather than the looser `>` and `<`."""
    if span is None or (span.low is None and span.high is None):
        return ""
    if span.low is None:
        return f"<={span.high:f}"
    return f">={span.low:f}" if span.high is None else f"{span.low:f}-{span.high:f}"


def _digits(name: str) -> str:
    """Twenty letters and digits from a name: what MSH-10 and an EI.1 of HL7 v2.3.1 can hold."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest()).decode("ascii")[:20]
