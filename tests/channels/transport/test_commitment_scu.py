"""Asking a peer to commit to what it stored, and reporting to one, over associations of our own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from channels.transport.association import Commitment, Peer, check_commitment, store
from channels.transport.commitment_scu import report_event
from engine.errors import Refused, TryAgain
from engine.model import CommitmentReport
from tests.contract import instances
from tests.contract.scp import Scp, accept_association, bare_server, read_message, serving
from tests.peers.commitment_scp import PUSH_MODEL, CommitmentScp, committing

UIDS = ("1.2.3.4.1", "1.2.3.4.2")


def peer(port: int, timeout: float = 20.0) -> Peer:
    return Peer("127.0.0.1", port, "PEER", "PONS", timeout=timeout)


def commitment(*stored: str, wait: float = 10.0) -> Commitment:
    return Commitment("2.25.77", frozenset(stored), wait)


def parts() -> list[Any]:
    return [instances.part(1), instances.part(2)]


async def test_the_report_on_the_same_association_comes_back_with_the_acknowledgement() -> None:
    with committing(CommitmentScp()) as scp:
        answer = await store(peer(scp.port), parts(), commitment=commitment())
        scp.wait_reported()

    assert answer.report is not None
    assert not answer.awaits_report
    assert answer.report.transaction_uid == "2.25.77"
    assert {uid for _, uid in answer.report.committed} == set(UIDS)
    assert answer.report.failed == ()
    assert scp.stored == list(UIDS)
    assert [uid for _, uid in scp.asked[0].references] == list(UIDS)
    assert scp.associations == 1
    assert scp.answers == [0]


async def test_failures_are_reported_with_their_reasons() -> None:
    with committing(CommitmentScp([f"deny {UIDS[1]}"])) as scp:
        answer = await store(peer(scp.port), parts(), commitment=commitment())
        scp.wait_reported()

    assert answer.report is not None
    assert [(uid, reason) for _, uid, reason in answer.report.failed] == [(UIDS[1], 0x0112)]
    assert [uid for _, uid in answer.report.committed] == [UIDS[0]]


async def test_a_peer_that_does_not_report_in_time_is_awaited_elsewhere() -> None:
    with committing(CommitmentScp(["silent"])) as scp:
        answer = await store(peer(scp.port), parts(), commitment=commitment(wait=0.2))

    assert (answer.code, answer.awaits_report, answer.report) == ("0000", True, None)
    assert answer.detail == "2 instances stored, asked to commit"


async def test_what_is_stored_already_is_asked_for_and_not_sent() -> None:
    with committing(CommitmentScp()) as scp:
        answer = await store(peer(scp.port), parts(), commitment=commitment(*UIDS))
        scp.wait_reported()

    assert scp.stored == []
    assert [uid for _, uid in scp.asked[0].references] == list(UIDS)
    assert answer.report is not None
    assert answer.detail == "0 instances stored, 2 of 2 earlier"


async def test_what_failed_alone_is_sent_again_and_all_of_it_asked_for() -> None:
    with committing(CommitmentScp()) as scp:
        await store(peer(scp.port), parts(), commitment=commitment(UIDS[0]))
        scp.wait_reported()

    assert scp.stored == [UIDS[1]]
    assert [uid for _, uid in scp.asked[0].references] == list(UIDS)


async def test_a_peer_that_takes_commitment_apart_from_storage_is_asked_apart() -> None:
    with committing(CommitmentScp(apart=True)) as scp:
        answer = await store(peer(scp.port), parts(), commitment=commitment())
        scp.wait_reported()

    assert answer.report is not None
    assert scp.associations == 2
    assert scp.asked[0].association == 2


async def test_a_peer_without_storage_commitment_is_refused_with_the_remedy_and_what_it_took() -> None:
    with committing(CommitmentScp(commits=False)) as scp, pytest.raises(Refused) as caught:
        await store(peer(scp.port), parts(), commitment=commitment())

    assert caught.value.code == "no context"
    assert "enable it there for PONS, or set storage_commitment: false" in str(caught.value)
    assert caught.value.stored == UIDS


async def test_a_probe_tells_whether_the_peer_would_take_the_request() -> None:
    with committing(CommitmentScp()) as scp:
        await check_commitment(peer(scp.port))
    with committing(CommitmentScp(commits=False)) as scp, pytest.raises(Refused) as caught:
        await check_commitment(peer(scp.port))

    assert "enable it there for PONS" in str(caught.value)
    assert scp.asked == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("0110", TryAgain),  # processing failure
        ("0213", TryAgain),  # resource limitation
        ("0112", Refused),  # no such SOP Instance: the peer does not know the well-known one
        ("0122", Refused),  # SOP class not supported
        ("0123", Refused),  # no such action
        ("0124", Refused),  # not authorized
        ("0211", Refused),  # unrecognized operation
    ],
)
async def test_a_request_that_is_not_taken_is_tried_again_or_refused_as_its_status_says(
    status: str, error: type[TryAgain | Refused]
) -> None:
    with committing(CommitmentScp([status])) as scp, pytest.raises(error) as caught:
        await store(peer(scp.port), parts(), commitment=commitment())

    assert caught.value.code == status
    if isinstance(caught.value, TryAgain):
        assert caught.value.uncertain  # it has the instances
    else:
        assert caught.value.stored == UIDS


async def test_a_peer_that_aborts_instead_of_answering_is_tried_again() -> None:
    with committing(CommitmentScp(["abort"])) as scp, pytest.raises(TryAgain) as caught:
        await store(peer(scp.port), parts(), commitment=commitment())

    assert (caught.value.code, caught.value.uncertain) == ("aborted", True)


async def test_nothing_is_asked_while_an_instance_is_missing() -> None:
    with serving(Scp([0, 0xA700])) as scp, pytest.raises(TryAgain) as caught:
        await store(peer(scp.port), parts(), commitment=commitment())

    assert (caught.value.code, caught.value.uncertain) == ("A700", True)


async def test_a_peer_that_never_answers_the_request_runs_into_the_timeout() -> None:
    async def takes_and_says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        await read_message(reader)
        await reader.read()

    async with bare_server(takes_and_says_nothing) as port:
        with pytest.raises(TryAgain) as caught:
            await store(peer(port, timeout=0.5), parts(), commitment=commitment(*UIDS))

    assert (caught.value.code, caught.value.uncertain) == ("timeout", True)
    assert "storage commitment request" in str(caught.value)


# ── reporting ──


class Taker:
    """Someone who asked us, and takes our report on an association of ours."""

    def __init__(self, status: int = 0, *, scp_role: bool = True, takes: bool = True) -> None:
        self.reports: list[tuple[int, Dataset]] = []
        self._status = status
        entity = AE("PEER")
        entity.add_supported_context("1.2.840.10008.1.1")
        if takes:
            entity.add_supported_context(PUSH_MODEL, scu_role=not scp_role, scp_role=scp_role)
        self._server = entity.make_server(
            ("127.0.0.1", 0),
            server_class=ThreadedAssociationServer,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)],
        )
        entity._servers.append(self._server)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return self._status, None


@contextmanager
def taking(taker: Taker) -> Iterator[Taker]:
    try:
        yield taker
    finally:
        taker.stop()


REPORT = CommitmentReport(
    "2.25.9",
    (("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.1"),),
    (("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.2", 0x0112),),
)


async def test_a_report_says_what_is_kept_and_what_is_not() -> None:
    with taking(Taker()) as taker:
        await report_event(peer(taker.port), REPORT)

    ((event_type, told),) = taker.reports
    assert event_type == 2
    assert told.TransactionUID == "2.25.9"
    assert told.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.1"
    assert told.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.2"
    assert told.FailedSOPSequence[0].FailureReason == 0x0112


async def test_a_report_without_failures_is_of_event_type_one() -> None:
    with taking(Taker()) as taker:
        await report_event(peer(taker.port), CommitmentReport("2.25.9", REPORT.committed))

    assert taker.reports[0][0] == 1
    assert "FailedSOPSequence" not in taker.reports[0][1]


@pytest.mark.parametrize(("status", "error"), [(0x0110, TryAgain), (0x0112, Refused)])
async def test_a_report_that_is_not_taken_is_sent_again_or_given_up(
    status: int, error: type[TryAgain | Refused]
) -> None:
    with taking(Taker(status)) as taker, pytest.raises(error) as caught:
        await report_event(peer(taker.port), REPORT)

    assert caught.value.code == f"{status:04X}"


@pytest.mark.parametrize("taker", [{"takes": False}, {"scp_role": False}], ids=["no context", "no role"])
async def test_who_takes_no_reports_is_named_with_the_remedy(taker: dict[str, bool]) -> None:
    with taking(Taker(**taker)) as refusing, pytest.raises(Refused) as caught:
        await report_event(peer(refusing.port), REPORT)

    assert "must be configured to take them from PONS" in str(caught.value)


async def test_a_report_that_is_not_answered_runs_into_the_timeout() -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept_association(reader, writer)
        await read_message(reader)
        await reader.read()

    async with bare_server(says_nothing) as port:
        with pytest.raises(TryAgain) as caught:
            await report_event(peer(port, timeout=0.5), REPORT)

    assert caught.value.code == "timeout"


async def test_a_report_nobody_listens_for_is_sent_another_time() -> None:
    with taking(Taker()) as taker:
        port = taker.port
    with pytest.raises(TryAgain) as caught:
        await report_event(peer(port), REPORT)

    assert caught.value.code == "connection"
