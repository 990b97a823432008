"""Offer instances on one association and hear what becomes of each (PS3.4 B.2, PS3.7 9.1.1 and D.3.3.3).

Enter: an open association and instances. Leave: an answer for each. A thread reads ahead while the peer is
busy with what it has; where the peer takes several requests at once, they are on the way at once, and its
answers may come in any order. Small instances leave in one write, large ones a megabyte at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from channels.transport import command_set, dimse_status
from channels.transport.dimse_command import C_STORE_RQ, RESPONSE
from channels.transport.dimse_status import Verdict
from channels.transport.instance_file import InstanceFile
from channels.transport.message_pdus import PIECE, Buffers, Truncated, pieces
from channels.transport.reencoding import Encoding, opened, syntaxes
from channels.transport.upper_layer import Association, Peer
from engine.errors import Refused, TryAgain

WINDOW = 16  # requests that we would have under way at once; a peer that says nothing gets one
_MEDIUM = 0x0000
_MESSAGE_IDS = 0x7FFE  # more than the window; 7FFF is that of a storage commitment request
_MOST_PIECES = 64  # read ahead at once


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one instance; ``status`` is None where it could not be offered, for an ``error``."""

    sop_instance_uid: str
    status: int | None
    error: TryAgain | Refused | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether it is delivered, worth another try, or refused for good."""
        if self.status is not None:
            return dimse_status.verdict(self.status)
        return Verdict.TRY_AGAIN if isinstance(self.error, TryAgain) else Verdict.REFUSED

    @property
    def is_out_of_resources(self) -> bool:
        """Whether the peer can take nothing more."""
        return self.status is not None and dimse_status.is_out_of_resources(self.status)

    @property
    def code(self) -> str:
        """The status, or a word for why there is none."""
        if self.status is not None:
            return dimse_status.code(self.status)
        return self.error.code if self.error else ""

    def __str__(self) -> str:
        return str(self.error) if self.status is None else dimse_status.describe(self.status)


def wanted(file: InstanceFile, encoding: Encoding) -> list[tuple[str, str]]:
    """Contexts under which a file may travel, its own transfer syntax first."""
    return [(file.sop_class_uid, syntax) for syntax in syntaxes(file, encoding)]


async def offer(
    peer: Peer,
    association: Association,
    files: Sequence[InstanceFile],
    encoding: Encoding,
    *,
    began: Callable[[int], None] = lambda _: None,
    moved: Callable[[int], None] = lambda _: None,
) -> AsyncGenerator[tuple[int, Answer], None]:
    """The answer for each instance, with its place among them, as they come.

    A peer that is out of resources (A7xx) is spared the rest. To be closed by who leaves early.

    Args:
        began: called with the place of each instance before its first byte leaves.
        moved: called with a number of bytes when the kernel has taken them.

    Raises:
        TryAgain: the association is lost or garbled; ``uncertain`` where an instance was on its way.
    """
    pending: dict[int, int] = {}  # message id -> place

    async def answered() -> tuple[int, Answer]:
        elements = command_set.decode(await association.receive())
        message_id = command_set.number(elements, command_set.MESSAGE_ID_RESPONDED_TO)
        if message_id is None or message_id not in pending:
            raise TryAgain(f"{peer} answered another request than ours", code="protocol")
        uid = files[pending[message_id]].sop_instance_uid
        status = read_response(peer, elements, C_STORE_RQ, message_id, uid)
        return pending.pop(message_id), Answer(uid, status)

    spared = False
    reader = _ReadAhead(_read(association, files, encoding))
    try:
        while read := await reader.next():
            for piece in read:
                if piece.error is not None:
                    if piece.message_id in pending:  # what is on the wire already cannot be taken back
                        raise TryAgain(str(piece.error), code="file")
                    yield piece.place, Answer(files[piece.place].sop_instance_uid, None, piece.error)
                    continue
                if piece.message_id not in pending:
                    pending[piece.message_id] = piece.place
                    began(piece.place)
                await association.write(piece.data)
                moved(len(piece.data))
                while piece.ends and len(pending) >= association.window:
                    place, answer = await answered()
                    yield place, answer
                    spared = spared or answer.is_out_of_resources
                if spared and piece.ends:
                    break
            if spared:
                break
        while pending:
            yield await answered()
    except TryAgain as error:
        error.uncertain = bool(pending)  # the peer may have stored it all the same
        raise
    finally:
        reader.close()


def read_response(
    peer: Peer,
    elements: command_set.Elements,
    request: int,
    message_id: int,
    sop_instance_uid: str = "",
) -> int:
    """The status of the response to this very request; TryAgain when it answers something else."""
    answered = command_set.uid(elements, command_set.AFFECTED_SOP_INSTANCE_UID)
    status = command_set.number(elements, command_set.STATUS)
    if (
        command_set.number(elements, command_set.COMMAND_FIELD) != request | RESPONSE
        or command_set.number(elements, command_set.MESSAGE_ID_RESPONDED_TO) != message_id
        or status is None
        # optional in the response, but when it is there it must be ours (PS3.7 9.3.1.2)
        or (sop_instance_uid and answered and answered != sop_instance_uid)
    ):
        raise TryAgain(f"{peer} answered another request than ours", code="protocol")
    return status


@dataclass(frozen=True, slots=True)
class _Piece:
    """Something to write, or why there is nothing."""

    place: int
    message_id: int
    data: bytes | bytearray | memoryview = b""
    ends: bool = False
    error: TryAgain | Refused | None = None


def _read(association: Association, files: Sequence[InstanceFile], encoding: Encoding) -> Iterator[_Piece]:
    """Every piece of every message, in order; runs in threads, one after the other."""
    buffers = Buffers(association.fragment)
    for place, file in enumerate(files):
        message_id = place % _MESSAGE_IDS + 1
        context = next((one for one in wanted(file, encoding) if one in association.accepted), None)
        if context is None:
            error = Refused(_no_context(file, association, encoding), code="no context")
            yield _Piece(place, message_id, error=error)
            continue
        command = command_set.encode(
            {
                command_set.AFFECTED_SOP_CLASS_UID: file.sop_class_uid,
                command_set.COMMAND_FIELD: C_STORE_RQ,
                command_set.MESSAGE_ID: message_id,
                command_set.PRIORITY: _MEDIUM,
                command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
                command_set.AFFECTED_SOP_INSTANCE_UID: file.sop_instance_uid,
            }
        )
        try:
            stream, size = opened(file, context[1])
            with stream:
                number = association.accepted[context]
                for data, ends in pieces(number, command, stream, size, buffers):
                    yield _Piece(place, message_id, data, ends)
        except Refused as refused:
            yield _Piece(place, message_id, error=refused)
        except (OSError, Truncated) as broken:
            yield _Piece(place, message_id, error=_unreadable(file, broken))


def _unreadable(file: InstanceFile, error: Exception) -> TryAgain | Refused:
    uid = file.sop_instance_uid
    if isinstance(error, FileNotFoundError):
        return Refused(f"the file of instance {uid} is gone", code="file")
    why = error.strerror if isinstance(error, OSError) else "it is shorter than it was"
    return TryAgain(f"instance {uid} cannot be read: {why}", code="file")


def _no_context(file: InstanceFile, association: Association, encoding: Encoding) -> str:
    from pydicom.uid import UID  # late: it takes 150 ms

    sop_class, syntax = UID(file.sop_class_uid).name, UID(file.transfer_syntax_uid).name
    if any(abstract_syntax == file.sop_class_uid for abstract_syntax, _ in association.accepted):
        tried = len(syntaxes(file, encoding)) > 1
        why = "nor uncompressed" if tried else "it cannot be sent without changing its encoding"
        return f"{sop_class} not accepted in {syntax}{', ' if tried else ': '}{why}"
    return f"{sop_class} in {syntax} not accepted: the peer must be configured to store it"


class _ReadAhead:
    """Runs the reading in threads, a step ahead of who writes; owned by one task."""

    def __init__(self, read: Iterator[_Piece]) -> None:
        self._read = read
        self._lock = threading.Lock()  # a cancelled step may still run when all is closed
        self._ahead: asyncio.Future[list[_Piece]] | None = None

    async def next(self) -> list[_Piece]:
        """The next pieces; none at the end. Those of a call before may be overwritten from now on."""
        loop = asyncio.get_running_loop()
        if self._ahead is None:
            self._ahead = loop.run_in_executor(None, self._some)
        read = await self._ahead
        self._ahead = loop.run_in_executor(None, self._some) if read else None
        return read

    def close(self) -> None:
        """Close what is open, once the step under way has ended."""
        if self._ahead is not None:
            self._ahead.cancel()
        asyncio.get_running_loop().run_in_executor(None, self._end)

    def _some(self) -> list[_Piece]:
        read: list[_Piece] = []
        size = 0
        with self._lock:
            for piece in self._read:
                read.append(piece)
                size += len(piece.data)
                # a view is of one of two buffers: one in each step, so that none is filled while it is sent
                if size >= PIECE or len(read) == _MOST_PIECES or isinstance(piece.data, memoryview):
                    break
        return read

    def _end(self) -> None:
        with self._lock:
            self._read.close()  # type: ignore[attr-defined]  # a generator
