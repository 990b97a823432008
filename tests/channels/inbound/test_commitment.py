"""Storage commitment on a listener: pynetdicom asks and is told, on its association and on ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from channels.transport import command_set
from channels.transport.commitment_data_set import PUSH_MODEL, PUSH_MODEL_INSTANCE, encode_request
from channels.transport.commitment_scu import CONTEXTS, accepted
from channels.transport.upper_layer import Peer, associate
from engine.clock import SteadyClock
from engine.store import commitment_requests
from engine.store.tables import commitment_requests as requests
from tests.channels.inbound.conftest import EITHER_WAY
from tests.channels.inbound.test_c_store import send, store
from tests.peers.part10 import data_set_bytes

CT = "1.2.840.10008.5.1.4.1.1.2"


class Requester:
    """A sender that asks whether its instances are safe, and hears the reports."""

    def __init__(self, calling: str = "STM_PACS", syntax: str = ExplicitVRLittleEndian) -> None:
        self.entity = AE(ae_title=calling)
        self.entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        self.entity.add_requested_context(PUSH_MODEL, syntax)
        self.entity.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        self.status = 0x0000  # what it answers reports with
        self.reports: list[tuple[int, Dataset]] = []
        self.reported = threading.Semaphore(0)

    def hear(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.request.EventTypeID, event.event_information))
        self.reported.release()
        return self.status, None

    async def associate(self, port: int, **options: Any) -> Association:
        return await asyncio.to_thread(
            self.entity.associate,
            "127.0.0.1",
            port,
            ae_title="PONS",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.hear)],
            **options,
        )

    @contextmanager
    def listening(self) -> Iterator[int]:
        """A listener of its own, for the reports on associations of ours; its port."""
        server = self.entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.hear)]
        )
        assert server is not None
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()

    async def next_report(self) -> tuple[int, Dataset]:
        assert await asyncio.to_thread(self.reported.acquire, timeout=30), "no report in 30 s"
        return self.reports[-1]


def request(
    uid: str = "1.2.3.99", references: Sequence[tuple[str, str]] = ((MRImageStorage, "1.2.3.1.1"),)
) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = uid
    dataset.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        dataset.ReferencedSOPSequence.append(item)
    return dataset


async def ask(
    association: Association,
    dataset: Dataset | None,
    *,
    action: int = 1,
    instance: str = PUSH_MODEL_INSTANCE,
) -> int:
    answer, _ = await asyncio.to_thread(association.send_n_action, dataset, action, PUSH_MODEL, instance)
    assert association.is_established, "the association ended instead of an answer"
    return int(answer.Status)


def committed(dataset: Dataset) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in dataset.get("ReferencedSOPSequence", [])]


def failed(dataset: Dataset) -> list[tuple[str, int]]:
    return [
        (str(item.ReferencedSOPInstanceUID), int(item.FailureReason))
        for item in dataset.get("FailedSOPSequence", [])
    ]


def called_back(port: int, **settings: Any) -> dict[str, Any]:
    peer = {"site": "st-marys", "ae_title": "STM_PACS", "host": "127.0.0.1", "port": port}
    return {"commitment": {"report_to": [peer], "timeout": "10s", **settings}}


async def state_of(house: Any, uid: str) -> str | None:
    rows = await house.database.read(
        lambda c: c.execute(requests.select().where(requests.c.transaction_uid == uid)).all()
    )
    return rows[0].state if rows else None


async def until_state(house: Any, uid: str, state: str) -> None:
    async with asyncio.timeout(30):
        while await state_of(house, uid) != state:  # noqa: ASYNC110 the database tells nobody
            await asyncio.sleep(0.02)


# ── as provider ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
async def test_a_requester_is_told_on_its_own_association(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes], syntax: str
) -> None:
    requester = Requester(syntax=syntax)
    async with listening() as port:
        association = await requester.associate(port)
        assert (await send(association, instance())).Status == 0
        assert await ask(association, request()) == 0
        event_type, report = await requester.next_report()
        await until_state(house, "1.2.3.99", "reported")
        await asyncio.to_thread(association.release)
    assert (event_type, report.TransactionUID, committed(report)) == (1, "1.2.3.99", ["1.2.3.1.1"])
    assert "FailedSOPSequence" not in report


async def test_what_is_not_here_in_full_fails_with_its_reason(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    requester = Requester()
    references = [
        (MRImageStorage, "1.2.3.1.1"),  # safe
        (MRImageStorage, "1.2.3.1.2"),  # its file is lost
        (CT, "1.2.3.1.3"),  # stored as another SOP Class
        (MRImageStorage, "1.2.3.1.4"),  # never stored
    ]
    async with listening() as port:
        association = await requester.associate(port)
        for number in (1, 2, 3):
            assert (await send(association, instance(number))).Status == 0
            if number == 2:
                (lost,) = [path for path in house.stored if b"1.2.3.1.2\0" in path.read_bytes()]
                lost.unlink()
        assert await ask(association, request(references=references)) == 0
        event_type, report = await requester.next_report()
        await asyncio.to_thread(association.release)
    assert event_type == 2
    assert committed(report) == ["1.2.3.1.1"]
    assert failed(report) == [("1.2.3.1.2", 0x0110), ("1.2.3.1.3", 0x0119), ("1.2.3.1.4", 0x0112)]


@EITHER_WAY
async def test_a_requester_may_go_on_storing_while_it_is_told(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    """Answers to C-STORE and our report come in any order; not with pynetdicom, which awaits one of them."""
    async with listening() as port:
        peer = Peer("127.0.0.1", port, "PONS", "STM_PACS")
        async with associate(peer, [(MRImageStorage, ExplicitVRLittleEndian), *CONTEXTS]) as association:
            commitment, syntax = accepted(association) or (0, "")
            action = {
                command_set.REQUESTED_SOP_CLASS_UID: PUSH_MODEL,
                command_set.COMMAND_FIELD: 0x0130,
                command_set.MESSAGE_ID: 900,
                command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
                command_set.REQUESTED_SOP_INSTANCE_UID: PUSH_MODEL_INSTANCE,
                command_set.ACTION_TYPE_ID: 1,
            }
            data = encode_request("1.2.3.99", [(MRImageStorage, "1.2.3.1.1")], syntax)
            await association.send(commitment, command_set.encode(action), once(data))
            assert await heard(association) == (0x8130, 900, 0)
            fields: list[int | None] = []
            number = 0
            while 0x0100 not in fields and number < 2000:
                number += 1
                command = {
                    command_set.AFFECTED_SOP_CLASS_UID: str(MRImageStorage),
                    command_set.COMMAND_FIELD: 0x0001,
                    command_set.MESSAGE_ID: number,
                    command_set.PRIORITY: 0,
                    command_set.DATA_SET_TYPE: command_set.HAS_DATA_SET,
                    command_set.AFFECTED_SOP_INSTANCE_UID: f"1.2.3.1.{number}",
                }
                content = data_set_bytes(instance(number))
                await association.send(1, command_set.encode(command), once(content))
                fields.append((await heard(association))[0])
            assert (await heard(association))[:2] == (0x8001, number)  # the one that the report overtook
            answer = {
                command_set.COMMAND_FIELD: 0x8100,
                command_set.MESSAGE_ID_RESPONDED_TO: 1,
                command_set.DATA_SET_TYPE: command_set.NO_DATA_SET,
                command_set.STATUS: 0,
            }
            await association.send(commitment, command_set.encode(answer))
            await until_state(house, "1.2.3.99", "reported")
    assert set(fields[:-1]) == {0x8001}
    assert fields[-1] == 0x0100
    assert len(house.stored) == number > 1


async def once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


async def heard(association: Any) -> tuple[int | None, int | None, int | None]:
    """Command field, message responded to and status of the next message."""
    message = await association.receive_message(1 << 20)
    elements = command_set.decode(message.command)
    return (
        command_set.number(elements, command_set.COMMAND_FIELD),
        command_set.number(elements, command_set.MESSAGE_ID_RESPONDED_TO),
        command_set.number(elements, command_set.STATUS),
    )


@EITHER_WAY
async def test_a_requester_that_hangs_up_is_called_back(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    requester = Requester()
    with requester.listening() as back:
        async with listening(**called_back(back)) as port:
            association = await requester.associate(port)
            assert (await send(association, instance())).Status == 0
            assert await ask(association, request()) == 0
            await asyncio.to_thread(association.release)
            event_type, report = await requester.next_report()
            await until_state(house, "1.2.3.99", "reported")
    assert (event_type, committed(report)) == (1, ["1.2.3.1.1"])
    assert len(requester.reports) == 1


async def test_a_requester_can_be_called_back_always(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    requester = Requester()
    with requester.listening() as back:
        async with listening(**called_back(back, prefer="new_association")) as port:
            association = await requester.associate(port)
            assert await ask(association, request()) == 0
            event_type, _ = await requester.next_report()  # while its association is still open
            await until_state(house, "1.2.3.99", "reported")
            await asyncio.to_thread(association.release)
    assert (event_type, len(requester.reports)) == (2, 1)


async def test_a_report_refused_on_the_association_is_brought_on_another(
    listening: Callable[..., Any], house: Any
) -> None:
    here, there = Requester(), Requester()
    here.status = 0x0110
    with there.listening() as back:
        async with listening(**called_back(back)) as port:
            association = await here.associate(port)
            assert await ask(association, request()) == 0
            await there.next_report()
            await until_state(house, "1.2.3.99", "reported")
            await asyncio.to_thread(association.release)
    assert len(here.reports) == 1


async def test_a_requester_that_cannot_be_called_back_is_owed_its_report(
    listening: Callable[..., Any], house: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    requester = Requester()
    async with listening() as port:
        association = await requester.associate(port)
        assert await ask(association, request()) == 0
        await asyncio.to_thread(association.abort)
        await eventually(lambda: "storage commitment report not sent" in caplog.messages)
        assert await state_of(house, "1.2.3.99") == "owed"
        again = await requester.associate(port)  # whoever asks again is told
        assert await ask(again, request()) == 0
        await requester.next_report()
        await asyncio.to_thread(again.release)
    facts = [getattr(record, "pons", {}) for record in caplog.records]
    assert any("inbound.pacs.commitment.report_to" in str(fact.get("reason")) for fact in facts)


async def test_a_requester_that_forgot_its_transaction_is_not_called_for_ever(
    listening: Callable[..., Any], house: Any
) -> None:
    requester = Requester()
    requester.status = 0x0112
    with requester.listening() as back:
        async with listening(**called_back(back, prefer="new_association")) as port:
            association = await requester.associate(port)
            assert await ask(association, request()) == 0
            await asyncio.to_thread(association.release)
            await until_state(house, "1.2.3.99", "given_up")
    assert len(requester.reports) == 1


async def test_a_request_survives_the_end_of_its_listener(
    listening: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    """Nobody listens at first: as after kill -9, only the record is left."""
    requester = Requester()
    with requester.listening() as back:
        gone = back
    async with listening(**called_back(gone, prefer="new_association")) as port:
        await store(port, instance())
        association = await requester.associate(port)
        assert await ask(association, request()) == 0
        await asyncio.to_thread(association.release)
    assert await state_of(house, "1.2.3.99") == "owed"
    with requester.listening() as back:
        await house.database.write(lambda c: commitment_requests.due_now(c, SteadyClock().now()))
        async with listening(**called_back(back)):
            event_type, report = await requester.next_report()
            await until_state(house, "1.2.3.99", "reported")
    assert (event_type, committed(report)) == (1, ["1.2.3.1.1"])


@pytest.mark.parametrize(
    ("dataset", "options", "status"),
    [
        (request(), {"action": 2}, 0x0123),
        (request(), {"instance": "1.2.840.10008.1.20.1.2"}, 0x0112),
        (request(references=()), {}, 0x0115),
        (request(uid=""), {}, 0x0115),
        (request(references=[(MRImageStorage, "")]), {}, 0x0115),
        (None, {}, 0x0115),
    ],
    ids=["action type", "SOP instance", "no references", "no transaction", "no instance", "no data set"],
)
async def test_a_malformed_request_is_refused_and_the_association_goes_on(
    listening: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    dataset: Dataset | None,
    options: dict[str, Any],
    status: int,
) -> None:
    async with listening() as port:
        association = await Requester().associate(port)
        assert await ask(association, dataset, **options) == status
        assert (await send(association, instance())).Status == 0
        await asyncio.to_thread(association.release)
    assert await state_of(house, "1.2.3.99") is None


async def test_a_store_in_the_context_of_commitment_is_refused(listening: Callable[..., Any]) -> None:
    async with listening() as port:
        association = await Requester().associate(port)
        answer, _ = await asyncio.to_thread(
            association.send_n_create, request(), PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        await asyncio.to_thread(association.release)
    assert answer.Status == 0x0211


# ── as user: the peer that we asked calls us ────────────────────────────────────────────────────


class Desk:
    """Stands where the engine's desk is, for what it is told by peers."""

    def __init__(self, ours: Sequence[str]) -> None:
        self.ours = ours
        self.told: list[tuple[str, Any]] = []

    async def reported(self, site: str, report: Any) -> bool:
        self.told.append((site, report))
        return report.transaction_uid in self.ours

    async def owed(self, inbound: str, limit: int) -> Sequence[Any]:
        assert (inbound, limit > 0) == ("pacs", True)
        return ()


async def tell(port: int, dataset: Dataset, *, event_type: int = 1) -> tuple[int, Association]:
    entity = AE(ae_title="STM_PACS")
    entity.add_requested_context(PUSH_MODEL, ExplicitVRLittleEndian)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = await asyncio.to_thread(
        entity.associate, "127.0.0.1", port, ae_title="PONS", ext_neg=[role]
    )
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp) == (False, True), "the peer has the role of SCP"
    answer, _ = await asyncio.to_thread(
        association.send_n_event_report, dataset, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
    )
    await asyncio.to_thread(association.release)
    return int(answer.Status), association


@pytest.mark.parametrize(("uid", "status"), [("1.2.3.50", 0x0000), ("1.2.3.51", 0x0115)])
async def test_a_peer_reports_on_an_association_of_its_own(
    listening: Callable[..., Any], house: Any, uid: str, status: int
) -> None:
    desk = house.intake.commitments = Desk(["1.2.3.50"])
    async with listening() as port:
        answered, _ = await tell(port, request(uid))
    assert answered == status
    ((site, report),) = desk.told
    assert (site, report.transaction_uid) == ("st-marys", uid)
    assert report.committed == ((MRImageStorage, "1.2.3.1.1"),)


async def test_a_report_of_no_known_kind_is_refused(listening: Callable[..., Any], house: Any) -> None:
    desk = house.intake.commitments = Desk(["1.2.3.50"])
    async with listening() as port:
        answered, _ = await tell(port, request("1.2.3.50"), event_type=3)
    assert (answered, desk.told) == (0x0113, [])
