"""A result as RGB Secondary Capture images (PS3.3 A.8.1).

Enter: a result and the history of the delivery. Leave: one object per picture that the processor
made, with the standing and the disclaimer burned into bands above and below; without a picture, one
object with the findings written out, so that there is always something to look at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from channels.content import composite, picture
from channels.content.attribute import put, text
from channels.content.standing import BANNERS, told_status
from channels.content.wording import finding_text
from engine.model import History, Part, Payload, Result, ResultStatus

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBER = 9902
MAX_SIDE = 4096  # pixels
MIN_WIDTH = 512  # so that a disclaimer can be read
MAX_LINES = 60  # of a written-out summary
LONGEST_LINE = 400  # characters, however narrow
FONT_SIZE = 16  # pixels
PADDING = 8


def render(result: Result, history: History) -> Payload:
    """One object per picture, at least one."""
    status = told_status(result, history)
    images = [(one.image, one.title) for one in picture.pictures(result, MAX_SIDE)]
    if not images:
        images = [(_summary(result), "Summary")]
    parts = tuple(
        _capture(result, history, _annotated(image, result, status), title, number)
        for number, (image, title) in enumerate(images, start=1)
    )
    return Payload(parts=parts, summary=f"SC, {len(parts)} image{'s' if len(parts) > 1 else ''}")


def _capture(result: Result, history: History, image: Image, title: str, number: int) -> Part:
    dataset = composite.start(
        result,
        history,
        sop_class_uid=SOP_CLASS_UID,
        purpose=f"sc {number}",
        modality="OT",
        series_number=SERIES_NUMBER,
        title=result.report.title or "Result",
    )
    put(dataset, "ConversionType", "WSD")
    put(dataset, "InstanceNumber", str(number))
    put(dataset, "PatientOrientation", None)
    composite.copy_laterality(dataset, result)
    put(dataset, "ImageType", ["DERIVED", "SECONDARY"])
    put(dataset, "DateOfSecondaryCapture", dataset.ContentDate)
    put(dataset, "TimeOfSecondaryCapture", dataset.ContentTime)
    comments = " - ".join(filter(None, (text(title), text(result.report.disclaimer))))
    if comments:
        put(dataset, "ImageComments", comments[:10240])
    put(dataset, "BurnedInAnnotation", "YES")
    put(dataset, "LossyImageCompression", "00")
    sources = composite.source_references(result.study.instances)
    if sources:
        put(dataset, "SourceImageSequence", sources)
    put(dataset, "SamplesPerPixel", 3)
    put(dataset, "PhotometricInterpretation", "RGB")
    put(dataset, "PlanarConfiguration", 0)
    put(dataset, "Rows", image.height)
    put(dataset, "Columns", image.width)
    put(dataset, "BitsAllocated", 8)
    put(dataset, "BitsStored", 8)
    put(dataset, "HighBit", 7)
    put(dataset, "PixelRepresentation", 0)
    pixels = image.tobytes()
    put(dataset, "PixelData", pixels + b"\0" * (len(pixels) % 2))
    dataset["PixelData"].VR = "OB"
    return composite.finish(dataset)


def _annotated(image: Image, result: Result, status: ResultStatus) -> Image:
    """The picture between a band with its standing and a band with maker and disclaimer."""
    import PIL.Image

    width = max(image.width, MIN_WIDTH)
    algorithm = result.report.algorithm
    above = _band(BANNERS[status], width, ink=(255, 96, 96))
    below = _band(
        "\n".join(filter(None, (result.report.disclaimer, f"{algorithm.name} {algorithm.version}"))), width
    )
    bands = [band for band in (above, image, below) if band is not None]
    whole = PIL.Image.new("RGB", (width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        whole.paste(band, ((width - band.width) // 2, top))
        top += band.height
    return whole


def _band(words: str, width: int, ink: tuple[int, int, int] = (255, 255, 255)) -> Image | None:
    return _written(words, width, ink, (0, 0, 0)) if words.strip() else None


def _summary(result: Result) -> Image:
    report = result.report
    lines = [report.title, ""]
    lines += [f"{one.concept.meaning}: {finding_text(one)}" for one in report.findings]
    lines += ["", report.impression or report.narrative]
    return _written("\n".join(lines), 800, (240, 240, 240), (24, 24, 24))


def _written(words: str, width: int, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image:
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    lines = list(islice(_wrapped(words, font, width - 2 * PADDING), MAX_LINES + 1))
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = ["(cut here)"]
    step = FONT_SIZE + 4
    image = PIL.Image.new("RGB", (width, step * len(lines) + 2 * PADDING), paper)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((PADDING, PADDING + number * step), line, fill=ink, font=font)
    return image


def _wrapped(words: str, font: FreeTypeFont | BitmapFont, width: int) -> Iterator[str]:
    """Lines that fit, made one by one as they are asked for; a word longer than a line is broken."""

    def fits(line: str) -> bool:
        return len(line) <= LONGEST_LINE and font.getlength(line) <= width

    for paragraph in text(words).splitlines():
        line = ""
        for word in paragraph.split():
            if fits(f"{line} {word}".strip()):
                line = f"{line} {word}".strip()
                continue
            if line:
                yield line
            line = word
            while not fits(line):
                end = _breaking_point(line, fits)
                yield line[:end]
                line = line[end:]
        yield line


def _breaking_point(word: str, fits: Callable[[str], bool]) -> int:
    """How many characters of a word go on a line: as many as fit, one at least."""
    return 1 + bisect_left(range(2, LONGEST_LINE), True, key=lambda end: not fits(word[:end]))
