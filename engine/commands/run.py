"""`pons run`: the engine in the foreground until SIGTERM or SIGINT; SIGHUP has it read its table again."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from engine.config import Table, load
from engine.log import start_logging
from engine.run import running

logger = logging.getLogger("pons.run")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    table: Annotated[Path, typer.Option(help="The routing table.")] = Path("routes.yaml"),
    text: Annotated[bool, typer.Option("--text", help="Log lines for people instead of JSON.")] = False,
) -> None:
    """Run the engine until it is told to stop; what is under way ends first.

    SIGHUP has it read the file again: a table without findings is taken while it runs, for every engine on
    the same database. Where another table was applied since the file was edited, that one runs.
    """
    loaded = load(table)
    start_logging(text=text)
    asyncio.run(_run(loaded))


async def _run(table: Table) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        """To stop; told again, to wait for nothing."""
        logger.info("told to hurry" if stop.is_set() else "told to stop")
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    again = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, again.set)
    async with running(table, hurry=hurry) as engine:
        loop.add_signal_handler(signal.SIGHUP, engine.table.reload)
        if again.is_set():
            engine.table.reload()
        await stop.wait()
