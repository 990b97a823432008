"""FHIR reports: every entry counts, what is repeated is asked for first, tokens are renewed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from channels.outbound.fhir_diagnostic_report import Settings
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Delivery, History, Payload, Result
from tests.contract.web import Respond, Seen, in_turn, receiving
from tests.peers.fhir import FhirServer


def transaction(*statuses: str, outcome: object = None) -> Respond:
    """Answer a transaction: these statuses first, 201 for the other entries."""

    def respond(seen: Seen) -> Response:
        count = len(json.loads(seen.body)["entry"])
        responses = [{"status": status, "outcome": outcome} for status in statuses]
        responses += [{"status": "201 Created"}] * (count - len(responses))
        entries = [{"response": response} for response in responses]
        return JSONResponse({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    return respond


def outcome(code: str, expression: str = "", diagnostics: str = "") -> dict[str, Any]:
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics, "expression": [expression]}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@pytest.fixture
def deliver(
    make: Callable[..., Any], result: Result, history: History, delivery: Delivery
) -> Callable[..., Any]:
    async def attempt(url: str, number: int = 1, **block: Any) -> Acknowledgement:
        channel = make("fhir_diagnostic_report", url=url, **block)
        acknowledged: Acknowledgement = await channel.deliver(
            channel.render(result, history), replace(delivery, attempt=number)
        )
        return acknowledged

    return attempt


async def test_a_transaction_whose_every_entry_is_taken_is_delivered(deliver: Callable[..., Any]) -> None:
    with receiving(transaction("200", "201 Created", "200 OK")) as peer:
        answer = await deliver(f"{peer.url}/r4")

    [seen] = peer.seen
    assert (seen.method, seen.path) == ("POST", "/r4")
    assert seen.headers["content-type"] == seen.headers["accept"] == "application/fhir+json"
    assert answer.code == "200"
    assert answer.detail == f"{len(json.loads(seen.body)['entry'])} entries taken"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", Refused),
        ("404", Refused),
        ("412 Precondition Failed", Refused),  # several resources have our identifier
        ("422", Refused),
        ("409 Conflict", TryAgain),
        ("429", TryAgain),
        ("500", TryAgain),
        ("", TryAgain),
        ("fine", TryAgain),
    ],
)
async def test_one_entry_that_is_not_taken_outweighs_a_200_on_the_whole(
    deliver: Callable[..., Any], status: str, error: type[TryAgain | Refused]
) -> None:
    with receiving(transaction("201", status)) as peer, pytest.raises(error, match="entry 1"):
        await deliver(peer.url)


async def test_a_transient_entry_outweighs_a_permanent_one(deliver: Callable[..., Any]) -> None:
    with receiving(transaction("422", "503")) as peer, pytest.raises(TryAgain):
        await deliver(peer.url)


@pytest.mark.parametrize(
    "body", [{}, [], {"resourceType": "Bundle", "entry": []}, {"entry": [None]}, {"entry": {"a": 1}}]
)
async def test_a_200_that_does_not_answer_for_each_entry_is_tried_again(
    deliver: Callable[..., Any], body: object
) -> None:
    with receiving(in_turn(JSONResponse(body))) as peer, pytest.raises(TryAgain):
        await deliver(peer.url)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (202, Refused),  # neither stored nor refused: no FHIR interaction of ours answers so
        (302, Refused),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (409, TryAgain),
        (412, Refused),
        (422, Refused),
        (429, TryAgain),
        (500, TryAgain),
        (503, TryAgain),
    ],
)
@pytest.mark.parametrize("mode", ["upsert", "document", "report"])
async def test_a_status_is_transient_or_permanent(
    deliver: Callable[..., Any], mode: str, status: int, error: type[TryAgain | Refused]
) -> None:
    response = Response(status_code=status, headers={"Retry-After": "3"})
    with receiving(in_turn(response)) as peer, pytest.raises(error) as caught:
        await deliver(peer.url, mode=mode)

    assert caught.value.code == str(status)
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            outcome("required", "DiagnosticReport.code", "Síle Murphy has no code"),
            "required at DiagnosticReport.code",
        ),
        (outcome("invariant", "Síle Murphy P-4711"), "invariant"),
        (outcome("Síle Murphy"), "422"),
        ({"issue": [None, {"code": 5}, {"code": "value", "expression": [7]}]}, "value"),
        ({"issue": "Murphy"}, "422"),
    ],
)
async def test_of_an_operation_outcome_only_codes_and_paths_are_told(
    deliver: Callable[..., Any], answer: dict[str, Any], words: str
) -> None:
    with receiving(in_turn(JSONResponse(answer, 422))) as peer, pytest.raises(Refused) as caught:
        await deliver(peer.url)

    assert words in str(caught.value)
    assert "Murphy" not in str(caught.value)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "kind"), [("document", "DocumentReference"), ("report", "DiagnosticReport")]
)
async def test_a_plain_create_is_conditional_on_its_identifier(
    deliver: Callable[..., Any], mode: str, kind: str
) -> None:
    with receiving(in_turn(Response(status_code=201))) as peer:
        answer = await deliver(f"{peer.url}/r4/", mode=mode)

    [seen] = peer.seen
    assert seen.path == f"/r4/{kind}"
    assert seen.headers["if-none-exist"].startswith("identifier=")
    assert answer.code == "201"


@pytest.mark.parametrize("mode", ["document", "report"])
@pytest.mark.parametrize(
    ("found", "posts"),
    [
        ({"resourceType": "Bundle", "total": 1}, 0),
        ({"resourceType": "Bundle", "entry": [{}]}, 0),  # a server that gives no total
        ({"resourceType": "Bundle", "total": 0}, 1),
        ({"resourceType": "Bundle"}, 1),
    ],
)
async def test_before_a_plain_create_is_repeated_the_server_is_asked_for_the_earlier_attempt(
    deliver: Callable[..., Any], mode: str, found: dict[str, Any], posts: int
) -> None:
    with receiving(lambda seen: JSONResponse(found if seen.method == "GET" else {}, 200)) as peer:
        await deliver(peer.url, 2, mode=mode)

    assert [seen.method for seen in peer.seen] == ["GET"] + ["POST"] * posts
    assert "?identifier=" in peer.seen[0].path


@pytest.mark.parametrize("response", [Response(status_code=500), Response("<html>")])
async def test_nothing_is_created_while_it_is_unknown_whether_it_exists(
    deliver: Callable[..., Any], response: Response
) -> None:
    with receiving(in_turn(response)) as peer, pytest.raises(TryAgain, match="earlier attempt"):
        await deliver(peer.url, 2, mode="document")

    assert [seen.method for seen in peer.seen] == ["GET"]


async def test_the_table_decides_the_version_and_whether_the_page_travels(
    deliver: Callable[..., Any],
) -> None:
    with receiving(transaction()) as peer:
        await deliver(peer.url)
        await deliver(peer.url, fhir_version="R5", include_pdf=True)

    reports = [
        next(
            entry["resource"]
            for entry in json.loads(seen.body)["entry"]
            if entry["resource"]["resourceType"] == "DiagnosticReport"
        )
        for seen in peer.seen
    ]
    assert ["imagingStudy" in report for report in reports] == [True, False]
    assert ["study" in report for report in reports] == [False, True]
    assert ["presentedForm" in report for report in reports] == [False, True]


@pytest.mark.parametrize("mode", ["upsert", "report"])
async def test_a_note_of_us_core_has_its_fields(deliver: Callable[..., Any], mode: str) -> None:
    respond = transaction() if mode == "upsert" else in_turn(Response(status_code=201))
    with receiving(respond) as peer:
        await deliver(peer.url, mode=mode)

    sent = json.loads(peer.seen[0].body)
    found = [entry["resource"] for entry in sent["entry"]] if mode == "upsert" else [sent]
    [report] = [one for one in found if one["resourceType"] == "DiagnosticReport"]
    wanted = {"status", "category", "code", "subject", "effectiveDateTime", "issued", "performer"}
    assert wanted <= report.keys()
    codings = [(one["system"], one["code"]) for one in report["category"][0]["coding"]]
    assert ("http://loinc.org", "LP29684-5") in codings
    assert report["performer"][0]["display"]


async def test_a_document_of_us_core_has_its_fields(deliver: Callable[..., Any]) -> None:
    with receiving(in_turn(Response(status_code=201))) as peer:
        await deliver(peer.url, mode="document")

    document = json.loads(peer.seen[0].body)
    assert {"status", "docStatus", "type", "category", "subject", "date", "author"} <= document.keys()
    assert document["context"]["period"]["start"]
    assert document["category"][0]["coding"][0]["code"] == "clinical-note"


async def test_credentials_are_sent_as_the_table_says(
    deliver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONS_TEST_TOKEN", "t0ken")
    token = {"env": "PONS_TEST_TOKEN"}
    with receiving(transaction()) as peer:
        await deliver(peer.url)
        await deliver(peer.url, auth="none")
        await deliver(peer.url, auth={"type": "bearer", "token": token})
        await deliver(peer.url, auth={"type": "basic", "username": "pons", "password": token})

    assert [seen.headers.get("authorization") for seen in peer.seen] == [
        None,
        None,
        "Bearer t0ken",
        "Basic cG9uczp0MGtlbg==",
    ]


async def test_a_401_is_met_once_with_a_token_that_was_renewed_meanwhile(
    deliver: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")

    def respond(seen: Seen) -> Response:
        if seen.headers["authorization"] == "Bearer old":
            file.write_text("new\n")
            return Response(status_code=401)
        return transaction()(seen)

    with receiving(respond) as peer:
        await deliver(peer.url, auth={"type": "bearer", "token": {"file": str(file)}})

    assert [seen.headers["authorization"] for seen in peer.seen] == ["Bearer old", "Bearer new"]


async def test_a_401_to_a_token_that_is_still_the_same_is_refused_at_once(
    deliver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONS_TEST_TOKEN", "t0ken")
    auth = {"type": "bearer", "token": {"env": "PONS_TEST_TOKEN"}}
    with receiving(in_turn(Response(status_code=401))) as peer, pytest.raises(Refused) as caught:
        await deliver(peer.url, auth=auth)

    assert len(peer.seen) == 1
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tökën"])
async def test_a_token_that_no_header_takes_is_never_sent(
    deliver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("PONS_TEST_TOKEN", token)
    auth = {"type": "bearer", "token": {"env": "PONS_TEST_TOKEN"}}
    with receiving(transaction()) as peer, pytest.raises(TryAgain) as caught:
        await deliver(peer.url, auth=auth)

    assert peer.seen == []
    assert caught.value.code == "secret"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"url": "https://u:p@h.example"}, "no user or password"),
        ({"url": "h.example"}, "starts with https://"),
        ({"url": "https://h.example", "mode": "push"}, "upsert"),
        ({"url": "https://h.example", "auth": "digest"}, "bearer"),
        ({"url": "https://h.example", "auth": {"type": "bearer", "token": "t0ken"}}, "by reference"),
        ({"url": "https://h.example", "auth": {"type": "basic", "username": "a:b"}}, "match"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"site": "st-marys", **block})

    assert words in str(caught.value.errors()[0]["msg"])


async def test_nothing_to_send_is_not_called_delivered(make: Callable[..., Any], delivery: Delivery) -> None:
    channel = make("fhir_diagnostic_report", url="http://127.0.0.1:1")

    with pytest.raises(Refused):
        await channel.deliver(Payload(()), delivery)


async def test_a_probe_reads_the_capability_statement(make: Callable[..., Any]) -> None:
    with receiving(in_turn(Response(status_code=200), Response(status_code=503))) as peer:
        channel = make("fhir_diagnostic_report", url=f"{peer.url}/r4")
        await channel.probe()
        with pytest.raises(TryAgain):
            await channel.probe()

    assert {seen.path for seen in peer.seen} == {"/r4/metadata"}


@pytest.mark.peers
async def test_a_fhir_server_holds_each_kind_of_report_once_however_often_it_is_sent(
    deliver: Callable[..., Any], make: Callable[..., Any], fhir_server: Callable[..., FhirServer]
) -> None:
    peer = fhir_server()
    await make("fhir_diagnostic_report", url=peer.url).probe()

    for number in (1, 2):
        await deliver(peer.url, number)
    held = len(peer.resources("DiagnosticReport"))
    for number in (1, 2):
        await deliver(peer.url, number, mode="document")
        await deliver(peer.url, number, mode="report")

    assert held == 1
    assert len(peer.resources("Observation")) == 1
    assert len(peer.resources("DocumentReference")) == 1
    assert len(peer.resources("DiagnosticReport")) == 2  # the upserted one and the plain one


@pytest.mark.peers
async def test_a_fhir_server_that_is_busy_is_tried_again(
    deliver: Callable[..., Any], fhir_server: Callable[..., FhirServer]
) -> None:
    peer = fhir_server()
    peer.answer_next([503])

    with pytest.raises(TryAgain):
        await deliver(peer.url)
    await deliver(peer.url, 2)

    assert len(peer.resources("DiagnosticReport")) == 1
