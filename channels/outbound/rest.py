"""Results kept for pulling: a result in, its files on the engine's own disk until a client fetches them.

Enter: a result. Leave: each wanted format, rendered once and kept under the delivery's name, for
`GET /results/{result_id}/{type}` of the REST API. Delivered is what is on the disk, or what a client of
the site has acknowledged (`POST /results/acknowledgements`): the table says which.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.channel import Duration, Exports, ExportType, OutboundContext, OutboundSettings, OutboundType
from engine.errors import Refused
from engine.model import Acknowledged, Acknowledgement, Delivery, History, Part, Payload, Result, Study

MEDIA_TYPE_OF_OBJECTS = "application/dicom"


class Settings(OutboundSettings):
    """A place where clients of a site fetch its results."""

    formats: tuple[str, ...] = Field((), examples=[["pdf", "json", "sr"]])
    """What a result is offered as: `csv`, `fhir`, `json`, `pdf`, `png`, `sr`, `txt`, `xml`; every installed
    format when empty."""
    acknowledged_by: Literal["kept", "client"] = "kept"
    """What counts as delivered: `kept`, the files are on the disk, or `client`, a client of the site has
    acknowledged the result before the retry policy gives up."""
    offered_for: Duration = Field(30 * 86400.0, ge=60, le=10 * 366 * 86400.0)
    """How long a result is offered, counted from when it was made."""


class Rest:
    """Renders by the installed formats; the engine keeps what was rendered, and hands it out."""

    def __init__(self, settings: Settings, exports: Exports) -> None:
        self._settings = settings
        self._exports = exports
        self.commitment_timeout = (
            settings.retry.give_up_after if settings.acknowledged_by == "client" else None
        )

    @property
    def kept_for(self) -> float:
        """Seconds for which a result is offered."""
        return self._settings.offered_for

    def render(self, subject: Result | Study, history: History) -> Payload:
        """The result in each format, as the site's clients must see it after what was kept before."""
        from channels.content.standing import told_status  # late: a table is checked without it

        assert isinstance(subject, Result)  # the type carries results
        told = subject.model_copy(update={"status": told_status(subject, history)})
        parts: list[Part] = []
        for export in self._exports(self._settings.formats):
            parts += _rendered(export, told, history)
        return Payload(
            tuple(parts), ", ".join(str(part.facts["type"]) for part in parts) or "nothing to offer"
        )

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """The files have been made durable before this is asked: they are offered from now on."""
        if not payload.parts:
            raise Refused("there is no file to offer", code="empty")
        waits = self.commitment_timeout is not None
        said = (
            "offered; waits for a client to acknowledge it"
            if waits
            else f"{len(payload.parts)} files offered"
        )
        return Acknowledgement("kept", said, awaits_report=waits)

    async def probe(self) -> None:
        """There is no peer: whoever can run the engine can keep results."""


def _rendered(export: ExportType, result: Result, history: History) -> list[Part]:
    named = {"type": export.name, "suffix": export.suffix}
    if export.render is None:
        content = export.export(result)
        identifier = history.uid(f"offered as {export.name}")
        return [Part(identifier, export.media_type, content, named)]
    payload = export.render(result, _of_its_kind(history, export))
    return [
        Part(one.identifier, export.media_type, one.content, {**one.facts, **named}) for one in payload.parts
    ]


def _of_its_kind(history: History, export: ExportType) -> History:
    """What was offered before, without the parts that are no objects where the format is of objects."""
    if export.media_type != MEDIA_TYPE_OF_OBJECTS:
        return history
    return History(
        history.delivery_id, history.rendered_at, tuple(map(_objects, history.acknowledged)), history.standing
    )


def _objects(one: Acknowledged) -> Acknowledged:
    whole = zip(one.identifiers, one.sop_class_uids, one.series_instance_uids, strict=True)
    kept = [part for part in whole if part[1]]
    return Acknowledged(
        delivery_id=one.delivery_id,
        status=one.status,
        revision=one.revision,
        identifiers=tuple(uid for uid, _, _ in kept),
        sop_class_uids=tuple(sop_class for _, sop_class, _ in kept),
        series_instance_uids=tuple(series for _, _, series in kept),
        certain=one.certain,
    )


def build(settings: Settings, context: OutboundContext) -> Rest:
    """Make the channel.

    Raises:
        ConfigurationError: a format that is not installed.
    """
    context.exports(settings.formats)
    return Rest(settings, context.exports)


CHANNEL = OutboundType("rest", "result", Settings, build)
