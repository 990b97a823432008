"""What is wrong with a table: where, what, and what to do about it.

Enter: positions, names, pydantic's validation errors. Leave: findings, each one line such as
`routes.yaml:31:11: outbound.his.type: no channel type 'hl7_orru'; did you mean 'hl7_oru'?`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

from pydantic import BaseModel, ValidationError

from engine.finding_code import derived
from engine.nearest import nearest

Location = tuple[str | int, ...]
"""Keys and indices from the root of the table to a value: `("routes", 0, "deliver")`."""

Severity = Literal["error", "warning"]
"""An error refuses the table; a warning is about what works and is probably not meant."""

MAX_SHOWN = 60  # characters of an operator's own word that a message repeats


class Mark(NamedTuple):
    """A position in a file, both counted from 1 as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a table."""

    file: str
    line: int
    column: int
    path: str
    message: str
    severity: Severity = "error"
    code: str = "bad-value"  # one of `engine.finding_code`

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        severity = "" if self.severity == "error" else "warning: "
        return f"{self.file}:{self.line}:{self.column}: {severity}{path}{self.message} [{self.code}]"

    def under(self, folder: Path) -> Finding:
        """The finding with its file named from where ``folder`` is named: what an editor can open."""
        return replace(self, file=str(folder / self.file))

    @classmethod
    def at(
        cls, mark: Mark, location: Location, message: str, severity: Severity = "error", code: str = ""
    ) -> Finding:
        """The finding at a mark; without a code, it has that of its location."""
        path, code = path_of(location), code or derived(location)
        return cls(mark.file, mark.line, mark.column, path, message, severity, code)


class Complain(Protocol):
    """How a reader of a part of the table records what is wrong at a location."""

    def __call__(self, location: Location, message: str, code: str = "") -> None: ...


def path_of(location: Location) -> str:
    """`("routes", 0, "deliver")` as `routes[0].deliver`, in one line whatever a key holds."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def shown(word: Any) -> str:
    """An operator's own word in quotes, cut to a length fit for a message."""
    text = str(word)
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def did_you_mean(word: Any, known: Iterable[str], *, listing: bool = True) -> str:
    """`; did you mean 'x'?`, or with ``listing`` what there is when nothing is near and that is short."""
    names = [name for name in known if name]
    near = nearest(str(word), names)
    if near is not None:
        return f"; did you mean {near!r}?"
    if listing and names and len(names) <= 12:
        return f"; there is {', '.join(sorted(names))}"
    return ""


LITERAL = "a secret is given by reference: {env: NAME} or {file: path}"
"""What `engine.settings.Secret` says of a secret that is written out."""

_PLAIN = {
    "string_type": "must be text; put it in quotes if it looks like a number",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


# ── pydantic's errors in an operator's words ────────────────────────────────────────────────────


def explain_errors(
    error: ValidationError,
    model: type[BaseModel],
    location: Location,
    value_at: Callable[[Location], Mark],
    key_at: Callable[[Location], Mark],
) -> Iterator[Finding]:
    """Findings for a block that did not validate; values are never repeated, they may be secret.

    Args:
        error: what pydantic raised for ``model``.
        model: the model, to suggest the nearest of its keys.
        location: where the block stands in the table.
        value_at: the position of the value at a location, or of what encloses it.
        key_at: the position of the key at a location.
    """
    for one in error.errors(include_url=False, include_context=True):
        inner: Location = tuple(one["loc"])
        whole = location + inner
        kind, context = one["type"], one.get("ctx", {})
        if kind == "extra_forbidden":
            message = f"unknown key {shown(inner[-1])}{did_you_mean(inner[-1], keys_of(model, inner[:-1]))}"
            yield Finding.at(key_at(whole), whole, message, code="unknown-key")
        elif kind == "missing":
            message = f"missing key {shown(inner[-1])}"
            yield Finding.at(value_at(whole[:-1]), whole, message, code="missing-key")
        elif kind == "literal_error":
            word = one["input"] if isinstance(one["input"], str) else ""
            hint = did_you_mean(word, _expected(context), listing=False)
            yield Finding.at(value_at(whole), whole, f"must be {context['expected']}{hint}", code="bad-value")
        elif kind in ("model_type", "dict_type", "model_attributes_type"):
            keys = ", ".join(keys_of(model, inner)) or "key: value"
            yield Finding.at(value_at(whole), whole, f"must be a mapping ({keys})", code="wrong-kind")
        else:
            message = _PLAIN.get(kind) or _lower(one["msg"].removeprefix("Value error, "))
            code = "wrong-kind" if kind in _PLAIN else "bad-value"
            if message == LITERAL:
                code = "literal-secret"
            yield Finding.at(value_at(whole), whole, message, code=code)


def keys_of(model: Any, location: Location) -> list[str]:
    """The keys a model accepts at a location inside it; empty where anything goes."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        if not location:
            return [field.alias or name for name, field in model.model_fields.items()]
        for name, field in model.model_fields.items():
            if location[0] in (name, field.alias):
                return keys_of(field.annotation, location[1:])
        return []
    if isinstance(location[0] if location else None, int):
        location = location[1:]
    for argument in get_args(model):
        found = keys_of(argument, location)
        if found:
            return found
    return []


def _expected(context: Any) -> list[str]:
    return [word for word in str(context.get("expected", "")).split("'")[1::2] if word]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message
