"""XML: well-formed whatever the text, without entities, read back to the same text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content.xml_document import NAMESPACE, export
from engine.model import Result

IN = {"r": NAMESPACE}


def root(result: Result) -> ElementTree.Element:
    return ElementTree.fromstring(export(result))


def test_elements_are_the_keys_of_the_document(full: Result) -> None:
    tree = root(full)
    assert tree.tag == f"{{{NAMESPACE}}}result"
    assert tree.findtext("r:result_id", namespaces=IN) == full.result_id
    assert tree.findtext("r:patient/r:name/r:ideographic", namespaces=IN) == "山田^太郎"
    findings = tree.findall("r:report/r:findings", IN)
    assert len(findings) == len(full.report.findings)
    assert findings[1].findtext("r:value", namespaces=IN) == "1.60"
    assert findings[1].findtext("r:reference_range/r:low", namespaces=IN) == "1.85"
    assert findings[0].findtext("r:value/r:value", namespaces=IN) == "out-of-protocol"
    assert len(tree.findall("r:study/r:instances", IN)) == 3


def test_what_is_empty_or_only_ours_is_left_out(full: Result, minimal: Result) -> None:
    text = export(full).decode()
    assert "<header" not in text
    assert "<path" not in text
    assert "<!" not in text
    assert root(minimal).find("r:patient", IN) is None


@pytest.mark.parametrize("text", ["\x00\x1b\x0b", "\ufffe\uffff", "a\x08b"])
def test_a_character_that_xml_cannot_hold_becomes_visible(full: Result, text: str) -> None:
    report = full.report.model_copy(update={"narrative": text})
    found = root(full.model_copy(update={"report": report})).findtext("r:report/r:narrative", namespaces=IN)
    assert found is not None
    assert "\ufffd" in found
    assert len(found) == len(text)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1
    )
    | st.sampled_from(["</narrative><x/>", "&amp; &x; <!DOCTYPE a>", "]]>", "<![CDATA[x]]>", "a\r\nb\rc"])
)
def test_any_text_reads_back_and_adds_no_element(full: Result, text: str) -> None:
    report = full.report.model_copy(update={"narrative": text})
    tree = root(full.model_copy(update={"report": report}))
    assert len(list(tree.iter())) == len(list(root(full).iter()))
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert tree.findtext("r:report/r:narrative", namespaces=IN) == expected
