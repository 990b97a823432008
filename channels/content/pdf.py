"""A result as a page for people, alone and as a DICOM Encapsulated PDF (PS3.3 A.45.1).

Enter: a result and a clock. Leave: PDF bytes made by typst from report.typ, the same for the same
input; and those bytes wrapped for the study's own hierarchy. Values reach the template as data
never as source: no text of a result can become markup or read a file.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any

from channels.content import composite, picture, typesetting
from channels.content.attribute import code_item, put, short
from channels.content.coding import IMAGING_REPORT
from channels.content.standing import BANNERS, aware, site_zone, told_status
from channels.content.wording import range_text, unit_text, value_text
from engine.model import Finding, History, Payload, Result

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER = 9903
MAX_PICTURE = 1600  # pixels of the longer side
MAX_PICTURES = 4
MAX_FINDINGS = 2000
MAX_TEXT = 20_000  # characters of a narrative
TEMPLATE = "report.typ"

# Controls, and marks that reorder or hide text: on a page they would mislead the reader.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def render(result: Result, history: History) -> Payload:
    """One Encapsulated PDF."""
    told = result.model_copy(update={"status": told_status(result, history)})
    document = render_pdf(told, history.rendered_at)
    dataset = composite.start(
        result,
        history,
        sop_class_uid=SOP_CLASS_UID,
        purpose="pdf",
        modality="DOC",
        series_number=SERIES_NUMBER,
        title=result.report.title or "Report",
    )
    put(dataset, "ConversionType", "WSD")
    put(dataset, "InstanceNumber", "1")
    put(dataset, "AcquisitionDateTime", None)
    put(dataset, "BurnedInAnnotation", "YES")
    sources = composite.source_references(result.study.instances)
    if sources:
        put(dataset, "SourceInstanceSequence", sources)
    put(dataset, "DocumentTitle", short(result.report.title, 1024) or IMAGING_REPORT.meaning)
    put(dataset, "ConceptNameCodeSequence", [code_item(IMAGING_REPORT)])
    put(dataset, "VerificationFlag", "UNVERIFIED")
    before = composite.predecessor(result, history)
    if before:
        put(dataset, "PredecessorDocumentsSequence", before)
    put(dataset, "MIMETypeOfEncapsulatedDocument", "application/pdf")
    put(dataset, "EncapsulatedDocument", document + b"\0" * (len(document) % 2))
    put(dataset, "EncapsulatedDocumentLength", len(document))
    return Payload(parts=(composite.finish(dataset),), summary=f"PDF, {len(result.report.findings)} findings")


def render_pdf(result: Result, rendered_at: datetime) -> bytes:
    """The report as PDF; ``result.status`` is shown as it stands, ``rendered_at`` is the PDF's date."""
    return typesetting.pdf(TEMPLATE, _page(result, rendered_at), int(rendered_at.timestamp()))


def _page(result: Result, rendered_at: datetime) -> dict[str, Any]:
    """What report.typ shows, all of it text."""
    report, patient, order, study = result.report, result.patient, result.order, result.study
    zone = site_zone(study.timezone)
    started = study.started_at
    identification = [
        ("Patient", " ".join(filter(None, (_name(group) for group in str(patient.name).split("="))))),
        ("Patient ID", " / ".join(filter(None, (patient.patient_id, patient.issuer.namespace)))),
        ("Born", patient.birth_date.isoformat() if patient.birth_date else ""),
        ("Sex", patient.sex),
        ("Accession number", order.accession_number),
        ("Procedure", order.procedure.meaning if order.procedure else ""),
        ("Study", study.description),
        ("Study date", started.strftime("%Y-%m-%d %H:%M") if started else ""),
        ("Produced", aware(result.produced_at, zone).strftime("%Y-%m-%d %H:%M %z")),
        ("Revision", str(result.revision)),
    ]
    algorithm = report.algorithm
    made_by = f"{algorithm.name} {algorithm.version}"
    if not algorithm.name.startswith(algorithm.manufacturer):
        made_by = f"{algorithm.manufacturer} {made_by}"
    left_out = len(report.findings) - MAX_FINDINGS
    return {
        "title": _text(report.title) or IMAGING_REPORT.meaning,
        "banner": BANNERS[result.status],
        "identification": [[label, _text(value)] for label, value in identification],
        "study_instance_uid": _text(study.study_instance_uid),
        "findings": _rows(report.findings[:MAX_FINDINGS]),
        "left_out": f"{left_out} further findings are not shown." if left_out > 0 else "",
        "narrative": _text(report.narrative).splitlines(),
        "impression": _text(report.impression).splitlines(),
        "pictures": [_svg(one) for one in picture.pictures(result, MAX_PICTURE)[:MAX_PICTURES]],
        "made_by": _text(f"{made_by}{f', UDI {algorithm.udi}' if algorithm.udi else ''}"),
        "disclaimer": _text(report.disclaimer),
        "rendered": aware(rendered_at, zone).strftime("%Y-%m-%d %H:%M %z"),
    }


def _rows(findings: tuple[Finding, ...]) -> list[dict[str, str]]:
    return [
        {
            "group": _text(one.group),
            "name": _text(one.concept.meaning),
            "place": _text(", ".join(code.meaning for code in (one.site, one.laterality) if code)),
            "value": _text(value_text(one)),
            "unit": _text(unit_text(one.unit)),
            "range": range_text(one.reference_range),
            "flag": one.flag.value if one.flag else "",
            "comment": _text(one.comment),
        }
        for one in findings
    ]


def _name(group: str) -> str:
    return " ".join(part for part in group.split("^") if part)


def _text(value: str) -> str:
    kept = _UNPRINTABLE.sub("", value.replace("\r\n", "\n").replace("\r", "\n"))
    return kept if len(kept) <= MAX_TEXT else kept[:MAX_TEXT] + " … (cut)"


def _svg(one: picture.Picture) -> dict[str, str]:
    """A picture as typst takes it through its text-only inputs: PNG in a data URI in SVG."""
    size = f'width="{one.width}" height="{one.height}"'
    data = base64.b64encode(one.png()).decode("ascii")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {one.width} {one.height}">'
        f'<image {size} href="data:image/png;base64,{data}"/></svg>'
    )
    return {"svg": svg, "title": _text(one.title)}
