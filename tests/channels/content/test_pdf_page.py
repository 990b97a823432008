"""The PDF export is the report page, the same every time."""

from __future__ import annotations

from collections.abc import Callable

from channels.content.pdf_page import export
from engine.model import Result


def test_the_page_reads_back_and_never_changes(full: Result, tool: Callable[..., str]) -> None:
    content = export(full)
    assert content.startswith(b"%PDF-")
    assert content == export(full)
    words = tool("pdftotext", "poppler-utils", content, "-layout", "{}", "-")
    assert "Diffusion MR quality control" in words
    assert "1.60" in words
