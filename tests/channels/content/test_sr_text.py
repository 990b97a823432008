"""Any text in a structured report: it reads back, and adds no content item and no element."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from channels.content import sr
from channels.content.composite import text as legal
from engine.model import Code, Finding, History, Result

REMARK = Code(value="remark", scheme="99PONS", meaning="Remark")
ANY = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\^=\r\n\t\x1b\0"), max_size=200)


def rendered(result: Result, history: History, words: str) -> Dataset:
    finding = Finding(concept=REMARK, value=words, group=words, comment=words, tracking_id=words)
    changes = {"findings": (finding,), "narrative": words, "impression": words, "title": words}
    told = result.model_copy(update={"report": result.report.model_copy(update=changes)})
    return dcmread(BytesIO(sr.render(told, history).parts[0].read()))


def shape(dataset: Dataset) -> list[object]:
    """Tags and shapes of everything nested, without values."""
    return [
        (element.tag, [shape(item) for item in element.value] if element.VR == "SQ" else None)
        for element in dataset
    ]


def texts(dataset: Dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.keyword == "TextValue"]


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=ANY.filter(lambda words: words.strip()))
def test_any_text_reads_back_and_adds_nothing(
    minimal: Result, history: Callable[..., History], words: str
) -> None:
    found, plain = rendered(minimal, history(), words), rendered(minimal, history(), "plain")
    expected = legal(words) or "(empty)"

    assert [shape(item) for item in found.ContentSequence] == [shape(item) for item in plain.ContentSequence]
    assert [one for one in texts(plain) if one == "plain"], "the words are in the tree"
    for one, other in zip(texts(found), texts(plain), strict=True):
        assert one == (expected if other == "plain" else other)
