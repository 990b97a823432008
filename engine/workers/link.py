"""The pipe between the engine and a worker: calls that are answered, and words that are not.

Enter: names and arguments, from any thread. Leave: the same at the other end, in the order in which they
were said. Only these two processes have the pipe: what a peer sent passes as data inside a message, never
as one. When either process ends, the other reads the end of the pipe: it is the notice of death.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from io import BytesIO
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

logger = logging.getLogger("pons.workers")

CALL, TELL, DONE, FAILED, CANCEL = range(5)
_BATCH = 256  # messages in one write

Message = tuple[int, int, Any, Any]  # which of the five, number of the call, and two more


class LinkLost(ConnectionError):
    """The process at the other end has ended."""


class Link:
    """One end."""

    def __init__(
        self,
        pipe: socket.socket,
        serve: Callable[[str, Sequence[Any]], Any],
        on_end: Callable[[], object],
        *,
        queued: bool,
    ) -> None:
        """
        Args:
            pipe: one of a pair; the link's to close.
            serve: answers a call of the other end, with a value or a future, or raises; in the link's thread.
            on_end: called from that thread when the other end is gone.
            queued: saying something never waits for the other end (True), or has left this process when it
                returns (False).
        """
        self._pipe = pipe
        self._connection = Connection(os.dup(pipe.fileno()))
        self._serve = serve
        self._on_end = on_end
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._serving: dict[int, Future[Any]] = {}
        self._outbox: queue.SimpleQueue[bytes | None] | None = queue.SimpleQueue() if queued else None
        self._writer = threading.Thread(target=self._write_queued, name="pons-link-out", daemon=True)
        self._ended = False

    def start(self) -> None:
        """Begin to read, and to write what is queued."""
        threading.Thread(target=self._read, name="pons-link", daemon=True).start()
        if self._outbox is not None:
            self._writer.start()

    def call(self, name: str, *arguments: Any) -> Future[Any]:
        """Ask the other end; the future has its answer, fails as it failed, or with LinkLost.

        Cancelling it tells the other end that nobody waits any more.
        """
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            ended = self._ended
            if not ended:
                self._asked[number] = future
        if ended:
            future.set_exception(LinkLost("the process at the other end has ended"))
            return future
        future.add_done_callback(lambda done: self._no_longer_asked(number, done))
        try:
            self._say((CALL, number, name, arguments))
        except Exception as error:  # whatever pickle has against it
            with self._lock:
                self._asked.pop(number, None)
            future.set_exception(error)
        return future

    def tell(self, name: str, *arguments: Any) -> None:
        """Let the other end know; harmless when it is gone."""
        self._say((TELL, 0, name, arguments))

    def close(self) -> None:
        """Say nothing more; the other end reads the end of the pipe after what was said."""
        if self._outbox is not None:
            self._outbox.put(None)
        else:
            self._shut()

    def _shut(self) -> None:
        with suppress(OSError):  # closed as the other end went
            self._pipe.shutdown(socket.SHUT_WR)

    def _no_longer_asked(self, number: int, done: Future[Any]) -> None:
        if done.cancelled():
            with self._lock:
                asked = self._asked.pop(number, None)
            if asked is not None:
                self._say((CANCEL, number, None, None))

    # ── out ──

    def _say(self, message: Message) -> None:
        said = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)  # here: what cannot be told fails who says it
        if self._outbox is not None:
            self._outbox.put(said)
            return
        with suppress(OSError), self._lock:
            self._connection.send_bytes(said)

    def _write_queued(self) -> None:
        assert self._outbox is not None
        said: bytes | None = b""
        with suppress(OSError):
            while said is not None:
                said = self._outbox.get()
                together = []
                with suppress(queue.Empty):
                    while said is not None:
                        together.append(said)
                        if len(together) == _BATCH:
                            break
                        said = self._outbox.get_nowait()
                self._connection.send_bytes(b"".join(together))
        self._shut()

    # ── in ──

    def _read(self) -> None:
        try:
            while True:
                together = BytesIO(self._connection.recv_bytes())
                while together.tell() < together.getbuffer().nbytes:
                    self._take(pickle.load(together))  # noqa: S301 of a process that the other started itself
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("defect: the link to a process broke")
        with self._lock:
            self._ended = True
            asked, self._asked = self._asked, {}
        for future in asked.values():
            with suppress(InvalidStateError):
                future.set_exception(LinkLost("the process at the other end has ended"))
        if self._outbox is not None:
            self._shut()
            self._outbox.put(None)
            self._writer.join()
        with self._lock:
            self._connection.close()
            self._pipe.close()
        self._on_end()

    def _take(self, message: Message) -> None:
        kind, number, name, content = message
        if kind == CALL:
            self._answer(number, name, content)
        elif kind == TELL:
            try:
                self._serve(name, content)
            except Exception:
                logger.exception("defect: word of another process was not taken")
        elif kind == CANCEL:
            serving = self._serving.get(number)
            if serving is not None:
                serving.cancel()
        else:
            with self._lock:
                asked = self._asked.pop(number, None)
            if asked is not None and asked.set_running_or_notify_cancel():
                if kind == DONE:
                    asked.set_result(content)
                else:
                    asked.set_exception(_unpacked(content))

    def _answer(self, number: int, name: str, arguments: Sequence[Any]) -> None:
        try:
            answer = self._serve(name, arguments)
        except Exception as error:
            self._say((FAILED, number, None, _packed(error)))
            return
        if isinstance(answer, Future):
            self._serving[number] = answer
            answer.add_done_callback(lambda done: self._answered(number, done))
        else:
            self._give(number, answer)

    def _give(self, number: int, answer: Any) -> None:
        try:
            self._say((DONE, number, None, answer))
        except Exception as error:  # whatever pickle has against it
            logger.exception("defect: an answer cannot be told to another process")
            self._say((FAILED, number, None, _packed(TypeError(type(error).__name__))))

    def _answered(self, number: int, done: Future[Any]) -> None:
        self._serving.pop(number, None)
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._give(number, done.result())
        else:
            self._say((FAILED, number, None, _packed(error)))


def _packed(error: BaseException) -> tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]:
    """What an error says, without its traceback: constructors take more than `args` tells."""
    return type(error), error.args, dict(error.__dict__)


def _unpacked(packed: tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]) -> BaseException:
    kind, arguments, facts = packed
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(facts)
    return error
