"""The one result in every format is what the renderers make today, and every format tells the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from examples.results.__main__ import HERE, rendered
from tests.peers.process import binary

ROOT = Path(__file__).resolve().parents[2]
BESIDES = {"README.md", "__init__.py", "__main__.py", "invented.py", "montage.png"}
LARGEST = 64_000  # bytes: these are for reading


def words(pdf: bytes) -> str:
    """The text of a PDF, as poppler finds it."""
    done = subprocess.run(
        [binary("pdftotext", "poppler-utils"), "-layout", "-", "-"],
        input=pdf,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def pixels(png: bytes) -> tuple[tuple[int, int], bytes]:
    """A picture without its compression."""
    with Image.open(BytesIO(png)) as image:
        return image.size, image.convert("RGB").tobytes()


READ_AS: dict[str, Callable[[bytes], object]] = {".pdf": words, ".png": pixels}


@pytest.fixture(scope="module")
def today() -> dict[str, bytes]:
    return rendered()


def test_each_file_is_what_is_rendered_today(today: dict[str, bytes]) -> None:
    stale = []
    for name, content in today.items():
        read_as = READ_AS.get(Path(name).suffix, bytes.decode)
        if read_as((HERE / name).read_bytes()) != read_as(content):
            stale.append(name)
    assert stale == [], "look at what changed and run `python -m examples.results`"


def test_nothing_else_lies_there_and_all_of_it_is_small(today: dict[str, bytes]) -> None:
    files = {path.name: path.stat().st_size for path in HERE.iterdir() if path.is_file()}
    assert set(files) == set(today) | BESIDES
    assert {name: size for name, size in files.items() if size > LARGEST} == {}


def test_the_page_names_every_file(today: dict[str, bytes]) -> None:
    page = (HERE / "README.md").read_text()
    assert [name for name in today if f"[{name}]({name})" not in page] == []


def test_every_format_tells_the_same_volume_and_the_same_name(today: dict[str, bytes]) -> None:
    for name, content in today.items():
        if name == "result.png" or name in ("sc.dcm.txt", "pdf.dcm.txt", "fhir-document.json"):
            continue  # pictures and pages: their text is not text
        text = words(content) if name.endswith(".pdf") else content.decode()
        assert "2.87" in text, name
        if name != "result.csv":  # it identifies by number
            assert "山田" in text, name


def test_the_command_writes_them_into_any_folder(tmp_path: Path, today: dict[str, bytes]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.results", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(today)
    assert (tmp_path / "out" / "oru.hl7").read_bytes() == today["oru.hl7"]
    assert "oru.hl7" in done.stdout
