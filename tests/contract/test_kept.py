"""What a way out without a peer promises: results that the engine keeps until a client fetches them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import select, update

from engine.catalog import Catalog, installed_batch_exports, installed_exports
from engine.channel import Keeps
from engine.decide import lineage
from engine.errors import ConfigurationError, OrderRefused, OrderRefusedReason
from engine.exported import exported
from engine.model import DeliveryId, History, ResultStatus, Submitter
from engine.orders import Orders
from engine.result_files import ResultFiles
from engine.store import work
from engine.store.tables import deliveries, retrieval_marks
from engine.stored_result import stored_versions
from tests.contract.house import DESTINATION, PATIENT, House
from tests.contract.rigs import KEPT
from tests.engine.conftest import HandClock

HIS = Submitter(kind="client", name="his")
RIS = Submitter(kind="client", name="ris")
ANA = Submitter(kind="person", name="ana")
SITE = ("st-marys",)
MONTH = 30 * 86400.0


class Shelf:
    """A house with a destination that keeps, and what its clients ask."""

    def __init__(self, folder: Path, **block: Any) -> None:
        self.clock = HandClock()
        self.house = House(folder, {"type": "rest", **block}, "10s", self.clock)
        self.orders = Orders(self.house.database, self.clock)
        data = self.house.table.engine.data.absolute()
        exports = (installed_exports(), installed_batch_exports())
        self.files = ResultFiles(self.house.database, self.clock, data, *exports)
        assert isinstance(self.house.channel, Keeps)
        self.keep({"st-marys": {DESTINATION: self.house.channel.kept_for}})

    def keep(self, kept: dict[str, dict[str, float]]) -> None:
        self.orders.keep(kept)
        self.files.keep(kept)

    async def offered(self, reader: Submitter = HIS) -> list[int]:
        return [one.seq for one in await self.orders.unretrieved(reader, SITE)]

    async def fetched(self, name: str, reader: Submitter = HIS) -> bytes:
        made = await self.files.result(self.result_id, name, reader=reader, sites=SITE)
        return made.content

    @property
    def result_id(self) -> str:
        return "00000000-0000-0000-0000-000000000007"

    def rows(self) -> list[Any]:
        found = select(deliveries).order_by(deliveries.c.seq)
        return list(self.house.database.read_now(lambda c: c.execute(found).all()))

    def row(self) -> Any:
        [row] = self.rows()
        return row

    async def until(self, state: str) -> Any:
        deadline = time.monotonic() + 30
        while (row := self.row()).state != state:
            assert time.monotonic() < deadline, f"{row.state}: {row.reason}"
            await asyncio.sleep(0.02)
        return row


@contextmanager
def shelf(folder: Path, **block: Any) -> Iterator[Shelf]:
    made = Shelf(folder, **block)
    try:
        yield made
    finally:
        made.house.close()


def test_the_ways_out_without_a_peer_are_those_that_keep(tmp_path: Path) -> None:
    for kind in KEPT:
        house = House(tmp_path, {"type": kind}, "10s")
        assert isinstance(house.channel, Keeps)
        house.close()


async def test_what_is_kept_is_delivered_at_once_and_fetched_as_it_was_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pons"), shelf(tmp_path) as kept:
        outcome = await kept.house.deliver()
        assert outcome.state == "delivered"
        assert [(one.outcome, one.code) for one in outcome.attempts] == [("delivered", "kept")]
        assert len(set(outcome.identifiers)) == len(outcome.identifiers) == len(Catalog().names("export"))
        [seq] = await kept.offered()
        data = kept.house.table.engine.data.absolute()
        for part in kept.row().payload:
            assert await kept.fetched(part["facts"]["type"]) == (data / part["path"]).read_bytes()
        assert await kept.fetched("montage.png") == (tmp_path / "montage.png").read_bytes()
        assert await kept.orders.acknowledge(HIS, SITE, [seq]) == 1
        assert (await kept.offered(), await kept.offered(RIS)) == ([], [seq])
    said = outcome.said + caplog.text
    assert [word for word in PATIENT if word in said] == []


async def test_it_is_rendered_the_same_whenever_it_is_rendered_and_says_nothing_of_the_patient(
    tmp_path: Path,
) -> None:
    history = History(DeliveryId("d-1"), datetime(2026, 1, 2, 12, 0, tzinfo=UTC))
    with shelf(tmp_path, formats=["json"]) as kept:
        result = kept.house.result(await kept.house.study())
        first, second = (kept.house.channel.render(result, history) for _ in range(2))
        await kept.house.channel.probe()
    assert first == second
    said = " ".join([first.summary, *(part.identifier for part in first.parts)])
    assert [word for word in PATIENT if word in said] == []


async def test_where_results_are_kept_a_client_is_offered_nothing_else(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["json"]) as kept:
        study = await kept.house.study()
        await kept.house.queue(study, kept.house.result(study))
        assert await kept.offered() == [], "it is on its way, and not there yet"
        assert len(await kept.offered(ANA)) == 1, "a person sees what there is"
        kept.keep({"st-lukes": {"elsewhere": MONTH}})
        assert len(await kept.offered()) == 1, "a site without such a destination offers every result"


async def test_only_the_formats_that_it_names_are_offered(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["json", "pdf"]) as kept:
        await kept.house.deliver()
        assert (await kept.fetched("pdf")).startswith(b"%PDF-")
        with pytest.raises(OrderRefused, match=r"there are json, pdf, derived\.dcm, montage\.png"):
            await kept.fetched("csv")
        assert b"Signal to noise" in await kept.fetched("csv", ANA)


def test_a_format_that_is_not_installed_is_a_mistake_of_the_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no format 'pfd'; did you mean 'pdf'"):
        House(tmp_path, {"type": "rest", "formats": ["pfd"]}, "10s")


async def test_a_result_is_offered_for_as_long_as_the_table_says(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["json", "pdf"], offered_for="7d") as kept:
        await kept.house.deliver()
        [seq] = await kept.offered()
        kept.clock.advance(7 * 86400 - 1)
        assert await kept.offered() == [seq]
        kept.clock.advance(1)
        assert await kept.offered() == []
        with pytest.raises(OrderRefused, match="not offered any more") as caught:
            await kept.fetched("pdf")
        assert caught.value.reason is OrderRefusedReason.GONE
        assert (await kept.fetched("pdf", ANA)).startswith(b"%PDF-")


async def test_a_mark_passes_what_is_offered_no_more_but_nothing_that_may_yet_be_kept(tmp_path: Path) -> None:
    def marks(kept: Shelf) -> list[tuple[str, int]]:
        rows = kept.house.database.read_now(lambda c: c.execute(select(retrieval_marks)).all())
        return [(row.reader, row.seq) for row in rows]

    with shelf(tmp_path, formats=["json"]) as kept:
        await kept.house.deliver()
        [seq] = await kept.offered()
        await kept.house.database.write(
            lambda c: c.execute(update(deliveries).values(state="waiting", stored=None))
        )
        kept.clock.advance(86400)
        assert await kept.orders.acknowledge(RIS, SITE, [seq]) == 1
        assert [reader for reader, _ in marks(kept)] == ["client ris", "client ris of channel web"]
        await kept.house.database.write(lambda c: c.execute(update(deliveries).values(state="delivered")))
        assert await kept.offered() == [seq], "what another acknowledged is still new to this one"


async def test_a_result_may_wait_until_a_client_acknowledges_it(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["pdf"], acknowledged_by="client") as kept:
        outcome = await kept.house.deliver()
        assert (outcome.state, outcome.attempts[0].outcome) == ("waiting", "stored")
        assert outcome.reason == "kept offered; waits for a client to acknowledge it"
        [seq] = await kept.offered()
        assert (await kept.fetched("pdf")).startswith(b"%PDF-")
        assert kept.row().state == "waiting", "who fetched it may have lost it on the way"
        await kept.orders.acknowledge(HIS, ("st-lukes",), [seq])
        await kept.orders.acknowledge(ANA, SITE, [seq])
        assert kept.row().state == "waiting", "neither another site nor a person is a client of the site"
        await kept.orders.acknowledge(HIS, SITE, [seq])
        assert kept.row().state == "delivered"
        assert await kept.offered(RIS) == [seq], "each client is offered it until it has it"


async def test_a_result_that_no_client_acknowledges_is_a_dead_letter_until_one_does(tmp_path: Path) -> None:
    retry = {"first": "50ms", "cap": "100ms", "give_up_after": "72h"}
    with shelf(tmp_path, formats=["json"], acknowledged_by="client", retry=retry) as kept:
        await kept.house.deliver()
        [seq] = await kept.offered()
        kept.clock.advance(72 * 3600 + 1)
        async with kept.house.dispatching():
            row = await kept.until("dead")
        assert row.reason.startswith("gave up: the peer has not reported in time")
        assert await kept.offered() == [seq], "it lies there all the same"
        await kept.orders.acknowledge(HIS, SITE, [seq])
        assert kept.row().state == "delivered"


async def versions_of(kept: Shelf) -> None:
    """A final result, its correction and its retraction, one after the other."""
    study = await kept.house.study()
    first = kept.house.result(study)
    async with kept.house.dispatching():
        for number, status in enumerate(
            (ResultStatus.FINAL, ResultStatus.CORRECTED, ResultStatus.RETRACTED), start=1
        ):
            before = None if number == 1 else f"r-{number - 1}"
            told = {"result_id": f"r-{number}", "revision": number, "status": status, "supersedes": before}
            await kept.house.queue(study, first.model_copy(update=told))
            deadline = time.monotonic() + 30
            while [row.state for row in kept.rows()] != ["delivered"] * number:
                assert time.monotonic() < deadline, [row.reason for row in kept.rows()]
                await asyncio.sleep(0.02)


async def test_what_is_kept_tells_what_it_replaces_and_a_retraction_what_it_rejects(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["pdf", "sr", "json"]) as kept:
        await versions_of(kept)
        data = kept.house.table.engine.data.absolute()
        first, second, third = (
            {part["facts"]["type"]: data / part["path"] for part in row.payload} for row in kept.rows()
        )
    report, correction, note = (dcmread(one["sr"]) for one in (first, second, third))
    assert predecessor(correction) == report.SOPInstanceUID
    assert rejected(note) == [report.SOPInstanceUID, correction.SOPInstanceUID]
    assert json.loads(second["json"].read_bytes())["status"] == "corrected"


async def test_what_is_made_when_it_is_asked_for_tells_the_same(tmp_path: Path) -> None:
    with shelf(tmp_path, formats=["json"]) as kept:
        await versions_of(kept)
        kept.keep({})
        found = await kept.house.database.read(lambda c: work.versions_of(c, 1, lineage(1, "judge/all")))
        sr = Catalog().export("sr")
        versions = stored_versions(found, 3, tmp_path)
        made = [exported(sr, versions[:number]) for number in (1, 2, 3)]
        report, correction, note = (dcmread(BytesIO(one)) for one in made if one is not None)
        assert predecessor(correction) == report.SOPInstanceUID
        assert rejected(note) == [report.SOPInstanceUID, correction.SOPInstanceUID]
        fetched = await kept.files.result("r-3", "sr", reader=HIS, sites=SITE)
        assert (fetched.content, fetched.name) == (made[2], "result-r-3.dcm")
        with pytest.raises(OrderRefused, match="retracted"):
            await kept.files.result("r-1", "sr", reader=HIS, sites=SITE)
    assert exported(sr, versions[2:]) is None, "a retraction of nothing says nothing"


def predecessor(report: Dataset) -> str:
    [study] = report.PredecessorDocumentsSequence
    return str(study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def rejected(note: Dataset) -> list[str]:
    [study] = note.CurrentRequestedProcedureEvidenceSequence
    return [
        str(one.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]
