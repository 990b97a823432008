"""A result as RGB Secondary Capture images (PS3.3 A.8.1).

Enter: a result and the history of the delivery. Leave: one object per picture that the processor
made, with the standing and the disclaimer burned into bands above and below; without a picture, one
object with the findings written out, so that there is always something to look at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from channels.content import composite, picture, typesetting
from channels.content.attribute import put, text
from channels.content.standing import BANNERS, told_status
from channels.content.wording import finding_text
from engine.model import History, Part, Payload, Result, ResultStatus

if TYPE_CHECKING:
    from PIL.Image import Image

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBER = 9902
MAX_SIDE = 4096  # pixels
MIN_WIDTH = 512  # so that a disclaimer can be read
MAX_HEIGHT = 1400  # pixels of written words
MAX_CHARACTERS = 6000
MARGIN = 8  # pixels left free at either side
TEMPLATE = "band.typ"

_LONG_WORD = re.compile(r"\S{30}(?=\S)")  # may be broken here, or it would not fit on a line


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


def whole_picture(result: Result) -> Image:
    """One picture outside DICOM: the first there is, or the summary; standing and disclaimer burned in."""
    found = picture.pictures(result, MAX_SIDE)
    return _annotated(found[0].image if found else _summary(result), result, result.status)


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
    shown = text(words)
    if len(shown) > MAX_CHARACTERS:
        shown = shown[:MAX_CHARACTERS] + "\n(cut here)"
    lines = [_LONG_WORD.sub("\\g<0>\u200b", " ".join(line.split())) for line in shown.splitlines()]
    data = {
        "lines": lines,
        "width": width,
        "height": MAX_HEIGHT,
        "margin": MARGIN,
        "ink": ink,
        "paper": paper,
    }
    return typesetting.picture(TEMPLATE, data)
