"""Tables change fifty times under twenty associations: nothing is dropped, one table decides each study.

Each table has a route, an archive, an AE title and every third a listener that the one before had not. The
senders are pynetdicom and an HTTP client, the archive is DCMTK's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, evt
from sqlalchemy import select

from engine.document import read
from engine.store.tables import decisions, deliveries, revisions, studies
from examples.demo.senders import held_reactor, without_delay
from tests.e2e.changing import activate, instance, is_let_in, rows, taken
from tests.e2e.engine import Engine
from tests.peers.dcmtk import Storescp
from tests.peers.process import accepts_connections, wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]

CHANGES = 50
SENDERS = 20
ARCHIVES = 4


def table(
    number: int, dicom_port: int, extra_port: int, pacs: Storescp, *, last: bool = False
) -> dict[str, Any]:
    """The table of one change; the last one has every archive, so that what waited for one goes out."""
    inbound: dict[str, Any] = {
        "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
        "web": {"type": "stow_rs"},
    }
    if number % 3 == 0:
        inbound["extra"] = {"type": "c_store", "listen": f"127.0.0.1:{extra_port}", "ae_title": "PONS"}
    archive = {
        "type": "dicom_forward", "site": "st-marys", "host": "127.0.0.1", "port": pacs.port,
        "ae_title": pacs.ae_title, "retry": {"first": "300ms", "cap": "1s"},
    }  # fmt: skip
    numbers = range(ARCHIVES) if last else [number % ARCHIVES]
    return {
        "assembly": {"stable_after": "300ms", "force_after": "2s"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "addresses": ["127.0.0.1"],
                "ae_titles": [*(f"SENDER_{one}" for one in range(SENDERS)), f"GUEST_{number}"],
            }
        },
        "inbound": inbound,
        "outbound": {f"archive-{one}": archive for one in numbers},
        "routes": [
            {
                "name": f"table {number}",
                "match": {"series": {"Modality": "MR"}},
                "deliver": [f"archive-{number % ARCHIVES}"],
            }
        ],
    }


class Sender(threading.Thread):
    """Sends small studies, one after the other, until told to stop; notes what was answered."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stored: set[str] = set()
        self.answers: set[object] = set()
        self._stop_sending = stop

    def run(self) -> None:
        try:
            while not self._stop_sending.is_set():
                study = f"{generate_uid()[:50]}"
                self.send([instance(study) for _ in range(3)])
                self._stop_sending.wait(1.0)
        finally:
            self.end()

    def send(self, instances: list[Dataset]) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Hang up."""


class AssociationSender(Sender):
    """All over one association."""

    def __init__(self, number: int, port: int, stop: threading.Event) -> None:
        super().__init__(stop)
        ae = AE(f"SENDER_{number}")
        ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        nodelay: list[Any] = [(evt.EVT_CONN_OPEN, without_delay)]
        self.association = ae.associate("127.0.0.1", port, ae_title="PONS", evt_handlers=nodelay)
        assert self.association.is_established

    def send(self, instances: list[Dataset]) -> None:
        for one in instances:
            with held_reactor(self.association):
                answer = self.association.send_c_store(one)
            self.answers.add(answer.get("Status"))
            if answer.get("Status") == 0x0000:
                self.stored.add(one.SOPInstanceUID)

    def end(self) -> None:
        self.answers.add("still associated" if self.association.is_established else "association lost")
        self.association.release()


class RequestSender(Sender):
    """A STOW-RS request for each study, on connections that are kept."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__(stop)
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def send(self, instances: list[Dataset]) -> None:
        content = b""
        for one in instances:
            buffer = BytesIO()
            one.save_as(buffer, enforce_file_format=True)
            content += b"--b\r\nContent-Type: application/dicom\r\n\r\n" + buffer.getvalue() + b"\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        answer = self._client.post(
            "/dicomweb/studies", content=content + b"--b--\r\n", headers={"Content-Type": kind}
        )
        self.answers.add(answer.status_code)
        if answer.status_code == 200:
            self.stored |= {str(one.SOPInstanceUID) for one in instances}

    def end(self) -> None:
        self._client.close()


def exchange(engine: Engine, content: dict[str, Any], number: int) -> str:
    """Another table, every third time as `pons apply` does it, else by SIGHUP; its version, once taken."""
    before = taken(engine)
    if number % 3 == 1:
        version = activate(engine, content)
    else:
        engine.write_table(content)
        version = read(engine.table).version
        engine.signal_hup()
    wait_until(lambda: taken(engine) == before + 1, f"table {number} to be taken", 60)
    return version


# pynetdicom leaves the socket of a refused association to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_fifty_changes_under_twenty_associations_drop_nothing_and_one_table_decides_each_study(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    free_port: Callable[[], int],
) -> None:
    pacs, extra = storescp("STM"), free_port()
    engine = engine_process(lambda port: table(0, port, extra, pacs), patient_data=("LIVE-1", "Live^Reload"))
    numbers = {read(engine.table).version: 0}
    stop = threading.Event()
    associations = [AssociationSender(one, engine.dicom_port, stop) for one in range(SENDERS)]
    senders: list[Sender] = [*associations, RequestSender(engine.url, stop)]
    for sender in senders:
        sender.start()
    try:
        for number in range(1, CHANGES + 1):
            last = number == CHANGES
            version = exchange(engine, table(number, engine.dicom_port, extra, pacs, last=last), number)
            numbers[version] = number
            assert is_let_in(f"GUEST_{number}", engine.dicom_port), "the site's new AE title"
            if number % 3 == 0:
                assert is_let_in(f"GUEST_{number}", extra), "the listener that the table added"
            elif number % 3 == 1:
                assert not is_let_in(f"GUEST_{number - 1}", engine.dicom_port), "an AE title that went"
                wait_until(lambda: not accepts_connections(extra), "the listener that went to be closed")
    finally:
        stop.set()
        for sender in senders:
            sender.join(120)
    assert len(numbers) == CHANGES + 1
    assert [one.answers for one in associations] == [{0x0000, "still associated"}] * SENDERS
    assert senders[-1].answers == {200}
    sent = set().union(*(one.stored for one in senders))
    assert {path.name.partition("-")[0] for path in engine.instance_files()} == sent

    def settled() -> bool:
        return not (
            rows(engine, select(studies.c.id).where(studies.c.state == "receiving"))
            or rows(engine, select(revisions.c.study_id).where(revisions.c.state == "closed"))
            or rows(engine, select(deliveries.c.seq).where(deliveries.c.state.in_(("queued", "waiting"))))
        )

    wait_until(settled, "everything to be decided and delivered", 120, every=0.5)
    decided, sendings = rows(engine, select(decisions)), rows(engine, select(deliveries))
    assert len({(one.study_id, one.revision) for one in decided}) == len(decided), "decided twice"
    by_table = {(one.study_id, one.revision): numbers[one.table_version] for one in decided}
    assert len(set(by_table.values())) >= 10, "the changes fell between the decisions"
    for one in decided:
        [hit] = [outcome for outcome in one.decision["outcomes"] if outcome["hit"]]
        assert hit["route"] == f"table {by_table[one.study_id, one.revision]}"
    assert {(one.study_id, one.study_revision, one.destination) for one in sendings} == {
        (*key, f"archive-{number % ARCHIVES}") for key, number in by_table.items()
    }
    assert {file.name.removeprefix("MR.") for file in pacs.files} == sent
    assert engine.metrics()["pons_table_changes_total"] == CHANGES
