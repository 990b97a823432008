"""Running a child process to its end: argv enters, exit status and the tail of its output leave.

The child leads its own session and process group. However the run ends (it exits, it times out, the
engine is stopped), the whole group is ended with it, grandchildren included, and its output is kept
only to a bound. No shell is involved; the environment is the one given and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from engine.errors import ProcessorFailed, TryAgain

KEPT_OUTPUT = 64 * 1024  # bytes of standard output and error, the last ones
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_DRAIN = 1.0  # seconds to read what is still in the pipe once the group has ended
INHERITED = ("PATH", "LANG", "HOME")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    exit_status: int  # negative: the number of the signal that ended it
    output: str  # the last KEPT_OUTPUT bytes it wrote


def minimal_environment() -> dict[str, str]:
    """What a child inherits: PATH, LANG and HOME, so that no secret of the engine's leaks into it."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


async def run_child(
    argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], seconds: float, grace: float = GRACE
) -> Ended:
    """Run a program and wait for it.

    Args:
        argv: the program and its arguments; a bare name is looked up in the PATH of ``environment``.
        cwd: its working directory.
        environment: all of its environment.
        seconds: how long it may take.
        grace: seconds it has between SIGTERM and SIGKILL.

    Raises:
        ProcessorFailed: it cannot be started, or took longer than ``seconds`` (its output so far is
            the error's detail). Returns or raises only when its process group has been ended.
        TryAgain: the machine has no process, memory or file descriptor to spare.
    """
    tail = _Tail()
    read_end, write_end = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: tail, cast(IO[bytes], os.fdopen(read_end, "rb", 0))
    )
    try:
        child = await _start(argv, cwd, environment, write_end)
        late = False
        try:
            async with asyncio.timeout(seconds):
                await child.wait()
        except TimeoutError:
            late = True
        finally:
            await _end_group(child, grace)
        await tail.drained()
        if late:
            raise ProcessorFailed(
                f"{Path(argv[0]).name} was ended after {seconds:g} s; raise timeout if it needs longer",
                detail=tail.text(),
            )
        assert child.returncode is not None
        return Ended(child.returncode, tail.text())
    finally:
        transport.close()


async def _start(
    argv: Sequence[str], cwd: Path, environment: Mapping[str, str], output: int
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise ProcessorFailed(
            f"program '{argv[0]}' was not found; install it, or give its full path in command"
        ) from None
    except PermissionError:
        raise ProcessorFailed(f"program '{argv[0]}' may not be executed; make it executable") from None
    except BlockingIOError as error:
        raise TryAgain(f"no process could be started: {error.strerror}", after=30.0) from None
    except OSError as error:
        raise ProcessorFailed(
            f"program '{argv[0]}' cannot be started: {error.strerror}; a script needs a #! line"
        ) from None
    finally:
        os.close(output)


async def _end_group(child: asyncio.subprocess.Process, grace: float) -> None:
    """End the child and all it started; at once when it has exited by itself."""
    try:
        if child.returncode is None:
            _signal(child.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await child.wait()
    finally:
        # Also when this is itself cancelled: the group never outlives its run.
        _signal(child.pid, signal.SIGKILL)
    await child.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Tail(asyncio.Protocol):
    """Keeps the last bytes of a pipe."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._kept += data
        del self._kept[: max(0, len(self._kept) - KEPT_OUTPUT)]

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    async def drained(self) -> None:
        """Wait for the writers to close; a process that left the group may hold the pipe, so not long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                await self._closed.wait()

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
