"""Findings for people: a line each, or, on a terminal, each with the line of the table that it is about.

Enter: findings and the folder of their files. Leave: lines of text. A line that holds a secret written out
is never shown again, whatever else is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from engine.finding import Finding

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\s,\[\]{}:#]+')
LONGEST = 160  # characters of a source line that are shown

_COLOURS = {"error": "red", "warning": "yellow"}


def plain(findings: Sequence[Finding], folder: Path) -> Iterator[str]:
    """One line a finding, as compilers and editors know it."""
    return (str(finding.under(folder)) for finding in findings)


def with_source(findings: Sequence[Finding], folder: Path, *, colour: bool) -> Iterator[str]:
    """Several lines a finding: what, where, the source line with a mark under it, the path in the table."""
    sources = _Sources(folder)
    secret = {(one.file, one.line) for one in findings if one.code == "literal-secret"}
    for finding in findings:
        shade = _COLOURS[finding.severity] if colour else None
        head = _styled(f"{finding.severity}[{finding.code}]", shade, bold=colour)
        yield f"{head}{_styled(f': {finding.message}', None, bold=colour)}"
        rule = " " * len(str(finding.line))
        where = f"{folder / finding.file}:{finding.line}:{finding.column}"
        yield f"{rule}{_styled('-->', 'blue' if colour else None)} {where}"
        source = sources.line(finding) if (finding.file, finding.line) not in secret else None
        if source is not None:
            bar = _styled("|", "blue" if colour else None)
            shown, start, width = _cut(source, finding.column)
            yield f"{rule} {bar}"
            yield f"{_styled(str(finding.line), 'blue' if colour else None)} {bar} {shown}"
            yield f"{rule} {bar} {' ' * start}{_styled('^' * width, shade, bold=colour)}"
        if finding.path:
            yield f"{rule} {_styled('=', 'blue' if colour else None)} {finding.path}"
        yield ""


def _cut(source: str, column: int) -> tuple[str, int, int]:
    """What is shown of a source line, where the mark begins in it and how wide it is."""
    match = _WORD.match(source, column - 1)
    width = match.end() - match.start() if match else 1
    begin = max(0, column - 1 - LONGEST // 2) if len(source) > LONGEST else 0
    shown = source[begin : begin + LONGEST]
    start = min(column - 1 - begin, len(shown))
    return shown, start, max(1, min(width, len(shown) - start))


def _styled(text: str, colour: str | None, *, bold: bool = False) -> str:
    return typer.style(text, fg=colour, bold=bold or None) if colour or bold else text


class _Sources:
    """The lines of the files that findings are about; each file is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: dict[str, list[str]] = {}

    def line(self, finding: Finding) -> str | None:
        """The source line without what a terminal would obey; None where there is none."""
        if finding.file not in self._lines:
            try:
                text = (self._folder / finding.file).read_text("utf-8-sig", errors="replace")
            except OSError:
                text = ""
            self._lines[finding.file] = text.split("\n")
        lines = self._lines[finding.file]
        if not 1 <= finding.line <= len(lines):
            return None
        return "".join(sign if sign.isprintable() else " " for sign in lines[finding.line - 1].rstrip("\r"))
