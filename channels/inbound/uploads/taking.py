"""Take a package in: one study that was looked at as a whole in, its instances in the engine's intake out.

Whatever people upload by ends here: SFTP, the REST API, the portal. All instances are of one session, so that
nothing is decided about their study before the last of them is recorded, and a few are on their way at once,
so that they share what making them durable costs. Who is killed in between takes the package once more: the
engine knows every instance that it has, and a study that comes twice is one study.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from engine.channel import InboundContext, Intake, Landing, Package
from engine.model import Arrival

T = TypeVar("T")

UNDER_WAY = 8  # instances of one package
_AHEAD = 8  # instances that a thread makes ready in one go: those of a NIfTI image have to be computed


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a package the engine has; all of it is durable."""

    study_instance_uid: str
    instances: int
    known: int  # of them, here before

    def __str__(self) -> str:
        return f"{self.instances} instances, {self.known} of them here already"


async def in_thread(threads: Executor | None, work: Callable[..., T], *arguments: object) -> T:
    """Do what blocks in a thread; who is cancelled waits until it has ended, for it has files of ours open.

    Args:
        threads: the event loop's own when None.
    """
    call = asyncio.get_running_loop().run_in_executor(threads, lambda: work(*arguments))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        if not call.cancelled():
            call.exception()
        raise


async def take_in(
    package: Package,
    site: str,
    context: InboundContext,
    intake: Intake,
    *,
    threads: Executor | None = None,
    remote_address: str = "",
) -> Taken:
    """Land and record every instance; on return all of them are.

    Whoever has an order for it gives or binds that before: the first instance is decided by it.

    Raises:
        PackageRefused, Rejected: an instance cannot be taken; those before it are.
        Busy: not at this moment; those before it are there, and known the next time.
    """
    session = f"{context.name}-{uuid.uuid4().hex}"
    instances = package.instances()
    ready = deque(islice(instances, 0))
    turn = asyncio.Lock()
    known = 0

    async def some() -> None:
        nonlocal known
        while True:
            async with turn:
                if not ready:
                    ready.extend(await in_thread(threads, lambda: [*islice(instances, _AHEAD)]))
                if not ready:
                    return
                one = ready.popleft()
            place = await context.in_flight.take_soon(site)
            landing: Landing | None = None
            try:
                landing = place.holds(intake.land())
                await in_thread(threads, one.write_to, landing)
                receipt = await intake.accept(
                    Arrival(
                        site=site,
                        inbound=context.name,
                        session=session,
                        landing=landing,
                        remote_address=remote_address,
                        sop_class_uid=one.sop_class_uid,
                        sop_instance_uid=one.sop_instance_uid,
                        study_instance_uid=package.study_instance_uid,
                    )
                )
                known += receipt.duplicate
            finally:
                if landing is not None:
                    landing.discard()
                place.leave()

    takers = [asyncio.create_task(some()) for _ in range(min(UNDER_WAY, package.count))]
    try:
        await asyncio.gather(*takers)
    finally:
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
        intake.leave(session)
    return Taken(package.study_instance_uid, package.count, known)
