"""The installed channel and processor types, found by their entry points.

Enter: the entry points `pons.inbound`, `pons.outbound`, `pons.processor`, `pons.export`,
`pons.batch_export`, `pons.sender` of this environment.
Leave: names at no cost, and types loaded when a table first mentions them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from engine.channel import BatchExportType, ExportType, InboundType, OutboundType, ProcessorType, SenderType
from engine.errors import ConfigurationError
from engine.finding import did_you_mean, shown

Kind = Literal["inbound", "outbound", "processor", "export", "batch_export", "sender"]

_TYPES: dict[Kind, type] = {
    "inbound": InboundType,
    "outbound": OutboundType,
    "processor": ProcessorType,
    "export": ExportType,
    "batch_export": BatchExportType,
    "sender": SenderType,
}
_WORDS: dict[Kind, str] = {
    "inbound": "channel type",
    "outbound": "channel type",
    "processor": "processor type",
    "export": "format",
    "batch_export": "format of a batch's report",
    "sender": "way of sending",
}


class Catalog:
    """What is installed, at the moment this was made."""

    def __init__(self) -> None:
        installed = entry_points()  # once: each time, every package of the environment is looked at
        self._points: dict[Kind, dict[str, EntryPoint]] = {
            kind: {point.name: point for point in installed.select(group=f"pons.{kind}")} for kind in _TYPES
        }

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Names of the installed types, sorted; nothing is imported."""
        return tuple(sorted(self._points[kind]))

    def inbound(self, name: str) -> InboundType:
        """The way in with this name; ConfigurationError when there is none or it is broken."""
        found = self._load("inbound", name)
        assert isinstance(found, InboundType)
        return found

    def outbound(self, name: str) -> OutboundType:
        """The way out with this name; ConfigurationError when there is none or it is broken."""
        found = self._load("outbound", name)
        assert isinstance(found, OutboundType)
        return found

    def processor(self, name: str) -> ProcessorType:
        """The processor with this name; ConfigurationError when there is none or it is broken."""
        found = self._load("processor", name)
        assert isinstance(found, ProcessorType)
        return found

    def export(self, name: str) -> ExportType:
        """The file format with this name; ConfigurationError when there is none or it is broken."""
        found = self._load("export", name)
        assert isinstance(found, ExportType)
        return found

    def batch_export(self, name: str) -> BatchExportType:
        """The format of a batch's report with this name; ConfigurationError when there is none."""
        found = self._load("batch_export", name)
        assert isinstance(found, BatchExportType)
        return found

    def sender(self, name: str) -> SenderType:
        """The way of sending with this name; ConfigurationError when there is none or it is broken."""
        found = self._load("sender", name)
        assert isinstance(found, SenderType)
        return found

    def _load(self, kind: Kind, name: str) -> object:
        word = _WORDS[kind]
        point = self._points[kind].get(name)
        if point is None:
            raise ConfigurationError(f"no {word} {shown(name)}{did_you_mean(name, self._points[kind])}")
        try:
            found = point.load()
        except Exception as error:  # whatever a plugin's module does at import
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ConfigurationError(
                f"{word} {name!r} ({point.value}) cannot be loaded: {cause}; reinstall or remove it"
            ) from error
        if not isinstance(found, _TYPES[kind]):
            raise ConfigurationError(
                f"{word} {name!r} ({point.value}) is a {type(found).__name__}, "
                f"not an {_TYPES[kind].__name__}; its package is broken"
            )
        return found


def installed_exports(names: Sequence[str] = ()) -> tuple[ExportType, ...]:
    """The file formats of this environment with these names; where none is named all, in order."""
    catalog = Catalog()
    return tuple(catalog.export(name) for name in names or catalog.names("export"))


def installed_batch_exports() -> tuple[BatchExportType, ...]:
    """Every format of a batch's report in this environment, in the order of their names."""
    catalog = Catalog()
    return tuple(catalog.batch_export(name) for name in catalog.names("batch_export"))
