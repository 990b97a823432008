"""One step of `transform:` as an operator writes it.

Enters: a mapping with one edit. Leaves: frozen settings; `as_step` makes of them the plain data by which
a decision and a delivery remember the step. What an edit may touch is asked in `engine.transform.rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.settings import Secret, Settings

OPERATIONS = ("set", "remove", "keep", "copy", "map", "hash", "shift_dates")
"""The edits there are; a step is one of them."""

MAX_DAYS = 36_500
_DAYS = re.compile(r"(-?\d{1,6})d")


def parse_days(value: Any) -> int:
    """Whole days from `-30d` or `365d`: a shift by hours would change dates and leave times."""
    if isinstance(value, int) and not isinstance(value, bool):
        days = value  # as a decision remembers it
    else:
        match = _DAYS.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError("must be whole days, for example 365d or -30d")
        days = int(match[1])
    if not 0 < abs(days) <= MAX_DAYS:
        raise ValueError(f"must be 1 to {MAX_DAYS} days, to either side")
    return days


def _written_days(value: Any) -> Any:
    return parse_days(value if isinstance(value, str) else None)


def _check_otherwise(value: Any) -> Any:
    if value in ("keep", "remove", "hold"):
        return value
    if isinstance(value, dict) and list(value) == ["set"] and isinstance(value["set"], str | int | float):
        return value
    raise ValueError("must be keep, remove, hold, or {set: value}")


Days = Annotated[int, BeforeValidator(_written_days, json_schema_input_type=str)]
Otherwise = Annotated[
    Any,
    AfterValidator(_check_otherwise),
    Field(
        json_schema_extra={
            "anyOf": [
                {"enum": ["keep", "remove", "hold"]},
                {
                    "type": "object",
                    "properties": {"set": {"type": ["string", "number"]}},
                    "required": ["set"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class MapSettings(Settings):
    """How the values of one attribute are replaced: by a table, or by a file that holds one."""

    table: dict[str, str | int | float] | None = Field(None, examples=[{"SKULL": "HEAD"}])
    """Values as they come, and what each becomes."""
    file: str | None = Field(None, examples=["maps/body-parts.csv"])
    """CSV file of two columns, relative to the table's file; it is part of the table and of its version."""
    otherwise: Otherwise = "keep"
    """What happens to a value without an entry: `keep`, `remove`, `hold`, or `{set: value}`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> MapSettings:
        if (self.table is None) == (self.file is None):
            raise ValueError("a map has either a table or a file")
        return self


class HashSettings(Settings):
    """Which attributes become pseudonyms, and under which secret."""

    keys: Annotated[tuple[str, ...], Field(min_length=1, examples=[["PatientName", "PatientID"]])]
    """Attributes whose values are replaced, each by the same pseudonym whenever it comes."""
    secret: Secret
    """The key of the hash (HMAC-SHA-256), by reference; another one gives other pseudonyms."""


class ShiftSettings(Settings):
    """How far dates move: the same for everybody, or for each patient by a secret."""

    by: Days | None = Field(None, examples=["-30d"])
    """Days that every date moves, for example -30d."""
    within: Days | None = Field(None, examples=["365d"])
    """Each patient's dates move back by 1 to so many days; how many follows from the secret."""
    secret: Secret | None = None
    """With `within`: what the days of a patient are derived from, by reference."""

    @model_validator(mode="after")
    def _one_way(self) -> ShiftSettings:
        if (self.by is None) == (self.within is None):
            raise ValueError("dates are shifted either by some days or within some days")
        if (self.within is None) != (self.secret is None):
            raise ValueError(
                "within and secret belong together: the days of a patient follow from the secret"
            )
        if self.within is not None and self.within < 0:
            raise ValueError("within is a range, for example 365d; dates move back by 1 to so many days")
        return self


class TransformSettings(Settings):
    """One step of `transform:` an edit on what goes onward; originals stay byte-exact."""

    set: dict[str, Any] | None = Field(None, examples=[{"BodyPartExamined": "BRAIN"}])
    """Attributes to set: keyword and value."""
    remove: tuple[str, ...] | None = Field(None, examples=[["StudyComments", "private"]])
    """Attributes to remove: keywords, tags, `(60xx,xxxx)`, or `private` for every private one."""
    keep: tuple[str, ...] | None = Field(None, examples=[["SeriesDescription", "PatientAge"]])
    """Attributes to keep: of the others, only what the object needs to be valid and found stays."""
    copy_: Annotated[
        dict[str, str] | None,
        Field(alias="copy", examples=[{"RequestAttributesSequence.RequestedProcedureID": "AccessionNumber"}]),
    ] = None
    """Attributes to copy, from one to another: the first value there is."""
    map: dict[str, MapSettings] | None = Field(
        None, examples=[{"BodyPartExamined": {"table": {"SKULL": "HEAD"}, "otherwise": "keep"}}]
    )
    """Attributes whose values are replaced by an entry of a table."""
    hash: HashSettings | None = None
    """Attributes whose values are replaced by pseudonyms."""
    shift_dates: ShiftSettings | None = None
    """Move all dates, so that the time between them stays."""
    everywhere: bool = False
    """Also inside sequences, at any depth; of `remove`, `map` and `hash`."""
    for_: Annotated[Literal["both", "processor", "forward"], Field(alias="for")] = "both"
    """Which copies it is for: those that a processor reads, those that are forwarded, or both."""


def as_step(settings: TransformSettings) -> dict[str, Any]:
    """The step as plain data; what is left at its default is left out."""
    return settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
