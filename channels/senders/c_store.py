"""Send instances by C-STORE on request of an operator (PS3.4 B.2), each once, and tell of each.

Enter: `AE_TITLE@HOST:PORT`, or the peer that a DICOM channel of the table names, and candidates. Leave: what
the peer said of each. Where an association is lost, what was on its way has failed, and the rest goes on
another: one object that brings a peer down does not hide what becomes of the others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from channels.inbound.c_store import CStoreSettings
from channels.outbound.dicom_destination import DicomSettings
from channels.transport.association import groups
from channels.transport.dimse_status import Verdict
from channels.transport.instance_file import InstanceFile
from channels.transport.offer import WINDOW, Answer, offer
from channels.transport.reencoding import Encoding
from channels.transport.upper_layer import Peer, associate
from engine.channel import (
    AETitle,
    Candidate,
    Duration,
    Listener,
    Openable,
    Outcome,
    Port,
    SenderType,
    Settings,
    Tls,
    Told,
)
from engine.errors import Refused, TryAgain

_TARGET = re.compile(r"(?:(?P<title>[^@]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_DICOMDIR = "1.2.840.10008.1.3.10"
_LOST_IN_A_ROW = 3  # associations without one answer, after which the rest is not offered
_OUTCOMES = {Verdict.DELIVERED: Outcome.SENT, Verdict.WARNING: Outcome.WARNING}


class CStoreSender(Settings):
    """A peer that takes instances by C-STORE."""

    host: str = Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$", examples=["10.90.7.2"])
    """Address or name of the peer."""
    port: Port
    """TCP port of the peer."""
    ae_title: AETitle
    """The peer's AE title (called AE title)."""
    calling_ae_title: AETitle = "PONS"
    """Our own AE title."""
    tls: Tls | None = None
    """TLS towards the peer; plain DICOM when absent."""
    timeout: Duration = 30.0
    """How long the peer may take nothing and answer nothing."""
    associations: int = Field(1, ge=1, le=64)
    """Associations at once."""
    reencode: Literal["lossless", "never"] = "lossless"
    """Whether what the peer does not take as it is filed is sent uncompressed where nothing is lost by it."""


class CStore:
    """Sends by C-STORE."""

    def __init__(self, settings: CStoreSender) -> None:
        self._peer = Peer(
            settings.host,
            settings.port,
            settings.ae_title,
            settings.calling_ae_title,
            settings.tls,
            settings.timeout,
        )
        self._associations = settings.associations
        self._encoding = Encoding.LOSSLESS if settings.reencode == "lossless" else Encoding.AS_FILED

    def __str__(self) -> str:
        return str(self._peer)

    def look(self, name: str, content: Path | Openable) -> Candidate:
        """Read the file meta."""
        return looked_at(name, content)

    async def send(self, candidates: Sequence[Candidate], listener: Listener) -> None:
        """Offer each once, on as many associations as are wanted."""
        of = {id(one.head): one for one in candidates}
        for group in groups([one.head for one in candidates], self._encoding):
            wanted = [of[id(file)] for file in group.files]
            async with asyncio.TaskGroup() as tasks:
                for share in shares(wanted, self._associations):
                    tasks.create_task(
                        _Share(self._peer, self._encoding, listener).send(share, group.contexts)
                    )


class _Share:
    """What one association after the other is to send; owned by one task."""

    def __init__(self, peer: Peer, encoding: Encoding, listener: Listener) -> None:
        self._peer = peer
        self._encoding = encoding
        self._listener = listener

    async def send(self, share: Sequence[Candidate], contexts: Sequence[tuple[str, str]]) -> None:
        """Tells of each of them."""
        left = list(share)
        lost = 0
        while left:
            begun: set[int] = set()
            answered: set[int] = set()
            try:
                await self._associated(left, contexts, begun, answered)
                why, code = "not offered: the peer is out of resources", "out of resources"
                failed = set(range(len(left)))
            except (TryAgain, Refused) as error:
                why, code = str(error), error.code
                lost = 0 if answered else lost + 1
                # Without a word from the peer there is no use in offering it the rest.
                failed = begun if begun and lost < _LOST_IN_A_ROW else set(range(len(left)))
            for place in sorted(failed - answered):
                self._listener.told(Told(left[place], Outcome.FAILED, code, why))
            left = [one for place, one in enumerate(left) if place not in failed | answered]

    async def _associated(
        self,
        left: Sequence[Candidate],
        contexts: Sequence[tuple[str, str]],
        begun: set[int],
        answered: set[int],
    ) -> None:
        """One association; both sets are of places in ``left``."""
        peer, loop = self._peer, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(peer.timeout) as limit:

                def moved(count: int) -> None:
                    limit.reschedule(loop.time() + peer.timeout)
                    self._listener.moved(count)

                async with (
                    associate(peer, contexts, window=WINDOW) as association,
                    aclosing(
                        offer(
                            peer,
                            association,
                            [one.head for one in left],
                            self._encoding,
                            began=begun.add,
                            moved=moved,
                        )
                    ) as answers,
                ):
                    async for place, answer in answers:
                        limit.reschedule(loop.time() + peer.timeout)
                        answered.add(place)
                        self._listener.told(_told(left[place], answer))
        except TimeoutError:
            raise TryAgain(f"{peer} did not answer for {peer.timeout:g} s", code="timeout") from None


def _told(candidate: Candidate, answer: Answer) -> Told:
    outcome = _OUTCOMES.get(answer.verdict, Outcome.FAILED)
    return Told(candidate, outcome, answer.code, "" if outcome is Outcome.SENT else str(answer))


def looked_at(name: str, content: Path | Openable) -> Candidate:
    """A candidate for any way of sending DICOM files; raises as `Sender.look` does."""
    file = InstanceFile.read(content)
    if file.sop_class_uid == _DICOMDIR:
        raise ValueError("it is a DICOMDIR, which is no instance")
    return Candidate(name, content, file.sop_instance_uid, file.size, file)


def shares(candidates: Sequence[Candidate], count: int) -> Iterator[Sequence[Candidate]]:
    """The candidates in so many runs of about equal size in bytes, in order; none is empty."""
    total = sum(one.size for one in candidates)
    start = done = 0
    for number in range(1, count + 1):
        end = start
        while end < len(candidates) and (number == count or done < total * number / count):
            done += candidates[end].size
            end += 1
        if end > start:
            yield candidates[start:end]
        start = end


def _of_target(target: str) -> Mapping[str, Any] | None:
    match = _TARGET.fullmatch(target)
    if match is None:
        if "@" in target and "://" not in target:
            raise ValueError("a DICOM peer is AE_TITLE@HOST:PORT, for example PACS@10.90.7.2:104")
        return None
    if not match["title"]:
        raise ValueError(f"name the AE title that is to be called: PACS@{target.lstrip('@')}")
    return {"ae_title": match["title"], "host": match["host"].strip("[]"), "port": int(match["port"])}


def _of_channel(settings: Any, _http: str) -> Mapping[str, Any] | None:
    if isinstance(settings, DicomSettings):
        return {
            "host": settings.host,
            "port": settings.port,
            "ae_title": settings.ae_title,
            "calling_ae_title": settings.calling_ae_title,
            "tls": settings.tls,
        }
    if isinstance(settings, CStoreSettings):
        if settings.tls is not None:
            raise ValueError("it listens with TLS: name it as AE_TITLE@HOST:PORT, with --ca")
        host, _, port = settings.listen.rpartition(":")
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  not bound here
        host = host.strip("[]")
        return {"host": everywhere.get(host, host), "port": int(port), "ae_title": settings.ae_title}
    return None


SENDER = SenderType("c_store", CStoreSender, CStore, _of_target, _of_channel)
