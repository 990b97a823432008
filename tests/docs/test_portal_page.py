"""docs/portal.md shows every page of the portal, in pictures that load fast."""

from __future__ import annotations

import re

from PIL import Image

from tests.docs.blocks import ROOT
from tests.portal.pictures import DARK, FOLDER, LARGEST, ON_A_PHONE
from tests.portal.tour import STOPS

PICTURES = (
    {stop.picture for stop in STOPS}
    | {f"{name}-dark" for name in DARK}
    | {f"{name}-phone" for name in ON_A_PHONE}
)


def test_every_page_of_the_portal_has_its_picture_and_no_picture_is_of_none() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == PICTURES


def test_the_page_shows_every_picture_once_and_says_what_is_on_it() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(portal/([\w-]+)\.png\)", (ROOT / "docs" / "portal.md").read_text())
    assert sorted(name for _, name in shown) == sorted(PICTURES)
    assert len({text for text, name in shown if not name.endswith(("-dark", "-phone"))}) == len(STOPS)


def test_a_picture_is_small_and_whole() -> None:
    for path in sorted(FOLDER.iterdir()):
        assert path.stat().st_size < LARGEST, path.name
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
