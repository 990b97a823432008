"""The pictures of a result, decoded and bounded.

Enter: a result's `image/png` artefacts. Leave: RGB pictures no larger than asked for. A file that
is no picture, or one that would unpack to an absurd size, is left out: the findings still stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from engine.model import Result

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000  # before scaling; a decompression bomb has more


@dataclass(frozen=True, slots=True)
class Picture:
    """One RGB picture."""

    image: Image
    title: str

    @property
    def width(self) -> int:
        """Columns."""
        return self.image.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.image.height

    def png(self) -> bytes:
        """The picture as a PNG file; the same picture always gives the same bytes."""
        buffer = BytesIO()
        self.image.save(buffer, "png")
        return buffer.getvalue()


def pictures(result: Result, max_side: int) -> list[Picture]:
    """The pictures that can be shown, each scaled down to at most ``max_side`` pixels a side.

    Raises:
        ValueError: an artefact is not the one that was stored.
    """
    found = []
    for artefact in result.report.artefacts:
        if artefact.media_type == "image/png":
            image = _decoded(artefact.read(), max_side)
            if image is not None:
                found.append(Picture(image, artefact.title))
    return found


def _decoded(content: bytes, max_side: int) -> Image | None:
    from PIL import Image, PngImagePlugin

    try:
        # The plugin itself, not Image.open: that would also accept other formats and only warn
        # of a bomb.
        image: Image.Image = PngImagePlugin.PngImageFile(BytesIO(content))
        if not 0 < image.width * image.height <= MAX_PIXELS:
            return None
        image.load()
        if image.mode in ("RGBA", "LA", "PA", "P"):
            layer = image.convert("RGBA")
            flat = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            image = Image.alpha_composite(flat, layer)
        elif image.mode.startswith("I"):  # 16 bit: scale, for a conversion would clip
            image = image.point(lambda value: value / 256).convert("L")
        image = image.convert("RGB")
        if max(image.size) > max_side:
            image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, EOFError):
        return None
    return image
