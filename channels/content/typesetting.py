"""Words set in type by typst, with fonts that are the same on every machine.

Enter: one of the templates beside this file and its data as JSON. Leave: a PDF or a picture. The
fonts are those in `fonts/`, those inside the packages typst and noto-cjk-sans-otc, and no others:
what a system has installed changes no byte. docs/decisions/fonts.md tells which and why.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typst
    from PIL.Image import Image

FONTS = Path(__file__).with_name("fonts")
CJK_PACKAGE = "noto_cjk_sans_otc"

_KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")


def pdf(template: str, data: dict[str, Any], timestamp: int) -> bytes:
    """The template as PDF.

    Args:
        template: its file name.
        data: all that it shows; reaches it as text (`sys.inputs.data`), never as markup.
        timestamp: date of the document, in seconds since 1970.
    """
    import typst

    return typst.compile(
        _source(template),
        format="pdf",
        font_paths=fonts(),
        sys_inputs=_inputs(data),
        timestamp=timestamp,
        pdf_tags=False,
    )


def picture(template: str, data: dict[str, Any]) -> Image:
    """The template's only page as an RGB picture, a pixel to the point."""
    import PIL.Image
    import typst

    png = typst.compile(_source(template), format="png", ppi=72, font_paths=fonts(), sys_inputs=_inputs(data))
    return PIL.Image.open(BytesIO(png), formats=["PNG"]).convert("RGB")


@lru_cache(maxsize=1)
def fonts() -> typst.Fonts:
    """Every font there is to choose from; reading them takes longer than a page, once is enough.

    Raises:
        FileNotFoundError: the package with the Chinese, Japanese and Korean font is missing.
    """
    import typst

    found = find_spec(CJK_PACKAGE)  # finds its folder and runs nothing of it
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise FileNotFoundError(
            "the package noto-cjk-sans-otc is missing; install Pons with its dependencies"
        )
    return typst.Fonts(include_system_fonts=False, font_paths=[str(FONTS), *folders])


def han_family(words: str) -> str:
    """The font for Han characters: Unicode unites what Japan, Korea and China write differently.

    What else a text holds tells where it is from; Han characters alone count as Chinese.
    """
    country = "JP" if _KANA.search(words) else "KR" if _HANGUL.search(words) else "SC"
    return f"Noto Sans CJK {country}"


@lru_cache(maxsize=8)
def _source(template: str) -> bytes:
    return Path(__file__).with_name(template).read_bytes()


def _inputs(data: dict[str, Any]) -> dict[str, str]:
    words = json.dumps(data, ensure_ascii=False)
    return {"data": json.dumps(data | {"han": han_family(words)})}
