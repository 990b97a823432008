"""FHIR servers that are busy, that forget who we are, or that refuse: what dispatch makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from tests.contract.house import House, Outcome
from tests.contract.web import CLOSE, Seen, WebPeer, receiving


class Server:
    """Answers the first writes by a script of statuses, and takes the rest."""

    def __init__(self, *script: Response) -> None:
        self.script = list(script)

    def __call__(self, seen: Seen) -> Response:
        if self.script:
            return self.script.pop(0)
        entries = [{"response": {"status": "201 Created"}} for _ in json.loads(seen.body)["entry"]]
        return JSONResponse({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})


async def deliver(peer: WebPeer, folder: Path, **block: Any) -> Outcome:
    house = House(folder, {"type": "fhir_diagnostic_report", "url": f"{peer.url}/fhir", **block}, "10s")
    try:
        return await house.deliver()
    finally:
        house.close()


def attempts(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.outcome, one.code) for one in outcome.attempts]


async def test_a_server_that_asks_for_time_gets_it_and_then_the_same_transaction(tmp_path: Path) -> None:
    with receiving(Server(Response(status_code=429, headers={"Retry-After": "2"}))) as peer:
        outcome = await deliver(peer, tmp_path)
    assert attempts(outcome) == [("again", "429"), ("delivered", "200")]
    first, second = outcome.attempts
    assert second.started_at - first.ended_at >= 2, "the retry policy of this test alone would wait 50 ms"
    assert peer.seen[0].body == peer.seen[1].body


async def test_an_unavailable_server_is_tried_again(tmp_path: Path) -> None:
    with receiving(Server(Response(status_code=503), Response(status_code=503))) as peer:
        outcome = await deliver(peer, tmp_path)
    assert attempts(outcome) == [("again", "503"), ("again", "503"), ("delivered", "200")]
    assert len({one.body for one in peer.seen}) == 1


async def test_a_401_is_met_once_with_the_token_that_the_file_holds_by_now(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    class Strict(Server):
        def __call__(self, seen: Seen) -> Response:
            if seen.headers["authorization"] != "Bearer new":
                token.write_text("new")  # as whoever renews tokens does
                return Response(status_code=401)
            return super().__call__(seen)

    with receiving(Strict()) as peer:
        outcome = await deliver(peer, tmp_path, auth={"type": "bearer", "token": {"file": str(token)}})
    assert attempts(outcome) == [("delivered", "200")], "within one attempt"
    assert [one.headers["authorization"] for one in peer.seen] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("status", [400, 403, 404, 412, 422])
async def test_what_the_server_will_never_take_is_a_dead_letter(status: int, tmp_path: Path) -> None:
    with receiving(Server(Response(status_code=status))) as peer:
        outcome = await deliver(peer, tmp_path)
    assert (outcome.state, attempts(outcome)) == ("dead", [("refused", str(status))])
    assert len(peer.seen) == 1


async def test_an_answer_that_breaks_off_leaves_it_unknown(tmp_path: Path) -> None:
    with receiving(Server(CLOSE)) as peer:
        outcome = await deliver(peer, tmp_path)
    assert [one.outcome for one in outcome.attempts] == ["unknown", "delivered"]
    assert peer.seen[0].body == peer.seen[1].body, "conditional on its identifiers: taken once"
