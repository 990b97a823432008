"""Uploads on a real intake: an order, its upload, and the bytes of studies to send."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from channels.inbound.uploads.announced import Announced
from channels.inbound.uploads.desk import Uploads
from channels.inbound.uploads.settings import UploadSettings
from channels.inbound.uploads.upload import Upload
from engine.channel import InboundContext
from engine.directory import Directory
from engine.model import NewOrder, Site, StudyOrder, Submitter

SITES = {
    "st-marys": Site("st-marys", "St. Mary's", addresses=("127.0.0.1",)),
    "northside": Site("northside", "Northside", addresses=("127.0.0.2",)),
}
MAX_INSTANCE = 4 << 20
CLIENT = Submitter(kind="client", name="his")


@dataclass
class Desk:
    """Uploads of a channel `api`, and what stands behind them."""

    house: Any
    now: list[float] = field(default_factory=lambda: [0.0])  # seconds that the clock is ahead

    def uploads(self, **settings: Any) -> Uploads:
        """The uploads as a channel that starts now has them."""
        import time

        context = InboundContext("api", Directory(SITES), MAX_INSTANCE, data=self.house.data)
        return Uploads(
            UploadSettings(**settings), context, self.house.intake, lambda: time.time() + self.now[0]
        )

    async def order(self, site: str = "st-marys", **given: Any) -> StudyOrder:
        """A new order."""
        order: StudyOrder = await self.house.intake.orders.create(
            NewOrder(site=site, submitter=CLIENT, inbound="api", **given)
        )
        return order

    async def order_now(self, order_id: str) -> StudyOrder:
        """An order as it stands."""
        found: StudyOrder = (await self.house.intake.orders.get(order_id)).order
        return found

    @property
    def root(self) -> Path:
        """Where the uploads are."""
        return Path(self.house.data) / "uploads" / "api"

    def bytes_kept(self) -> int:
        """Of everything that was uploaded and is still there."""
        return sum(file.stat().st_size for file in self.root.glob("*/*-*") if file.is_file())


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body."""
    for chunk in chunks:
        yield chunk


async def cut_off(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body whose client goes away behind the last of these."""
    for chunk in chunks:
        yield chunk
    raise ConnectionResetError


def parts_of(content: bytes, count: int) -> dict[int, bytes]:
    """Content in so many parts, by number."""
    step = -(-len(content) // count)
    return {n + 1: content[n * step : (n + 1) * step] for n in range(count)}


async def send(uploads: Uploads, upload: Upload, parts: dict[int, bytes]) -> None:
    """Send these parts, in this order."""
    for number, content in parts.items():
        await uploads.receive_part(
            upload.upload_id, number, stream(content), Announced(len(content)), sites=None
        )


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return made.getvalue()


def study(instance: Callable[..., bytes], count: int = 6, **elements: Any) -> dict[str, bytes]:
    """The files of a study."""
    return {f"series/{n}.dcm": instance(n, bulk=3000, **elements) for n in range(1, count + 1)}


def rows(house: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """What the database says."""
    with house.database.engine.connect() as connection:
        return iter([tuple(row) for row in connection.exec_driver_sql(query).all()])
