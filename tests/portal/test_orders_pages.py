"""Orders in the portal: found, looked at, changed, cancelled, in batches, live; and each only by who may."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.studies import PERSON
from tests.peers.process import wait_until
from tests.portal.furnished import Furnished, furnished_house
from tests.portal.visitor import Visited, Visitor

IDENTIFIERS = ("Quillfeather", PERSON.patient_id, PERSON.accession_number)


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Furnished]:
    with furnished_house(tmp_path_factory.mktemp("portal"), free_port, real_study) as found:
        yield found


@pytest.fixture
def vera(there: Furnished) -> Visitor:
    """A viewer of St. Mary's."""
    return there.house.person("vera", "viewer@st-marys")


@pytest.fixture
def sam(there: Furnished) -> Visitor:
    """A submitter of St. Mary's."""
    return there.house.person("sam", "submitter@st-marys")


@pytest.fixture
def emil(there: Furnished) -> Visitor:
    """An engineer of every site, whose role needs no identifiers."""
    return there.house.person("emil", "engineer")


def order_of(there: Furnished, study: str) -> str:
    """The id of a study's order; the command would name the patient."""
    with closing(
        sqlite3.connect(f"file:{there.house.engine.data / 'pons.sqlite'}?mode=ro", uri=True)
    ) as found:
        [(order,)] = found.execute("SELECT order_id FROM orders WHERE study_instance_uid = ?", [study])
    return str(order)


def given(visitor: Visitor, **fields: str) -> str:
    """A new order, by the form; its id."""
    page = visitor.get("/orders/new")
    told = visitor.submit(page, "/orders", **{"site": "st-marys", **fields})
    assert told.status == 303, told.text
    return told.location.removeprefix("/orders/").removesuffix("/upload")


def states(page: Visited) -> dict[str, str]:
    """State by order, as the list shows them."""
    rows = re.findall(r'<tr data-order="([^"]+)".*?data-state[^>]*>([^<]+)<', page.answer.text, re.S)
    return dict(rows)


# ── the list ────────────────────────────────────────────────────────────────────────────────────


def test_a_list_has_what_is_of_the_viewers_site_and_nothing_else(there: Furnished, vera: Visitor) -> None:
    page = vera.get("/orders")
    assert page.status == 200
    shown = states(page)
    assert shown[order_of(there, there.delivered)] == "failed"
    assert shown[order_of(there, there.held)] == "held"
    assert order_of(there, there.johns) not in shown
    assert "J-204" not in page.text
    assert all(word in page.text for word in IDENTIFIERS)
    assert there.house.audited("orders.listed")


@pytest.mark.parametrize(
    "text", [PERSON.accession_number, PERSON.patient_id, PERSON.accession_number[:6], "PID-90*"]
)
def test_orders_are_found_as_they_are_called_or_begin(there: Furnished, vera: Visitor, text: str) -> None:
    page = vera.get("/orders", params={"q": text})
    assert set(states(page)) >= {order_of(there, one) for one in (there.delivered, there.held)}
    assert ('id="began"' in page.answer.text) is (text == PERSON.accession_number[:6])


def test_a_study_is_found_by_its_uid_and_by_the_beginning_of_it(there: Furnished, vera: Visitor) -> None:
    order = order_of(there, there.held)
    assert set(states(vera.get("/orders", params={"q": there.held}))) == {order}
    assert set(states(vera.get("/orders", params={"q": there.held[:-3]}))) == {order}
    nothing = vera.get("/orders", params={"q": "no such thing"})
    assert states(nothing) == {}
    assert "No order is like that" in nothing.text


def test_filters_hold_together_and_nonsense_is_told(there: Furnished, vera: Visitor) -> None:
    order = order_of(there, there.held)
    assert set(states(vera.get("/orders?state=held&by=channel:web&from=2020-01-01"))) == {order}
    assert states(vera.get("/orders?state=held&to=2020-01-01")) == {}
    for wrong, said in (
        ("state=lost", "no order has such a state"),
        ("from=tomorrow", "2026-12-31"),
        ("by=nobody:x", "client:NAME"),
        ("after=1+OR+1&q=x", "no place in a list"),
        ("after=1+OR+1", "no place in a list"),
        (f"q={'x' * 80}", "at most 64 characters"),
    ):
        page = vera.get(f"/orders?{wrong}")
        assert (page.status, said in page.text) in ((400, True), (422, True)), wrong
    assert vera.get("/orders?site=st-johns").status == 404


def test_who_needs_no_identifiers_sees_them_when_asked_and_that_is_on_the_trail(
    there: Furnished, emil: Visitor
) -> None:
    page = emil.get("/orders")
    assert not any(word in page.text for word in IDENTIFIERS)
    assert "shielded" in page.text
    before = len(there.house.audited("identifiers.revealed"))
    shown = emil.post("/orders", {**page.form("").fields})
    assert shown.status == 200
    assert all(word in shown.text for word in IDENTIFIERS)
    events = there.house.audited("identifiers.revealed")
    assert len(events) == before + 1
    assert events[-1]["subject"] == "/orders"
    assert all(word in emil.get("/orders").text for word in IDENTIFIERS), "for a while"
    hidden = emil.post("/orders", {**emil.get("/orders").form("").fields})
    assert not any(word in hidden.text for word in IDENTIFIERS)


def test_the_list_is_a_table_for_spreadsheets_too(there: Furnished, vera: Visitor, emil: Visitor) -> None:
    answer = vera.get("/orders.csv?state=held").answer
    assert answer.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    [row] = list(csv.DictReader(io.StringIO(answer.text)))
    assert row["order_id"] == order_of(there, there.held)
    assert row["patient_id"] == PERSON.patient_id
    [shielded] = list(csv.DictReader(io.StringIO(emil.get("/orders.csv?state=held").answer.text)))
    assert (shielded["patient_id"], shielded["accession_number"]) == ("shielded", "shielded")


# ── one order ───────────────────────────────────────────────────────────────────────────────────


def test_an_order_shows_what_was_found_and_where_it_went(there: Furnished, vera: Visitor) -> None:
    order = order_of(there, there.delivered)
    page = vera.get(f"/orders/{order}")
    assert page.status == 200
    text = page.answer.text
    assert 'class="findings"' in text
    assert "Delivery to his gave up." in page.text
    assert re.search(
        r'data-delivery="[^"]+"><td><span class="badge good">delivered</span></td><th[^>]*>hook', text
    )
    assert 'id="download-pdf"' in text
    assert 'title="Report as PDF"' in text
    assert "Everything that happened" in page.text
    assert all(word in page.text for word in IDENTIFIERS)
    subjects = [one["subject"] for one in there.house.audited("order.viewed")]
    assert f"order {order}" in subjects
    assert there.house.audited("result.viewed")


def test_what_is_of_another_site_is_not_there(there: Furnished, vera: Visitor) -> None:
    theirs, nobodys = order_of(there, there.johns), "0" * 32
    for path in ("/orders/{}", "/orders/{}/live", "/orders/{}/results/1/pdf", "/batches/{}"):
        page, nothing = vera.get(path.format(theirs)), vera.get(path.format(nobodys))
        assert page.status == nothing.status == 404
        assert page.text.replace(theirs, "") == nothing.text.replace(nobodys, ""), "not to be told apart"


def test_an_engineer_sees_an_order_without_its_patient(there: Furnished, emil: Visitor) -> None:
    order = order_of(there, there.held)
    page = emil.get(f"/orders/{order}")
    assert page.status == 200
    assert not any(word in page.answer.text for word in IDENTIFIERS)
    assert "Held: no route matched" in page.text
    assert f"/studies/{there.held}" in page.links
    fragment = emil.get(f"/orders/{order}/live")
    assert fragment.status == 200
    assert not any(word in fragment.answer.text for word in IDENTIFIERS)
    shown = emil.post(f"/orders/{order}", page.form("").fields)
    assert all(word in shown.text for word in IDENTIFIERS)


def test_an_order_is_given_changed_and_cancelled(there: Furnished, sam: Visitor) -> None:
    order = given(sam, PatientAge="45", PatientSex="F", others="BodyPartExamined: BRAIN")
    page = sam.get(f"/orders/{order}")
    assert "created" in page.text
    assert "BodyPartExamined" in page.text
    form = sam.get(f"/orders/{order}/metadata")
    assert form.form(f"/orders/{order}/metadata").fields["PatientAge"] == ["045Y"]
    done = sam.submit(form, f"/orders/{order}/metadata", PatientAge="46", others="")
    assert (done.status, done.location) == (303, f"/orders/{order}")
    told = there.house.engine.json("orders", "show", order)["order"]
    assert told["metadata"] == {"PatientAge": "046Y", "PatientSex": "F"}
    assert told["submitter"] == {"kind": "person", "name": "sam"}
    late = sam.submit(form, f"/orders/{order}/metadata", PatientAge="47")
    assert late.status == 422
    assert "Somebody changed this order meanwhile" in late.text
    gone = sam.submit(sam.get(f"/orders/{order}"), f"/orders/{order}/cancel", reason="twice")
    assert gone.status == 303
    assert "cancelled" in sam.follow(gone).text
    assert there.house.engine.json("orders", "show", order)["order"]["state"] == "cancelled"


def test_wrong_metadata_are_told_at_their_field_and_nothing_is_given(there: Furnished, sam: Visitor) -> None:
    before = len(there.house.engine.json("orders", "--submitter", "person:sam"))
    page = sam.submit(
        sam.get("/orders/new"), "/orders", PatientSex="perhaps", others="PatientSecks: M\nno colon"
    )
    assert page.status == 422
    assert 'id="PatientSex-error"' in page.answer.text
    assert 'id="others-error"' in page.answer.text
    assert page.form("/orders").fields["PatientSex"] == ["perhaps"], "what was typed stays"
    assert len(there.house.engine.json("orders", "--submitter", "person:sam")) == before


def test_one_form_gives_one_order_however_often_it_is_sent(there: Furnished, sam: Visitor) -> None:
    page = sam.get("/orders/new")
    first = sam.submit(page, "/orders", site="st-marys", PatientAge="50")
    second = sam.submit(page, "/orders", site="st-marys", PatientAge="50")
    assert first.location == second.location != ""


def test_a_viewer_gives_changes_and_cancels_nothing(there: Furnished, vera: Visitor, sam: Visitor) -> None:
    order = given(sam)
    csrf = vera.get("/orders").answer.text.partition('data-csrf="')[2].partition('"')[0]
    for path in (
        f"/orders/{order}/cancel",
        f"/orders/{order}/metadata",
        "/orders",
        f"/orders/{order}/upload",
    ):
        assert vera.post(path, {"csrf": csrf, "version": "1", "size": "1", "site": "st-marys"}).status == 403
    assert vera.get("/orders/new").status == 403
    assert vera.get(f"/orders/{order}/upload").status == 403
    assert 'id="new-order"' not in vera.get("/orders").answer.text
    assert there.house.engine.json("orders", "show", order)["order"]["state"] == "created"


def test_orders_are_given_at_ones_own_site_only(sam: Visitor) -> None:
    page = sam.get("/orders/new")
    assert sam.submit(page, "/orders", site="st-johns").status == 403
    assert sam.post("/orders", {**page.form("/orders").fields, "csrf": "forged"}).status == 403


# ── batches ─────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_gathers_orders_and_reports_them(there: Furnished, sam: Visitor, emil: Visitor) -> None:
    begun = sam.submit(sam.get("/batches/new"), "/batches", name="trial week 1", site="st-marys")
    assert begun.status == 303
    batch = begun.location.removeprefix("/batches/")
    assert "No orders yet" in sam.get(f"/batches/{batch}").text
    orders = {given(sam, batch=batch, PatientID=f"T-{number}") for number in range(2)}
    page = sam.get(f"/batches/{batch}")
    assert set(states_of_batch(page)) == orders
    assert "2 created" in page.text
    report = sam.get(f"/batches/{batch}/report/csv?download=yes").answer
    assert report.headers["content-disposition"].startswith("attachment")
    assert {row["order_id"] for row in csv.DictReader(io.StringIO(report.text))} == orders
    pdf = sam.get(f"/batches/{batch}/report/pdf").answer
    assert pdf.content.startswith(b"%PDF-")
    assert pdf.headers["content-disposition"].startswith("inline")
    listed = sam.get("/orders")
    assert f'data-batch="{batch}"' in listed.answer.text
    assert not orders & set(states(listed)), "the list has the batch in their place"
    assert set(states(sam.get("/orders?q=T-"))) == orders
    table = csv.DictReader(io.StringIO(sam.get("/orders.csv").answer.text))
    assert orders <= {row["order_id"] for row in table}, "one by one"
    assert emil.get(f"/batches/{batch}/report/csv").status == 403, "shielded"
    assert there.house.person("vera", "viewer@st-marys").get(f"/batches/{batch}").status == 200
    john = there.house.person("john", "viewer@st-johns")
    assert john.get(f"/batches/{batch}").status == 404


def states_of_batch(page: Visited) -> dict[str, str]:
    return dict(re.findall(r'<tr data-order="([^"]+)">.*?data-state[^>]*>([^<]+)<', page.answer.text, re.S))


# ── live ────────────────────────────────────────────────────────────────────────────────────────


def heard(lines: Iterator[str], kind: str) -> Any:
    """The data of the next event of a kind; the stream says something every 15 s."""
    current, until = "", time.monotonic() + 60
    for line in lines:
        assert time.monotonic() < until, f"no event {kind} came"
        if line.startswith("event: "):
            current = line.removeprefix("event: ")
        elif line.startswith("data: ") and current == kind:
            return json.loads(line.removeprefix("data: "))
    raise AssertionError(f"the stream ended before an event {kind}")


def listening(visitor: Visitor, query: str = "") -> Any:
    return visitor.http.stream(
        "GET", f"/events{query}", headers={"Accept": "text/event-stream", "Sec-Fetch-Dest": "empty"}
    )


def test_a_change_is_told_to_who_may_see_it_and_to_nobody_else(there: Furnished, sam: Visitor) -> None:
    john = there.house.person("john", "viewer@st-johns")
    order = given(sam)
    with listening(sam, f"?order={order}") as hers, listening(john) as his:
        assert hers.headers["content-type"].startswith("text/event-stream")
        assert hers.headers["cache-control"] == "no-store"
        lines, others = hers.iter_lines(), his.iter_lines()
        heard(lines, "hello"), heard(others, "hello")
        sam.submit(sam.get(f"/orders/{order}"), f"/orders/{order}/cancel", reason="")
        [told] = heard(lines, "orders")
        while told["state"] != "cancelled":  # that it was given may be told before
            [told] = heard(lines, "orders")
        assert told["id"] == order
        assert set(told) == {"id", "batch", "state", "kind", "version"}, "nothing of a patient"
        of_johns = order_of(there, there.johns)
        given_there = there.house.person("sue", "submitter@st-johns")
        page = given_there.get("/orders/new")
        new = given_there.submit(page, "/orders").location.split("/")[2]
        told = heard(others, "orders")
        assert {one["id"] for one in told} <= {new, of_johns}, "nothing of St. Mary's before it"


def test_a_stream_ends_when_its_person_signs_out(there: Furnished) -> None:
    tess = there.house.person("tess", "viewer@st-marys")
    with listening(tess) as stream:
        lines = stream.iter_lines()
        heard(lines, "hello")
        tess.submit(tess.get("/orders"), "/sign-out")
        heard(lines, "over")
        assert list(lines) in ([], [""])
    with listening(tess) as refused:
        assert refused.status_code == 401


def test_one_person_keeps_so_many_pages_up_to_date_and_no_more(there: Furnished, vera: Visitor) -> None:
    with ExitStack() as opened:
        kept = []
        for _ in range(12):
            kept.append(opened.enter_context(listening(vera)).iter_lines())
            heard(kept[-1], "hello")
        refused = opened.enter_context(listening(vera))
        assert refused.status_code == 503
        assert "12 of your pages" in refused.read().decode()

    def is_let_in() -> bool:
        with listening(vera) as stream:
            return bool(stream.status_code == 200)

    wait_until(is_let_in, "a place for another page", 30, every=0.2)
