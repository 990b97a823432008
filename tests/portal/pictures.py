"""Pictures of every page of the portal for the documentation, as `make pictures` takes them.

A furnished house is started, the tour is walked, and each page's picture is put below docs/portal/: light, on
a desk; some of them in the dark and on a phone, too. Few colours make small files.
"""

from __future__ import annotations

import io
import socket
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.conftest import REAL_STUDY_ZIP, ROOT
from tests.portal.browser import DESKTOP, PHONE, chromium
from tests.portal.furnished import furnished_house
from tests.portal.tour import STOPS, before

FOLDER = ROOT / "docs" / "portal"
DARK = ("dashboard", "order")
ON_A_PHONE = ("orders", "order")
HIGHER = {"dashboard": 1150, "order": 1500, "delivery": 1100}  # pixels: what matters is further down
COLOURS = 128
LARGEST = 150_000  # bytes
_ALL_PICTURES = """() => Promise.all([...document.images].map(image => {
    image.loading = "eager";
    return image.decode();
}))"""


def kept(picture: bytes) -> bytes:
    """The picture in few colours."""
    told = io.BytesIO()
    shown = Image.open(io.BytesIO(picture)).convert("RGB")
    shown.quantize(COLOURS, dither=Image.Dither.NONE).save(told, "PNG", optimize=True)
    return told.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _study(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(REAL_STUDY_ZIP) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".dcm"):
                (folder / Path(entry.filename).name).write_bytes(archive.read(entry))
    return folder


def main(wanted: Sequence[str]) -> None:
    """Take those that are named, or all of them."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        study = _study(folder / "study")
        with (
            furnished_house(folder / "house", _free_port, study) as there,
            chromium(folder) as browser,
        ):
            for stop in (one for one in STOPS if not wanted or one.picture in wanted):
                views = [("", "light", DESKTOP)]
                views += [("-dark", "dark", DESKTOP)] if stop.picture in DARK else []
                views += [("-phone", "light", PHONE)] if stop.picture in ON_A_PHONE else []
                for suffix, scheme, size in views:
                    shown = (size[0], HIGHER.get(stop.picture, size[1]))
                    with before(stop, there, browser, size=shown, color_scheme=scheme) as here:
                        here.page.evaluate(_ALL_PICTURES)
                        (FOLDER / f"{stop.picture}{suffix}.png").write_bytes(kept(here.page.screenshot()))
                        print(f"{stop.picture}{suffix}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
