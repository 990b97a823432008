"""Colour for people at a terminal: text enters, styled text leaves.

What is piped or written to a file has none, and where `NO_COLOR` is set neither has a terminal
(no-color.org). `typer.echo` strips styles where the output is no terminal.
"""

from __future__ import annotations

import os

import typer


def good(text: str) -> str:
    """What is as it should be."""
    return _painted(text, typer.colors.GREEN)


def bad(text: str) -> str:
    """What is not."""
    return _painted(text, typer.colors.RED)


def notable(text: str) -> str:
    """What an eye should find."""
    return _painted(text, typer.colors.YELLOW)


def quiet(text: str) -> str:
    """What is beside the point, such as positions."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, dim=True)


def _painted(text: str, colour: str) -> str:
    return text if os.environ.get("NO_COLOR") else typer.style(text, fg=colour)
