"""Senders as a PACS has them: they send until they are told that it arrived, then they note that.

Enter: studies that grow. Leave: in the ledger, each instance that the engine acknowledged, by C-STORE
or STOW-RS, at whichever engine the sender happened to reach. A part that failed is sent again, now and
then in full, as many a PACS does.
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt

from bench.faults.records import Acknowledged, Ledger
from bench.faults.studies import Growing, Instance, invent
from examples.demo.senders import held_reactor, without_delay

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

PATIENCE = 8.0  # seconds for an answer
SITES = {"north": "127.0.0.1", "south": "127.0.0.2"}  # each is known by the address it sends from
REFERENCED_SOP_SEQUENCE, REFERENCED_SOP_INSTANCE_UID = "00081199", "00081155"


@dataclass(frozen=True, slots=True)
class Door:
    """Where one engine takes studies."""

    dicom_port: int
    http_port: int


@dataclass(order=True)
class _Part:
    due: float
    number: int
    growing: Growing = field(compare=False)
    index: int = field(compare=False)
    left: list[Instance] = field(compare=False)


class Producers:
    """A few threads that send what is due."""

    def __init__(
        self, doors: Sequence[Door], ledger: Ledger, folder: Path, seed: int, *, studies_a_second: float
    ) -> None:
        self._doors, self._ledger, self._folder = doors, ledger, folder
        self._random = Random(seed)
        self._every = 1 / studies_a_second
        self._parts: list[_Part] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._changed = threading.Condition()
        self._growing, self._ended = True, False
        self.studies = 0
        self.failures = 0
        self._threads = [threading.Thread(target=self._send_due, name=f"sender-{n}") for n in range(3)]
        self._threads.append(threading.Thread(target=self._invent, name="modality"))
        folder.mkdir()
        for thread in self._threads:
            thread.start()

    def no_more_studies(self) -> None:
        """Begin none; go on with what has begun until it is acknowledged."""
        with self._changed:
            self._growing = False
            self._changed.notify_all()

    @property
    def unacknowledged(self) -> int:
        """Parts that are still to be sent."""
        with self._changed:
            return len(self._parts) + self._under_way

    def stop(self) -> None:
        """Send nothing more, acknowledged or not."""
        with self._changed:
            self._growing, self._ended = False, True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(60)

    def _invent(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._growing, self._every)
                if not self._growing:
                    return
                site = self._random.choice(list(SITES))
                self.studies += 1
                growing = invent(self._random, site, f"{self.studies:05d}", self._folder)
                self._queue(growing, 0, 0.0)

    def _queue(self, growing: Growing, index: int, after: float) -> None:
        part = _Part(
            time.monotonic() + after, next(self._numbers), growing, index, list(growing.parts[index])
        )
        heapq.heappush(self._parts, part)
        self._changed.notify_all()

    def _next(self) -> _Part | None:
        with self._changed:
            while not self._ended:
                now = time.monotonic()
                if self._parts and self._parts[0].due <= now:
                    self._under_way += 1
                    return heapq.heappop(self._parts)
                self._changed.wait(self._parts[0].due - now if self._parts else None)
        return None

    def _send_due(self) -> None:
        while (part := self._next()) is not None:
            send: Callable[[_Part, Door], set[str]] = self._random.choice((self._c_store, self._stow_rs))
            try:
                taken = send(part, self._random.choice(list(self._doors)))
            except (httpx.HTTPError, OSError, RuntimeError):
                taken = set()
            with self._changed:
                self._under_way -= 1
                self._go_on(part, taken)

    def _go_on(self, part: _Part, taken: set[str]) -> None:
        part.left = [one for one in part.left if one.sop_instance_uid not in taken]
        growing = part.growing
        if part.left:
            self.failures += 1
            if self._random.random() < 0.3:
                part.left = list(growing.parts[part.index])
            part.due = time.monotonic() + self._random.uniform(0.3, 1.5)
            heapq.heappush(self._parts, part)
            self._changed.notify_all()
        elif part.index + 1 < len(growing.parts):
            self._queue(growing, part.index + 1, self._random.uniform(0, 5))

    def _acknowledged(self, part: _Part, instance: Instance, way: str) -> str:
        growing = part.growing
        self._ledger.add(
            Acknowledged(
                growing.site,
                growing.study,
                instance.sop_instance_uid,
                instance.number,
                instance.sha256,
                way,
            )
        )
        return instance.sop_instance_uid

    def _c_store(self, part: _Part, door: Door) -> set[str]:
        entity = AE(ae_title=part.growing.site.upper())
        entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        entity.connection_timeout = entity.acse_timeout = PATIENCE
        entity.dimse_timeout = entity.network_timeout = PATIENCE
        association = entity.associate(
            "127.0.0.1",
            door.dicom_port,
            ae_title="PONS",
            bind_address=(SITES[part.growing.site], 0),
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)],
        )
        taken: set[str] = set()
        if not association.is_established:
            return taken
        with held_reactor(association):
            for instance in part.left:
                if association.send_c_store(instance.path).get("Status") != 0x0000:
                    break
                taken.add(self._acknowledged(part, instance, "c_store"))
        association.release()
        return taken

    def _stow_rs(self, part: _Part, door: Door) -> set[str]:
        body = b"".join(
            b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + one.path.read_bytes() + b"\r\n"
            for one in part.left
        )
        kind = 'multipart/related; type="application/dicom"; boundary=frontier'
        with httpx.Client(
            transport=httpx.HTTPTransport(local_address=SITES[part.growing.site]),
            timeout=PATIENCE,
            trust_env=False,
        ) as client:
            response = client.post(
                f"http://127.0.0.1:{door.http_port}/dicomweb/studies",
                content=body + b"--frontier--\r\n",
                headers={"Content-Type": kind, "Accept": "application/dicom+json"},
            )
        if response.status_code not in (200, 202):
            return set()
        answer = json.loads(response.content)
        if isinstance(answer, list):
            (answer,) = answer
        stored = {
            item[REFERENCED_SOP_INSTANCE_UID]["Value"][0]
            for item in answer.get(REFERENCED_SOP_SEQUENCE, {}).get("Value", [])
        }
        return {
            self._acknowledged(part, one, "stow_rs") for one in part.left if one.sop_instance_uid in stored
        }
