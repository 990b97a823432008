"""A result as one FHIR R4 resource in a file, for who fetches it: a DiagnosticReport that stands alone.

Enter: a result, and what was told of its earlier versions. Leave: JSON of the report with patient, device,
study and observations contained and the page attached (`channels.content.fhir`, mode *report*).
"""

from __future__ import annotations

from channels.content import fhir
from engine.channel import ExportType
from engine.model import DeliveryId, History, Payload, Result


def export(result: Result) -> bytes:
    """The report as if nothing had been told before: final where it is a correction."""
    history = History(DeliveryId(f"result {result.result_id}"), result.produced_at)
    return render(result, history).parts[0].read()


def render(result: Result, history: History) -> Payload:
    """The report; its status is what follows from what was told before."""
    return fhir.render(result, history, "report")


EXPORT = ExportType("fhir", fhir.MEDIA_TYPE, ".fhir.json", export, render)
