"""`pons send`: instances to a peer, once, and what the peer said of each.

A way is tested with the objects of the hospital itself: folders, files, ZIP archives, by C-STORE or STOW-RS,
to any peer or to a channel of the table. Exit code 0: all is stored; 1: something is not, or there was
nothing to send; 2: used wrongly. No attribute of an object is shown but its SOP Instance UID.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.commands.colour import bad, good, notable, quiet
from engine.commands.desk import AsJson
from engine.send_report import SendReport
from engine.send_target import Unusable, sender_for
from engine.sendable import Skipped, contents, reason_of
from engine.sender import Candidate, Outcome, Sender, Told

_REDRAW = 0.1  # seconds between two movements of the bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


def send(
    target: Annotated[
        str,
        typer.Argument(
            help="AE_TITLE@HOST:PORT, the URL of a DICOMweb service, or a channel of the table.",
            show_default=False,
        ),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(help="DICOM files, folders, ZIP archives.", exists=True, show_default=False),
    ],
    calling: Annotated[
        str | None, typer.Option("--as", metavar="AE_TITLE", help="Our own AE title.", show_default="PONS")
    ] = None,
    associations: Annotated[
        int | None, typer.Option("--associations", "-n", min=1, max=64, help="Associations at once.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long the peer may be silent, for example 90s.")
    ] = None,
    as_filed: Annotated[
        bool, typer.Option("--as-filed", help="Send nothing uncompressed that is filed compressed.")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="DICOM over TLS.")] = False,
    ca: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PEM of who signs the peer; means TLS.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Our own PEM certificate; means TLS.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Our own PEM private key.")
    ] = None,
    token: Annotated[
        Path | None,
        typer.Option("--token-file", exists=True, dir_okay=False, help="File with a bearer token."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each instance.")] = False,
    table: Annotated[Path, typer.Option("--table", help="The routing table that names a channel.")] = Path(
        "routes.yaml"
    ),
    as_json: AsJson = False,
) -> None:
    """Send instances to a peer by C-STORE or STOW-RS, and say what became of each."""
    pem = {
        name: {"file": path.absolute()}
        for name, path in (("ca", ca), ("certificate", certificate), ("key", key))
        if path is not None
    }
    options = {
        "--as": ("calling_ae_title", calling),
        "--associations": ("associations", associations),
        "--timeout": ("timeout", timeout),
        "--as-filed": ("reencode", "never" if as_filed else None),
        "--tls": ("tls", pem if tls or pem else None),
        "--token-file": ("auth", {"type": "bearer", "token": {"file": token.absolute()}} if token else None),
    }
    try:
        sender = sender_for(target, table, options)
    except Unusable as error:
        raise typer.BadParameter(str(error)) from None
    report = SendReport(str(sender))
    candidates = _look(sender, paths, report)
    watch = _Watch(report, sum(one.size for one in candidates), verbose, as_json)
    began = time.monotonic()
    try:
        with watch.shown():
            asyncio.run(sender.send(candidates, watch))
    except KeyboardInterrupt:
        report.interrupted = True
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(report.as_json(seconds), indent=2))
    else:
        first, *rest = report.lines(seconds)
        typer.echo((good if report.is_good else bad)(first))
        for line in rest:
            typer.echo(line)
        if not candidates:
            typer.echo("there is no instance to send", err=True)
    sys.exit(0 if report.is_good else 1)


def _look(sender: Sender, paths: list[Path], report: SendReport) -> list[Candidate]:
    """What there is to send; the rest is told to the report."""
    candidates = []
    for one in contents(paths):
        if isinstance(one, Skipped):
            report.skipped(one.name, one.reason)
            continue
        try:
            candidates.append(sender.look(one.name, one.content))
        except ValueError as error:
            report.skipped(one.name, str(error))
        except OSError as error:
            report.skipped(one.name, reason_of(error))
    report.wanted(len(candidates))
    return candidates


class _Watch:
    """Hears the sender, and shows it where somebody looks: a bar on a terminal, a line for each if wanted."""

    def __init__(self, report: SendReport, total: int, verbose: bool, as_json: bool) -> None:
        self._report = report
        self._verbose = verbose and not as_json
        self._bar: Progress | None = None
        self._counts = dict.fromkeys(Outcome, 0)
        self._moved = 0
        self._drawn = 0.0
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("sending", total=total, rate="")
        self._began = time.monotonic()

    def shown(self) -> AbstractContextManager[Any]:
        """While the sender is at work."""
        return self._bar or nullcontext()

    def moved(self, count: int) -> None:
        """So many bytes have left."""
        self._moved += count
        self._draw()

    def told(self, told: Told) -> None:
        """One instance has its outcome."""
        self._report.told(told)
        self._counts[told.outcome] += 1
        if self._verbose:
            colour = {Outcome.SENT: good, Outcome.WARNING: notable, Outcome.FAILED: bad}[told.outcome]
            line = f"{colour(f'{told.outcome:8}')} {told.code:5} {told.candidate.sop_instance_uid} "
            line += quiet(told.candidate.name) + (f": {told.reason}" if told.reason else "")
            if self._bar is not None and sys.stdout.isatty():
                self._bar.console.print(Text.from_ansi(line), soft_wrap=True)  # above the bar
            else:
                typer.echo(line)
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._bar is None or now - self._drawn < _REDRAW:
            return
        self._drawn = now
        stored = self._counts[Outcome.SENT] + self._counts[Outcome.WARNING]
        failed = self._counts[Outcome.FAILED]
        self._bar.update(
            self._task,
            completed=self._moved,
            description=f"{stored} stored" + (f", {failed} failed" if failed else ""),
            rate=f"{self._moved / 1e6 / max(now - self._began, 0.001):,.0f} MB/s",
        )
