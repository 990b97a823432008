"""The PNG export is the processor's picture, or the findings written out."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from channels.content.png_picture import export
from engine.model import Result, ResultStatus


def picture(result: Result) -> Image.Image:
    image = Image.open(BytesIO(export(result)), formats=["png"])
    image.load()
    return image


def test_the_processors_picture_stands_above_its_disclaimer(full: Result) -> None:
    image = picture(full)
    assert image.width == 640
    assert image.height > 480
    assert image.getpixel((320, 240)) == (20, 90, 160)
    assert export(full) == export(full)


def test_a_retracted_picture_says_so_across_its_top(full: Result) -> None:
    retracted = picture(full.model_copy(update={"status": ResultStatus.RETRACTED}))
    assert retracted.height > picture(full).height
    colours = {colour for _, colour in retracted.crop((0, 0, 640, 30)).getcolors(100_000) or []}
    assert (255, 96, 96) in colours


def test_without_a_picture_the_findings_are_written_out(minimal: Result) -> None:
    image = picture(minimal)
    assert image.width == 800
    assert len(image.getcolors(100_000) or []) > 1
