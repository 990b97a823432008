"""FHIR: any words in any place come back the same and add no element, no search term, no header."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content import fhir
from engine.model import (
    Algorithm,
    Code,
    Finding,
    Issuer,
    Order,
    Patient,
    PersonName,
    Result,
)

PLACES = (
    *("patient_id", "namespace", "family", "given", "accession", "placer", "filler", "procedure"),
    *("requester", "description", "title", "narrative", "impression", "disclaimer"),
    *("algorithm", "version", "manufacturer", "udi", "concept", "value", "group", "comment"),
)
SLY = "\"\\{}[]<>&'/#?=|$,:;%+ \r\n\t\x00\x0b\x1f\x7f\x85\u2028\u202e\ufeff\ufffe\uffff"
XHTML = "{http://www.w3.org/1999/xhtml}"


def plain(words: str) -> str:
    """What FHIR can hold of them (datatypes.html#string): no control characters, no blanks around."""
    kept = [
        one
        for one in words
        if one in "\t\n\r" or not (one < " " or "\x7f" <= one <= "\x9f" or one in "\ufffe\uffff")
    ]
    return "".join(kept).strip()


WORDS = st.text(
    st.sampled_from(SLY + "é山אب𠮷") | st.characters(codec="utf-8", exclude_characters="^"),
    min_size=1,
    max_size=30,
).filter(plain)


def filled(full: Result, words: dict[str, str]) -> Result:
    """A result with these words in every place that has words."""
    concept = Code(value="c", scheme="99PONS", meaning=words["concept"])
    finding = Finding(
        concept=concept,
        value=words["value"],
        site=concept,
        group=words["group"],
        comment=words["comment"],
        tracking_id=words["group"],
    )
    report = full.report.model_copy(
        update={
            **{name: words[name] for name in ("title", "narrative", "impression", "disclaimer")},
            "findings": (finding,),
            "algorithm": Algorithm(
                name=words["algorithm"],
                version=words["version"],
                manufacturer=words["manufacturer"],
                udi=words["udi"],
            ),
        }
    )
    patient = Patient(
        patient_id=words["patient_id"],
        issuer=Issuer(namespace=words["namespace"]),
        name=PersonName(alphabetic=f"{words['family']}^{words['given']}"),
    )
    order = Order(
        placer_order_number=words["placer"],
        filler_order_number=words["filler"],
        accession_number=words["accession"],
        procedure=Code(value="p", scheme="99PONS", meaning=words["procedure"]),
        requester=PersonName(alphabetic=words["requester"]),
    )
    study = full.study.model_copy(update={"description": words["description"]})
    return full.model_copy(update={"report": report, "patient": patient, "order": order, "study": study})


def shape(value: Any) -> Any:
    """The elements without what stands in them."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


def kinds(value: Any, kind: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("resourceType") == kind:
            yield value
        for one in value.values():
            yield from kinds(one, kind)
    elif isinstance(value, list):
        for one in value:
            yield from kinds(one, kind)


@pytest.mark.parametrize("version", ["R4", "R5"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.fixed_dictionaries(dict.fromkeys(PLACES, WORDS)))
def test_a_transaction_says_every_word_and_has_no_other_element(
    full: Result, history: Any, version: Any, words: dict[str, str]
) -> None:
    sent, expected = (
        json.loads(fhir.render(filled(full, these), history(), "upsert", version).parts[0].read())
        for these in (words, dict.fromkeys(words, "x"))
    )
    assert shape(sent) == shape(expected)

    told = set(texts(sent))
    whole = {"patient_id", "namespace", "family", "given", "accession", "placer", "filler", "requester"}
    whole |= {"procedure", "description", "title", "algorithm", "version", "manufacturer", "udi"}
    whole |= {"concept", "value", "group", "comment"}
    assert {place: words[place] for place in whole if plain(words[place]) not in told} == {}
    [report] = kinds(sent, "DiagnosticReport")
    assert report["conclusion"] == f"{plain(words['impression'])}\n{plain(words['disclaimer'])}"

    page = ElementTree.fromstring(report["text"]["div"])
    assert {one.tag for one in page.iter()} <= {
        XHTML + tag for tag in ("div", "h3", "table", "tr", "td", "th", "p")
    }
    assert all(one.attrib == {} for one in page.iter())
    assert plain(words["title"]).split() == "".join(page.find(f"{XHTML}h3").itertext()).split()

    for entry in sent["entry"]:
        request = entry["request"]
        search = request.get("ifNoneExist") or request["url"].partition("?")[2]
        assert re.fullmatch(r"identifier=[A-Za-z0-9%:/._|~-]+", search), search
        system, _, value = unquote(search.removeprefix("identifier=")).partition("|")
        known = entry["resource"]["identifier"][0]
        assert (system, re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)) == (known["system"], known["value"])


@pytest.mark.parametrize("mode", ["report", "document"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.fixed_dictionaries(dict.fromkeys(PLACES, WORDS)))
def test_a_single_resource_has_no_other_element_and_no_word_reaches_a_header(
    full: Result, history: Any, mode: Any, words: dict[str, str]
) -> None:
    part, expected = (
        fhir.render(filled(full, these), history(), mode).parts[0]
        for these in (words, dict.fromkeys(words, "x"))
    )
    sent = json.loads(part.read())
    assert shape(sent) == shape(json.loads(expected.read()))
    assert plain(words["family"]) in set(texts(sent))
    assert plain(words["patient_id"]) in set(texts(sent))
    # What a header or a URL of the channel is made of.
    assert (part.identifier, part.facts) == (expected.identifier, expected.facts)
