"""Where to send: what an operator typed in, a sender that knows the way out.

A target is whatever an installed sender reads as one (`AE_TITLE@HOST:PORT`, a URL), or the name of a channel
of the table: a destination, which is sent to as the engine would, or a way in of the engine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.catalog import Catalog
from engine.config import load
from engine.errors import PonsError
from engine.finding import did_you_mean
from engine.sender import Sender, SenderType


class Unusable(PonsError):
    """A target, or an option beside it, that cannot be meant."""


def sender_for(target: str, table: Path, options: Mapping[str, tuple[str, Any]]) -> Sender:
    """The sender for a target.

    Args:
        table: the table that names it, where it is a name.
        options: flag -> the field it sets, and its value; those that are None were not given.

    Raises:
        Unusable: it is no target, a name that the table has not, or an option is not for it.
        ConfigurationError: the table cannot be read.
    """
    kind, settings = _typed(target) or _named(target, table)
    given = {field: value for field, value in options.values() if value is not None}
    strange = [
        flag for flag, (field, _) in options.items() if field in given.keys() - kind.settings.model_fields
    ]
    if strange:
        raise Unusable(f"{', '.join(strange)} means nothing where it is sent by {kind.name}")
    try:
        return kind.build(kind.settings.model_validate({**settings, **given}))
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise Unusable("; ".join(told).replace("Value error, ", "")) from None


def _typed(target: str) -> tuple[SenderType, Mapping[str, Any]] | None:
    catalog = Catalog()
    for name in catalog.names("sender"):
        kind = catalog.sender(name)
        try:
            settings = kind.of_target(target)
        except ValueError as error:
            raise Unusable(str(error)) from None
        if settings is not None:
            return kind, settings
    return None


def _named(target: str, table: Path) -> tuple[SenderType, Mapping[str, Any]]:
    if not table.exists():
        raise Unusable(
            f"{target} is neither AE_TITLE@HOST:PORT nor a URL, and there is no table {table} that could"
            " name it; --table tells where it is"
        )
    loaded = load(table, surroundings=False)
    channels: dict[str, Any] = {f"outbound.{name}": one for name, one in loaded.outbound.items()}
    channels |= {f"inbound.{name}": one for name, one in loaded.inbound.items()}
    found = [name for name in channels if target in (name, name.partition(".")[2])]
    if len(found) != 1:
        raise Unusable(
            f"{table} has {' and '.join(found)}: name one of them"
            if found
            else f"{target} is neither AE_TITLE@HOST:PORT, nor a URL, nor a channel of {table}"
            f"{did_you_mean(target, [*loaded.outbound, *loaded.inbound])}"
        )
    channel = channels[found[0]]
    catalog = Catalog()
    for name in catalog.names("sender"):
        kind = catalog.sender(name)
        try:
            settings = kind.of_channel(channel.settings, loaded.engine.http)
        except ValueError as error:
            raise Unusable(f"{found[0]}: {error}") from None
        if settings is not None:
            return kind, settings
    raise Unusable(f"{found[0]} is of type {channel.type.name}, which takes no instances")
