"""What is really seen in a window: whether a page fits it, and whether a PDF is shown and not just sent."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.peers.process import wait_until

_PAPER = b"\xff" * 12
_WIDTHS = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"


def has_room(page: Page) -> bool:
    """Whether the page fits the width of its window: nobody scrolls sideways to read a line (WCAG 1.4.10)."""
    wide, room = page.evaluate(_WIDTHS)
    return bool(wide <= room)


def pdf_is_shown(page: Page, title: str, patience: float = 45) -> bool:
    """Whether the frame of this title shows a page of paper with something on it, within so many seconds."""
    frame = page.locator(f'iframe[title="{title}"]')

    try:
        return bool(
            wait_until(lambda: _is_printed(frame.screenshot()), "a PDF in its viewer", patience, every=0.2)
        )
    except pytest.fail.Exception:
        return False


def _is_printed(picture: bytes) -> bool:
    """A sheet of white, higher than a dialog, with ink between white and white."""
    grey = Image.open(io.BytesIO(picture)).convert("L")
    wide, high = grey.size
    left = wide * 9 // 20  # right of the small pictures of pages
    lines = [grey.crop((left, y, wide, y + 1)).tobytes() for y in range(high)]
    sheet = [line for line in lines if line.count(_PAPER) >= 5]
    inked = any(dark < 100 for line in sheet for dark in line[line.find(_PAPER) : line.rfind(_PAPER)])
    return inked and len(sheet) > high * 2 // 5
