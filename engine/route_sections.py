"""The `routes:` of a table as an operator writes them: match, process, deliver.

Enter: plain data from the table. Leave: typed, frozen settings. Predicates and what a `when:` asks are
read by their own grammar (`engine.grammar`, `engine.when_grammar`); here they pass as they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SkipValidation, StringConstraints

from engine.settings import Settings
from engine.transform.settings import TransformSettings
from engine.when_grammar import WhenSettings
from engine.window import Window


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _sending(value: Any) -> Any:
    return {"to": value} if isinstance(value, str) else value


Words = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name or a sentence for people: printable, one line."""
Names = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class DeliverSettings(Settings):
    """One entry of `deliver:`; a plain name is short for `{to: name}`."""

    to: str = Field(examples=["stm-ris"])
    """Key of the destination."""
    after: Names = Field((), examples=[["stm-pacs"]])
    """Destinations of the same route that must have acknowledged the same result first."""
    when: Annotated[WhenSettings | list[WhenSettings] | None, SkipValidation] = None
    """Which results are sent: one mapping, or a list of which one must hold; all but failures when absent."""
    transform: tuple[TransformSettings, ...] = ()
    """Edits for this destination: on the study itself, or on what a result says of its study."""


class RouteSettings(Settings):
    """One of `routes:` match, process, deliver."""

    name: Words = Field(examples=["brain dti"])
    """What people call it; appears in decisions, traces and tests."""
    from_: Annotated[Names | None, Field(alias="from", min_length=1, examples=[["pacs", "web"]])] = None
    """Inbound channels it listens to; all when absent."""
    match: Any = Field(
        None, examples=[{"site": "st-marys", "series": {"Modality": "MR", "instances": {"at_least": 60}}}]
    )
    """Predicates that must hold for the study (docs/routing.md)."""
    select: Any = Field(None, examples=[{"Modality": "MR", "SeriesDescription": {"matches": "(?i)dti"}}])
    """Predicates that name the series which go to the processor; all series when absent."""
    transform: tuple[TransformSettings, ...] = ()
    """Edits on what goes onward."""
    process: str | None = Field(None, examples=["dti-qc"])
    """Key of the processor."""
    deliver: Annotated[
        tuple[
            Annotated[
                DeliverSettings, BeforeValidator(_sending, json_schema_input_type=str | DeliverSettings)
            ],
            ...,
        ],
        BeforeValidator(_listed, json_schema_input_type=str | list[str | DeliverSettings]),
    ] = ()
    """Destinations, in order."""
    schedule: Annotated[tuple[Window, ...], BeforeValidator(_listed)] = Field(
        (), examples=[["daily 20:00-06:00"]]
    )
    """Windows, in the site's time, in which runs of the processor and deliveries of studies start."""
    mode: Literal["live", "shadow"] = "live"
    """`shadow` does everything but deliver, and shows what it would have sent."""
    hold: Words | None = Field(None, examples=["no route matched"])
    """Wait for a person, with this reason."""
    otherwise: bool = False
    """Fire only when no other live route did."""
