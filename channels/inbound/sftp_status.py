"""What became of orders, as files: changes of orders in, `/status/<order>.json` and `/output/groups` out.

The engine is asked again and again which orders have changed. Each that is of a site's uploads (or of the
site at all) is written anew, whole under its name at once. When all orders of a batch are through, its report
is written in each wanted format. Where the engine was stopped it goes on from where it had come to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from channels.content.report_path import safe
from channels.inbound.uploads.taking import in_thread
from channels.transport.sftp_layout import FILES, GROUPS, OUTPUT, STATUS, publish, tidy
from engine.channel import InboundContext, OrderDesk
from engine.errors import Busy, OrderRefused
from engine.model import Batch, OrderChange, OrderDetails, OrderState, Submitter

logger = logging.getLogger("pons.sftp")

OVERLAP = timedelta(seconds=30)  # a change is seen once it is committed, which may be after a later one
PAGE = 1000
OVER = (OrderState.DELIVERED, OrderState.FAILED, OrderState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Told:
    """Which orders are told of, in which formats batches, and how long it all stays, in seconds."""

    orders: Literal["uploads", "site", "none"]
    group_formats: Sequence[str]
    keep_status: float
    keep_output: float


class Status:
    """Writes for all sites of one channel; lives on the event loop, works in threads."""

    def __init__(
        self,
        context: InboundContext,
        orders: OrderDesk,
        folders: Mapping[str, Path],
        told: Told,
        look: float,
        threads: Executor,
    ) -> None:
        """
        Args:
            folders: of the sites, by their keys.
        """
        self._context = context
        self._orders = orders
        self._folders = folders
        self._told = told
        self._look = look
        self._threads = threads
        self._us = Submitter(kind="channel", name=context.name)
        self._seen: dict[str, tuple[int, datetime]] = {}
        self._since: datetime | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        tidied = 0.0
        while True:
            try:
                if self._told.orders != "none":
                    await self.catch_up()
                if time.monotonic() - tidied > 60 or not tidied:
                    tidied = time.monotonic()
                    await in_thread(self._threads, self._tidy)
            except (Busy, OSError) as error:
                facts = {"inbound": self._context.name, "reason": getattr(error, "strerror", str(error))}
                logger.warning("status files wait", extra={"pons": facts})
            await asyncio.sleep(self._look)

    async def catch_up(self) -> None:
        """Write what has changed since the last time."""
        if self._since is None:
            self._since = await in_thread(self._threads, self._where_we_were)
        since, groups = self._since, set[tuple[str, str]]()
        while True:
            page = await self._orders.changes(since, limit=PAGE)
            for change in page:
                await self._changed(change, groups)
            if len(page) < PAGE:
                break
            since = max(page[-1].updated_at, since + timedelta(microseconds=1))
        for site, batch_id in sorted(groups):
            await self._group(site, batch_id)
        if page and page[-1].updated_at - OVERLAP > self._since:
            self._since = page[-1].updated_at - OVERLAP
            self._seen = {name: one for name, one in self._seen.items() if one[1] >= self._since}
            await in_thread(self._threads, self._remember)

    async def uploaded(self, site: str, order_id: str, name: str) -> None:
        """An upload of this name has become this order: its status says so from now on."""
        if self._told.orders != "none":
            with contextlib.suppress(OrderRefused):  # another order has taken its place
                await self._write(site, order_id, name)

    async def _changed(self, change: OrderChange, groups: set[tuple[str, str]]) -> None:
        if change.site not in self._folders or self._seen.get(change.order_id, (0,))[0] == change.version:
            return
        if self._told.orders == "site" or change.submitter == self._us:
            with contextlib.suppress(OrderRefused):
                await self._write(change.site, change.order_id)
            if change.batch_id is not None and change.state in OVER:
                groups.add((change.site, change.batch_id))
        self._seen[change.order_id] = change.version, change.updated_at

    async def _write(self, site: str, order_id: str, upload: str = "") -> None:
        details = await self._orders.get(order_id, [site])
        await in_thread(self._threads, self._file, self._folders[site], details, upload)

    def _file(self, folder: Path, details: OrderDetails, upload: str) -> None:
        name = f"{details.order.order_id}.json"
        said = document(details, upload or _upload_of(folder / FILES / STATUS / name))
        publish(folder, f"{STATUS}/{name}", (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode())

    async def _group(self, site: str, batch_id: str) -> None:
        with contextlib.suppress(OrderRefused):
            batch = await self._orders.batch(batch_id, [site])
            if not batch.is_over:
                return
            for name in self._told.group_formats:
                made = await self._context.results.batch_report(batch_id, name, reader=self._us, sites=[site])
                path = f"{OUTPUT}/{GROUPS}/{group_name(batch)}{Path(made.name).suffix}"
                await in_thread(self._threads, publish, self._folders[site], path, made.content)

    def _where_we_were(self) -> datetime:
        oldest = datetime.now(UTC) - timedelta(seconds=self._told.keep_status)
        with contextlib.suppress(OSError, ValueError):
            return max(oldest, datetime.fromisoformat(self._cursor.read_text()))
        return oldest

    def _remember(self) -> None:
        assert self._since is not None
        part = self._cursor.with_suffix(".part")
        part.write_text(self._since.isoformat())
        part.replace(self._cursor)

    @property
    def _cursor(self) -> Path:
        return self._context.data / "sftp" / self._context.name / "followed"

    def _tidy(self) -> None:
        now = time.time()
        for folder in self._folders.values():
            tidy(folder / FILES / OUTPUT, now - self._told.keep_output)
            for file in (folder / FILES / STATUS).glob("*.json"):
                with contextlib.suppress(OSError, ValueError):
                    old = file.stat().st_mtime < now - self._told.keep_status
                    if old and json.loads(file.read_text())["state"] in OVER:  # one under way stays
                        file.unlink()


def document(details: OrderDetails, upload: str) -> dict[str, Any]:
    """What a status file says."""
    order = details.order
    found: dict[str, Any] = {
        "order_id": order.order_id,
        "state": order.state.value,
        "upload": upload,
        "batch_id": order.batch_id,
        "study_instance_uid": order.study_instance_uid,
        "accession_number": order.accession_number,
        "instances": details.instances,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
        "version": order.version,
        "failure": order.failure,
        "waits_for": list(details.holds),
    }
    found["results"] = [
        one.model_dump(mode="json", include={"result_id", "route", "status", "revision", "produced_at"})
        for one in details.results
    ]
    found["deliveries"] = [
        one.model_dump(mode="json", include={"destination", "state", "finished_at"})
        for one in details.deliveries
    ]
    return found


def group_name(batch: Batch) -> str:
    """What the report of a batch is called: as the batch, and unlike any other."""
    return f"{safe(batch.name or 'group')}-{safe(batch.batch_id)[-12:]}"


def _upload_of(file: Path) -> str:
    """What an earlier version of a status file says of the upload."""
    try:
        return str(json.loads(file.read_text("utf-8"))["upload"])
    except (OSError, ValueError, KeyError):
        return ""
