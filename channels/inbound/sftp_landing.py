"""Land one complete upload: a file or a folder in, a study with its order or a group of them taken.

An upload is one study where it can be. A folder of folders (or archives) of several studies becomes a batch:
an order for each, also for one that is refused, so that the batch's report tells of all. The same upload that
is landed again after a kill is the same orders and the same batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from channels.inbound.uploads.taking import in_thread, take_in
from engine.channel import InboundContext, Intake, Package, PackageLimits, open_package
from engine.errors import OrderRefused, PackageRefused, PackageRefusedReason, Rejected
from engine.model import NewBatch, NewOrder, Submitter

Told = Callable[[str, str, str], Awaitable[None]]
"""Hears of a site, an order and the name of the upload that has become it."""

SEVERAL = (  # what a folder of studies looks like to who expects one
    PackageRefusedReason.SEVERAL_STUDIES,
    PackageRefusedReason.NESTED,
    PackageRefusedReason.SIDECAR,
    PackageRefusedReason.NIFTI,
    PackageRefusedReason.GRADIENTS,
    PackageRefusedReason.TOO_MANY,
    PackageRefusedReason.TOO_LARGE,
)
MOST_STUDIES = 1000  # of one group


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of an upload; all that was taken is durable."""

    outcome: str  # for the log
    refused: tuple[tuple[Path, str], ...] = ()  # of a group: what was not taken, and why


class Lander:
    """Lands uploads of one site."""

    def __init__(
        self,
        context: InboundContext,
        intake: Intake,
        site: str,
        limits: PackageLimits,
        threads: Executor,
        told: Told,
    ) -> None:
        self._context = context
        self._intake = intake
        self._site = site
        self._limits = limits
        self._threads = threads
        self._told = told

    async def land(self, path: Path, key: str) -> Landed:
        """Returns when all is taken that can be.

        Args:
            key: of this upload: the same when it is landed again because it was not landed to its end.

        Raises:
            PackageRefused, Rejected, OrderRefused: of a single study, and nothing more of it is taken.
            Busy: not at this moment.
        """
        try:
            return Landed(await self._study(path, path.name))
        except PackageRefused as error:
            members = await in_thread(self._threads, group_of, path) if error.reason in SEVERAL else ()
            if len(members) < 2:
                raise
        return await self._group(path.name, members, key)

    async def _group(self, name: str, members: Sequence[Path], key: str) -> Landed:
        new = NewBatch(site=self._site, submitter=self._us, name=name[:200], idempotency_key=key)
        batch = await self._intake.orders.create_batch(new)
        refused: list[tuple[Path, str]] = []
        for member in members:
            try:
                await self._study(member, f"{name}/{member.name}", batch.batch_id)
            except (PackageRefused, Rejected, OrderRefused) as error:
                refused.append((member, str(error)))
                if isinstance(error, PackageRefused):  # nothing of it is there: its order says so
                    await self._failed(batch.batch_id, member, str(error))
        taken = len(members) - len(refused)
        return Landed(f"{taken} of {len(members)} studies of a group", tuple(refused))

    async def _study(self, path: Path, name: str, batch_id: str | None = None) -> str:
        """All instances of one; an order that is given for it comes before the first."""
        orders, limits = self._intake.orders, self._limits
        most = self._context.max_instance_bytes
        with await in_thread(self._threads, open_package, path, limits, most) as package:
            order_id = ""
            if package.metadata or batch_id is not None:
                order_id = (await orders.create(self._order(package, batch_id))).order_id
            taken = await take_in(package, self._site, self._context, self._intake, threads=self._threads)
        if not order_id:  # its way in has given one
            found = await orders.of_study(taken.study_instance_uid, [self._site])
            order_id = found[0].order_id if found else ""
        if order_id:
            await self._told(self._site, order_id, name)
        return str(taken)

    async def _failed(self, batch_id: str, member: Path, why: str) -> None:
        key = hashlib.sha256(json.dumps([batch_id, member.name]).encode()).hexdigest()
        new = NewOrder(
            site=self._site,
            submitter=self._us,
            inbound=self._context.name,
            batch_id=batch_id,
            idempotency_key=key,
        )
        order = await self._intake.orders.create(new)
        await self._intake.orders.upload_failed(order.order_id, why, [self._site])

    def _order(self, package: Package, batch_id: str | None) -> NewOrder:
        said = [self._site, package.study_instance_uid, sorted(package.metadata.items())]
        key = json.dumps(said if batch_id is None else [*said, batch_id])
        return NewOrder(
            site=self._site,
            submitter=self._us,
            inbound=self._context.name,
            study_instance_uid=package.study_instance_uid,
            metadata=package.metadata,
            batch_id=batch_id,
            idempotency_key=hashlib.sha256(key.encode()).hexdigest(),  # the same again is the same order
        )

    @property
    def _us(self) -> Submitter:
        return Submitter(kind="channel", name=self._context.name)


def group_of(path: Path) -> Sequence[Path]:
    """The studies of a folder of studies, by name; none where something else lies in it, too.

    Raises PackageRefused where there are more than one group may have.
    """
    if not path.is_dir():
        return ()
    entries = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    if not all(one.is_dir() or one.suffix.lower() == ".zip" for one in entries):
        return ()
    if len(entries) > MOST_STUDIES:
        raise PackageRefused(
            PackageRefusedReason.TOO_MANY,
            f"the folder holds {len(entries)} studies, a group has at most {MOST_STUDIES}; upload several",
        )
    return entries
