"""A PACS on pynetdicom: takes structured reports and forwarded instances by C-STORE (PS3.4 B).

Enter: SOP Instances. Leave: a synced receipt for each that was taken, then the status that the
weather allows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from bench.faults.judge import INSTANCE
from bench.faults.records import Ledger, Receipt
from bench.faults.weather import EVERYWHERE, LATE, Weather
from examples.demo.senders import without_delay

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

OUT_OF_RESOURCES = 0xA700
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class StorageSink:
    """One application entity."""

    weathers: tuple[Weather, ...] = EVERYWHERE

    def __init__(self, name: str, port: int, ledger: Ledger) -> None:
        self.name, self.port = name, port
        self._ledger = ledger
        self._weather: Weather = "down"
        self._server: ThreadedAssociationServer | None = None
        self._entity = AE(ae_title=ae_title(name))
        self._entity.network_timeout = self._entity.dimse_timeout = 10
        for kind in (
            MRImageStorage,
            EnhancedSRStorage,
            ComprehensiveSRStorage,
            Comprehensive3DSRStorage,
        ):
            self._entity.add_supported_context(kind, SYNTAXES)
        self.turn("fair")

    def turn(self, weather: Weather) -> None:
        """From now on."""
        self._weather = weather
        if weather == "down" and self._server is not None:
            self._server.shutdown()
            self._server = None
        elif weather != "down" and self._server is None:
            self._server = self._entity.start_server(
                ("127.0.0.1", self.port),
                block=False,
                evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, without_delay)],
            )

    def stop(self) -> None:
        """For good."""
        self.turn("down")

    def _store(self, event: Event) -> int:
        weather = self._weather
        if weather == "busy":
            return OUT_OF_RESOURCES
        if weather in ("deaf", "down"):
            event.assoc.abort()
            return OUT_OF_RESOURCES
        self._ledger.add(read(self.name, event.dataset, weather))
        if weather == "slow":
            time.sleep(LATE)
        if weather == "mute":
            event.assoc.abort()
        return 0x0000


def ae_title(name: str) -> str:
    """The AE title of a destination of this name."""
    return name.upper().replace("-", "_")


def read(name: str, instance: Dataset, weather: Weather) -> Receipt:
    """The receipt of a report or of an image."""
    identifier, study = str(instance.SOPInstanceUID), str(instance.StudyInstanceUID)
    if "ContentSequence" not in instance:
        return Receipt(name, identifier, study, 1 << int(instance.InstanceNumber), INSTANCE, weather)
    (mask,) = set(_masks(instance))
    status = "preliminary" if instance.PreliminaryFlag == "PRELIMINARY" else "final"
    return Receipt(name, identifier, study, mask, status, weather)


def _masks(item: Dataset) -> Iterator[int]:
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "NUM" and child.ConceptNameCodeSequence[0].CodeValue == "MASK":
            yield int(child.MeasuredValueSequence[0].NumericValue)
        yield from _masks(child)
