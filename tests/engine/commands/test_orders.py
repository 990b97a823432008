"""`pons orders`: what is wanted, what has become of it, cancelled by a person, reported as a batch."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import cli
from engine.audit import verify
from engine.errors import OrderRefused, PonsError
from engine.model import NewBatch, NewOrder, Submitter
from engine.order_changes import create, create_batch
from engine.store import study_orders
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from engine.store.recording import NewInstance, record
from engine.store.tables import audit_events
from tests.engine.commands.desk_house import NOW, TABLE

RIS = Submitter(kind="client", name="ris")
PATIENT = ("P-4711", "Yamada")


@dataclass
class Desk:
    """A table with orders beside it, and the commands run on it."""

    folder: Path
    orders: list[str]
    batch: str

    def pons(self, *arguments: str) -> Any:
        return CliRunner().invoke(
            cli.application(), ["orders", *arguments, "--table", str(self.folder / "routes.yaml")]
        )

    def run(self, *arguments: str) -> str:
        """What it says, in which no patient may stand."""
        done = self.pons(*arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        assert not [word for word in PATIENT if word in done.output]
        return str(done.output)

    def json(self, *arguments: str) -> Any:
        done = self.pons(*arguments, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.output)

    def events(self) -> list[Any]:
        database = SqliteDatabase(self.folder / "data" / "pons.sqlite")
        try:
            assert database.read_now(verify) is None
            return list(database.read_now(lambda c: c.execute(audit_events.select()).all()))
        finally:
            database.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "routes.yaml").write_text(TABLE)
    database = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    migrate(database.engine)

    def furnish(connection: Any) -> tuple[list[str], str]:
        batch = create_batch(connection, NewBatch(site="st-marys", submitter=RIS, name="May"), NOW).batch_id
        made = []
        for number in (1, 2):
            metadata = {"AccessionNumber": f"ACC-{number}", "PatientID": "P-4711", "PatientName": "Yamada^T"}
            new = NewOrder(site="st-marys", submitter=RIS, batch_id=batch)
            made.append(create(connection, new, metadata, NOW + number, 300).order_id)
        facts = dict.fromkeys(NewInstance.__dataclass_fields__, "")
        arrived = facts | {
            "site": "st-lukes", "inbound": "pacs", "study_instance_uid": "1.2.3",
            "sop_instance_uid": "1.2.3.4", "size": 1, "path": "st-lukes/1.2.3/x.dcm",
            "attributes": {"AccessionNumber": "ACC-1"},
        }  # fmt: skip
        recorded = record(connection, NewInstance(**arrived), NOW + 3, keep_versions=True)  # type: ignore[arg-type]
        [order] = study_orders.of_study(connection, recorded.study_id)
        return [*made, order.order_id], batch

    orders, batch = database.write_now(furnish)
    database.close()
    return Desk(tmp_path, orders, batch)


def test_orders_are_listed_the_latest_first_and_found(desk: Desk) -> None:
    listed = desk.json()
    assert [one["order_id"] for one in listed["orders"]] == desk.orders[::-1]
    assert (listed["next"], listed["orders"][0]["state"]) == (None, "receiving")
    assert listed["orders"][1]["metadata"]["AccessionNumber"] == "ACC-2"
    for arguments, found in (
        (("--search", "ACC-1"), [2, 0]),
        (("--search", "ACC-*", "--site", "st-marys"), [1, 0]),
        (("--search", "P-4711"), [1, 0]),
        (("--search", "1.2.3"), [2]),
        (("--state", "created", "--submitter", "client:ris"), [1, 0]),
        (("--batch", desk.batch), [1, 0]),
        (("--since", "2023-11-14T00:00"), [2, 1, 0]),
    ):
        rows = desk.json("list", *arguments)["orders"]
        assert [one["order_id"] for one in rows] == [desk.orders[number] for number in found], arguments
    page = desk.json("list", "--limit", "2")
    following = desk.json("list", "--limit", "2", "--after", page["next"])
    assert [one["order_id"] for one in following["orders"]] == desk.orders[:1]
    assert "ACC-2" in desk.run()
    assert f"there are more: --after {page['next']}" in desk.run("list", "--limit", "2")
    assert desk.run("list", "--state", "held").strip() == "no orders"


def test_an_order_is_shown_by_its_id_or_its_study_without_its_patient(desk: Desk) -> None:
    said = desk.run("show", desk.orders[0])
    assert "state       created" in said
    assert "overridden  AccessionNumber, PatientID, PatientName" in said
    assert desk.orders[2] in desk.run("show", "1.2.3")
    assert desk.json("show", desk.orders[2])["instances"] == 1
    for wanted in ("0" * 32, "1.2.9"):
        assert isinstance(desk.pons("show", wanted).exception, PonsError)


def test_cancelling_says_first_what_it_would_do_and_is_on_the_trail(desk: Desk) -> None:
    order = desk.orders[2]
    assert "nothing was changed; add --yes" in desk.run("cancel", order, "--reason", "given twice")
    assert desk.json("show", order)["order"]["state"] == "receiving"
    said = desk.run("cancel", order, "--reason", "given twice", "--yes")
    assert "cancelled; 0 runs and 0 deliveries will not begin" in said
    assert desk.json("show", order)["order"]["state"] == "cancelled"
    event = desk.events()[-1]
    assert (event.action, event.subject, event.detail["reason"]) == (
        "order cancelled", f"order {order}", "given twice",
    )  # fmt: skip
    refused = desk.pons("cancel", "0" * 32, "--reason", "no", "--yes")
    assert isinstance(refused.exception, OrderRefused)


@pytest.mark.parametrize("format_", ["csv", "pdf"])
def test_a_batch_is_listed_shown_and_written_as_a_private_file(desk: Desk, format_: str) -> None:
    [batch] = desk.json("batch")["batches"]
    assert (batch["batch_id"], batch["orders"], batch["states"]) == (desk.batch, 2, {"created": 2})
    assert "ACC-2" in desk.run("batch", desk.batch)
    out = desk.folder / f"may.{format_}"
    assert "2 orders" in desk.run("batch", desk.batch, "--format", format_, "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    if format_ == "csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert [row["order_id"] for row in rows] == desk.orders[:2]
    assert desk.events()[-1].action == "batch report exported"


def test_what_was_written_wrongly_is_told(desk: Desk) -> None:
    for arguments, said in (
        (("list", "--submitter", "ris"), "channel:NAME, client:NAME or person:NAME"),
        (("batch", desk.batch, "--format", "docx"), "no format of a batch's report 'docx'"),
        (("list", "--state", "lost"), "lost"),
    ):
        done = desk.pons(*arguments)
        assert done.exit_code == 2
        assert said in " ".join(done.output.replace("│", " ").split()), done.output
    assert isinstance(desk.pons("list", "--after", "nowhere").exception, OrderRefused)
    assert isinstance(desk.pons("batch", "0" * 32).exception, OrderRefused)
