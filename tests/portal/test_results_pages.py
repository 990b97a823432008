"""Files of results and reports: shown or downloaded, never a page of others' making, never unasked."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from channels.inbound.portal.findings import rows_of
from channels.inbound.portal.results import answered
from engine.channel import HandedOut
from engine.model import Code, Finding, Flag, Range
from tests.e2e.studies import PERSON
from tests.portal.furnished import Furnished, furnished_house
from tests.portal.visitor import Visitor


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Furnished]:
    with furnished_house(tmp_path_factory.mktemp("portal"), free_port, real_study) as found:
        yield found


@pytest.fixture
def vera(there: Furnished) -> Visitor:
    return there.house.person("vera", "viewer@st-marys")


def row(there: Furnished, sql: str, *values: str) -> Any:
    with closing(
        sqlite3.connect(f"file:{there.house.engine.data / 'pons.sqlite'}?mode=ro", uri=True)
    ) as found:
        return found.execute(sql, values).fetchone()


@pytest.fixture
def result(there: Furnished) -> str:
    """The address of the delivered study's result."""
    order, found = row(
        there,
        "SELECT o.order_id, r.result_id FROM orders o JOIN order_results r ON r.order_id = o.order_id"
        " WHERE o.study_instance_uid = ?",
        there.delivered,
    )
    return f"/orders/{order}/results/{found}"


OPENS: dict[str, Callable[[bytes], Any]] = {
    "pdf": lambda content: content.startswith(b"%PDF-"),
    "png": lambda content: Image.open(io.BytesIO(content)).size,
    "txt": lambda content: "Patient" in content.decode(),
    "json": lambda content: json.loads(content),
    "xml": lambda content: content.startswith(b"<?xml"),
    "csv": lambda content: content.decode().count("\r\n") > 1,
}


def test_every_installed_format_is_offered_and_opens(there: Furnished, vera: Visitor, result: str) -> None:
    page = vera.get(result.partition("/results/")[0])
    offered = set(re.findall(r'id="download-([a-z]+)"', page.answer.text))
    assert offered >= set(OPENS)
    for kind in offered:
        answer = vera.get(f"{result}/{kind}?download=yes").answer
        assert answer.status_code == 200, kind
        assert re.fullmatch(
            r'attachment; filename="result-[\w-]+(\.[a-z]+)+"', answer.headers["content-disposition"]
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        assert OPENS.get(kind, bool)(answer.content), kind
    handed = [one["subject"] for one in there.house.audited("result handed out")]
    assert f"result {result.rpartition('/')[2]}" in handed


def test_a_pdf_is_shown_in_the_page_and_other_text_never_is(vera: Visitor, result: str) -> None:
    pdf = vera.get(f"{result}/pdf").answer
    assert pdf.headers["content-disposition"].startswith("inline")
    assert "sandbox" not in pdf.headers["content-security-policy"], "a browser's viewer would stay shut"
    assert "frame-ancestors 'self'" in pdf.headers["content-security-policy"]
    for kind in ("json", "xml", "txt", "csv"):
        answer = vera.get(f"{result}/{kind}").answer
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]


def test_pictures_of_the_processor_are_shown_in_a_sandbox(vera: Visitor, result: str) -> None:
    page = vera.get(result.partition("/results/")[0])
    pictures = re.findall(r'<img src="([^"]+)"', page.answer.text)
    assert any(one.startswith(result) for one in pictures)
    for one in pictures:
        if not one.startswith("/orders/"):
            continue
        answer = vera.get(one).answer
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith("inline")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert Image.open(io.BytesIO(answer.content)).size[0] > 10


@pytest.mark.parametrize(
    ("media_type", "ours", "disposition"),
    [
        ("application/pdf", True, "inline"),
        ("application/pdf", False, "attachment"),
        ("image/png", False, "inline"),
        ("text/html", False, "attachment"),
        ("image/svg+xml", False, "attachment"),
        ("application/dicom", False, "attachment"),
    ],
)
def test_nothing_that_a_processor_made_becomes_a_page(media_type: str, ours: bool, disposition: str) -> None:
    answer = answered({}, HandedOut("x.bin", media_type, b"x"), ours=ours)
    assert answer.headers["content-disposition"] == f'{disposition}; filename="x.bin"'
    assert ("sandbox" in answer.headers.get("content-security-policy", "")) is not (
        ours and media_type == "application/pdf"
    )


def test_files_are_not_there_for_others_and_shielded_until_revealed(
    there: Furnished, vera: Visitor, result: str
) -> None:
    order = result.partition("/results/")[0]
    john = there.house.person("john", "viewer@st-johns")
    assert john.get(f"{result}/pdf").status == 404
    assert vera.get(f"{result}/exe").status == 404
    assert vera.get(f"{order}/results/00000000-0000-0000-0000-000000000000/pdf").status == 404
    assert vera.get(f"{order}/results/..%2f..%2fetc/passwd").status == 404
    emil = there.house.person("emil", "engineer@st-marys")
    shielded = emil.get(f"{result}/pdf")
    assert shielded.status == 403
    assert "reveal the identifiers" in shielded.text
    page = emil.get(order)
    assert 'id="files-shielded"' in page.answer.text
    assert "download-pdf" not in page.answer.text
    shown = emil.post(order, page.form("").fields)
    assert "download-pdf" in shown.answer.text
    assert emil.get(f"{result}/txt").answer.text.find(PERSON.patient_id) > 0
    assert there.house.audited("identifiers.revealed")


def test_a_finding_is_told_with_its_unit_limits_and_flag() -> None:
    millimetre = Code(value="mm", scheme="UCUM", meaning="millimetre")
    spacing = Code(value="x", scheme="99X", meaning="Slice spacing")
    found = rows_of(
        (
            Finding(
                concept=spacing,
                value="1.60",
                unit=millimetre,
                reference_range=Range(low="1.85", high="2.15"),
                flag=Flag.LOW,
                group="Geometry",
            ),
            Finding(concept=spacing, value="as planned"),
        )
    )
    [(first, [number]), (second, [text])] = found
    assert (first, second) == ("Geometry", "Findings")
    assert (number.value, number.limits, number.flag, number.kind) == (
        "1.60 mm",
        "1.85 to 2.15 mm",
        "low",
        "wait",
    )
    assert (text.value, text.limits, text.flag) == ("as planned", "", "")
