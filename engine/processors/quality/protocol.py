"""A protocol file: YAML enters, rules leave; a rule and measured values enter, a judgement leaves.

A rule names one measure and says what its values may be. It judges the rounded value that is
reported, so that a report never contradicts itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from engine.errors import ConfigurationError
from engine.model import Code, Flag
from engine.processors.quality.measures import MEASURES, Value

_LARGEST_FILE = 256 * 1024


class Rule(BaseModel):
    """What one measure may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    concept: Code
    measure: str
    unit: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    one_of: tuple[Decimal | str, ...] = ()
    must_include: tuple[Decimal | str, ...] = ()
    accepted_with_warning: tuple[Decimal | str, ...] = ()
    tolerance: Decimal = Field(Decimal(0), ge=0)
    required: bool = False
    severity: Literal["fail", "warning"] = "fail"
    message: str = Field("", max_length=500)

    @field_validator("concept")
    @classmethod
    def _fits_dicom(cls, concept: Code) -> Code:
        if len(concept.value) > 16 or len(concept.meaning) > 64:
            raise ValueError(
                "a code has at most 16 characters and its meaning at most 64 (PS3.5 6.2, SH and LO)"
            )
        return concept

    @field_validator("measure")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in MEASURES:
            near = get_close_matches(name, MEASURES, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(MEASURES)}"
            raise ValueError(f"no measure '{name}'; {hint}")
        return name

    @field_validator("unit")
    @classmethod
    def _is_the_measures_unit(cls, unit: str, info: ValidationInfo) -> str:
        name = info.data.get("measure")
        if name is not None:
            kept = MEASURES[name].unit
            if unit != (kept.value if kept else ""):
                raise ValueError(f"{name} is measured in '{kept.value}'" if kept else f"{name} has no unit")
        return unit

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        numeric = MEASURES[self.measure].unit is not None
        listed = (*self.one_of, *self.must_include, *self.accepted_with_warning)
        if numeric and not all(isinstance(value, Decimal) for value in listed):
            raise ValueError(f"{self.measure} is a number, and so must be what it is compared with")
        if not numeric and (self.low is not None or self.high is not None):
            raise ValueError(f"{self.measure} is text: use one_of, not low and high")
        if not numeric and not all(isinstance(value, str) for value in listed):
            raise ValueError(f"{self.measure} is text: put what it is compared with in quotes")
        if self.accepted_with_warning and not self.one_of:
            raise ValueError("accepted_with_warning widens one_of, which is missing")
        return self


class Protocol(BaseModel):
    """A named set of rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    name: str = Field(min_length=1, max_length=200)
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [rule.id for rule in self.rules]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"rule ids used twice: {', '.join(twice)}")
        return self


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule said of the values of its measure."""

    rule: Rule
    flags: tuple[Flag | None, ...]  # one per value; None where the rule sets no limit
    outcome: Literal["ok", "warning", "fail", "unchecked"]
    lacking: tuple[Value, ...] = ()  # of must_include


def judge(rule: Rule, values: tuple[Value, ...]) -> Judgement:
    """Judge the values of the rule's measure; no value at all fails only a required one."""
    if not values:
        return Judgement(rule, (), rule.severity if rule.required else "unchecked")
    flags = tuple(_flag(rule, value) for value in values)
    lacking = tuple(value for value in rule.must_include if not _listed(value, values, rule.tolerance))
    if lacking or any(flag not in (None, Flag.NORMAL) for flag in flags):
        return Judgement(rule, flags, rule.severity, lacking)
    warned = any(
        _listed(value, rule.accepted_with_warning, rule.tolerance)
        and not _listed(value, rule.one_of, rule.tolerance)
        for value in values
    )
    return Judgement(rule, flags, "warning" if warned else "ok")


def _flag(rule: Rule, value: Value) -> Flag | None:
    if isinstance(value, Decimal):
        if rule.low is not None and value < rule.low - rule.tolerance:
            return Flag.LOW
        if rule.high is not None and value > rule.high + rule.tolerance:
            return Flag.HIGH
    allowed = rule.one_of + rule.accepted_with_warning
    if allowed and not _listed(value, allowed, rule.tolerance):
        return Flag.ABNORMAL
    limited = rule.low is not None or rule.high is not None or allowed or rule.must_include
    return Flag.NORMAL if limited else None


def _listed(value: Value, among: tuple[Value, ...], tolerance: Decimal) -> bool:
    if isinstance(value, Decimal):
        return any(isinstance(other, Decimal) and abs(value - other) <= tolerance for other in among)
    return value in among


def load_protocol(path: Path) -> Protocol:
    """Read and check a protocol file.

    Raises:
        ConfigurationError: one line per finding, each with its place and what to do.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigurationError(
                f"{path.name}: larger than {_LARGEST_FILE // 1024} kB, so no protocol file"
            )
        document = _parse(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: protocol cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path.name}{place}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{path.name}: not valid YAML") from None
    try:
        return Protocol.model_validate(document)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # Invalid rules are not counted as rules, so "too short" only repeats what is told already.
        told = [each for each in errors if each["type"] != "too_short"] or errors
        findings = [f"{path.name}: {_place(document, each['loc'])}{_said(each)}" for each in told]
        raise ConfigurationError("\n".join(findings)) from None


def _said(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _place(document: Any, location: tuple[int | str, ...]) -> str:
    """`rules[3] (echo-time).low: `, the rule's own id included, for it is what people search for."""
    text = ""
    node = document
    for part in location:
        if isinstance(part, int):
            node = node[part] if isinstance(node, list) and part < len(node) else None
            name = node.get("id") if isinstance(node, dict) else None
            text += f"[{part}] ({name})" if isinstance(name, str) else f"[{part}]"
        else:
            node = node.get(part) if isinstance(node, dict) else None
            text += f".{part}"
    return f"{text.lstrip('.')}: " if text else ""


def _parse(text: str) -> Any:
    """What `yaml.safe_load` gives, less aliases: a few lines of them can expand to gigabytes."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            mark = event.start_mark if isinstance(event.start_mark, yaml.Mark) else None
            raise yaml.MarkedYAMLError(problem="aliases are not allowed; write it out", problem_mark=mark)
    return _Loader(text).get_single_data()


class _Loader(yaml.SafeLoader):
    """The safe loader, less duplicate keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{name}' is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)
