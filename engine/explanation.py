"""Why a study goes where it goes, as data: the shape of `pons explain --json`.

Enter: a decision and the table that its destinations are looked up in. Leaves: an explanation, route by
route in file order, and what would be sent where. Pure. `pons schema explanation` prints its JSON Schema.
Values of a study's attributes may be among the reasons: it is for whoever asked, never for the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from engine.route import Decision, RouteOutcome, Sending
from engine.table import Table
from engine.transform import for_delivery
from engine.when import when_to_json

Words = tuple[str, ...]


class Part(BaseModel):
    """A part of an explanation; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FailedPredicate(Part):
    """The first predicate that the study did not pass."""

    position: str = Field(description="where it stands: file:line:column")
    wanted: str
    found: str


class Destination(Part):
    """One `deliver:` entry, and where that is."""

    to: str = Field(description="key of the destination")
    type: str = Field(description="type of channel; empty when the table has no such destination (any more)")
    carries: Literal["study", "result", ""] = Field(description="what is sent; empty as `type`")
    where: str = Field(description="host:port and AE title, or address; never a secret")
    after: Words = Field((), description="destinations that must have acknowledged before")
    when: list[dict[str, Any]] = Field(
        [], description="one of these must hold of a result; none: unless it failed"
    )
    when_in_words: str = ""
    transform: Words = Field((), description="edits on what this destination gets, in words")


class RouteExplained(Part):
    """What one route said of the study."""

    route: str
    position: str
    hit: bool
    shadow: bool = Field(description="does everything but deliver")
    why: str
    failed: FailedPredicate | None = Field(
        None, description="of a miss by a predicate; the oldest decisions on record have only `why`"
    )
    process: str | None = None
    series: Words = Field((), description="Series Instance UIDs that go to the processor")
    transform: Words = Field((), description="edits on what goes onward, in words")
    schedule: Words = Field((), description="when its runs and study deliveries start; none: at once")
    deliver: tuple[Destination, ...] = ()
    hold: str | None = None


class Explanation(Part):
    """Why one study goes where it goes."""

    study: str = Field(description="Study Instance UID")
    site: str
    revision: int
    source: Literal["files", "record", "now"] = Field(
        description="decided by the table as it stands from files, or from the record (now); or as recorded"
    )
    decided_at: datetime | None = Field(None, description="of a recorded decision")
    table_version: str
    verdict: Literal["routed", "held"]
    holds: Words = Field((), description="the reasons with which it is held")
    destinations: Words = Field((), description="who gets something, each once, in order")
    overridden: dict[str, str] = Field(
        {}, description="attributes that the metadata of its orders gave other values, as the routes saw them"
    )
    passed_over: int = Field(0, description="further routes that could not fire, by the index")
    outcomes: tuple[RouteExplained, ...]
    now: Explanation | None = Field(None, description="beside a record: the table as it stands (`--now`)")


def explanation(
    decision: Decision,
    table: Table,
    *,
    study: str,
    site: str,
    revision: int,
    source: Literal["files", "record", "now"],
    decided_at: datetime | None = None,
    now: Decision | None = None,
) -> Explanation:
    """Explain one decision.

    Args:
        table: where its destinations are looked up; of a recorded decision it may be a later one.
        now: what that table makes of the study as it stands.
    """
    again = None
    if now is not None:
        again = explanation(now, table, study=study, site=site, revision=revision, source="now")
    live = [hit for hit in decision.hits if not hit.shadow]
    holds = tuple(dict.fromkeys(hit.hold for hit in live if hit.hold))
    return Explanation(
        study=study,
        site=site,
        revision=revision,
        source=source,
        decided_at=decided_at,
        table_version=decision.table_version,
        verdict=decision.verdict,
        holds=holds if live else ("no route matched",),
        destinations=tuple(dict.fromkeys(one.to for hit in live for one in hit.deliver)),
        overridden=dict(decision.overridden),
        passed_over=decision.passed_over,
        outcomes=tuple(_route(outcome, table) for outcome in decision.outcomes),
        now=again,
    )


def explanation_schema() -> dict[str, Any]:
    """JSON Schema of what `pons explain --json` prints: a list of explanations."""
    schema = TypeAdapter(list[Explanation]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pons explain"} | schema


def _route(outcome: RouteOutcome, table: Table) -> RouteExplained:
    failed = outcome.failed
    return RouteExplained(
        route=outcome.route,
        position=outcome.position,
        hit=outcome.hit,
        shadow=outcome.shadow,
        why=outcome.why,
        failed=None
        if failed is None
        else FailedPredicate(position=failed.position, wanted=failed.wanted, found=failed.found),
        process=outcome.process,
        series=outcome.series,
        transform=edits_in_words(outcome.transform),
        schedule=outcome.schedule,
        deliver=tuple(_destination(sending, outcome, table) for sending in outcome.deliver),
        hold=outcome.hold,
    )


def _destination(sending: Sending, outcome: RouteOutcome, table: Table) -> Destination:
    declared = table.outbound.get(sending.to)
    carries = declared.type.carries if declared else ""
    edits = for_delivery(outcome.transform, sending.transform) if carries == "study" else sending.transform
    return Destination(
        to=sending.to,
        type=declared.type.name if declared else "",
        carries=carries,
        where=where_of(declared.settings) if declared else "no longer in the table",
        after=sending.after,
        when=when_to_json(sending.when),
        when_in_words="; or ".join(map(str, sending.when)),
        transform=edits_in_words(edits),
    )


def where_of(settings: Any) -> str:
    """Where a destination is, as its settings say, without user, password or query."""
    url = getattr(settings, "url", None)
    if isinstance(url, str):
        parts = urlsplit(url)
        server = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{server}{parts.path}"
    host: str | None = getattr(settings, "host", None)
    if host is None:
        return ""
    port: int | None = getattr(settings, "port", None)
    address = f"[{host}]" if ":" in host else host
    title = getattr(settings, "ae_title", None)
    return f"{address}:{port}" + (f" {title}" if title else "")


def edits_in_words(steps: Sequence[Mapping[str, Any]]) -> Words:
    """Edits, one a word: what is done, and to which attributes."""
    return tuple(words for step in steps for words in _edit(step))


def _edit(step: Mapping[str, Any]) -> Iterator[str]:
    reader = f" (for {step['for']} copies)" if step.get("for") else ""
    for name, asked in step.items():
        if name in ("for", "everywhere"):
            continue
        verb = name.replace("_", " ")
        if name == "copy":
            touched = [f"{source} to {target}" for source, target in asked.items()]
        elif name == "shift_dates":
            touched = []
        else:
            touched = list(asked.get("keys", asked) if isinstance(asked, Mapping) else asked)
        yield " ".join([verb, *([", ".join(touched)] if touched else [])]) + reader
