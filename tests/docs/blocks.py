"""The fenced blocks of the documentation, with the place where each stands, and a table for parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
LANGUAGES = frozenset({"sh", "yaml", "python", "toml", "json", "text"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    document: str  # relative to the checkout
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every page whose blocks must run."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pages() -> list[Path]:
    """Every page whose links must lead somewhere."""
    return [*documents(), ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").rglob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """The blocks of one page, in order."""
    source = document.read_text()
    return [
        Block(
            document.relative_to(ROOT).as_posix(),
            source.count("\n", 0, match.start()) + 1,
            match["language"],
            "\n".join(line.removeprefix(match["indent"]) for line in match["text"].split("\n")),
        )
        for match in FENCE.finditer(source)
    ]


def blocks_of(language: str) -> list[Block]:
    """The blocks in one language, of every page."""
    return [block for page in documents() for block in blocks(page) if block.language == language]


SMALL_TABLE = """
version: 1
sites:
  st-marys: {name: St. Mary's, timezone: Europe/Dublin, tunnel: 10.90.7.2, ae_titles: [STM_PACS]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112", ae_title: PONS}
  web: {type: stow_rs}
processors:
  dti-qc: {type: quality_control}
outbound:
  stm-pacs: {type: dicom_sr, site: st-marys, host: 10.90.7.2, port: 104, ae_title: STM_PACS}
  stm-ris: {type: hl7_oru, site: st-marys, host: 10.90.7.2, port: 2575}
routes:
  - {name: all, match: {site: st-marys}, process: dti-qc, deliver: [stm-pacs]}
"""


def completed(part: dict[str, Any]) -> dict[str, Any]:
    """The small table with a part put into it.

    Sites, channels and processors are added to its own; routes and tests stand in place of its own.
    """
    table = yaml.safe_load(SMALL_TABLE)
    for section, value in part.items():
        if isinstance(value, dict) and section != "engine":
            table.setdefault(section, {}).update(value)
        else:
            table[section] = value
    return dict(table)
