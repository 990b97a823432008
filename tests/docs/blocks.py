"""The fenced blocks of the documentation, with the place where each stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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
