"""The demo: a whole hospital on loopback, two studies in, every result out and acknowledged.

    python -m examples.demo [--serve]

Enters: `routes.yaml`, which names every address used here. Leaves, under `demo/`: what each peer
received (`received/pacs/*.dcm`, `received/his/*.hl7`, `received/fhir/*.json`,
`received/webhook/*.json`), the story of both studies (`trace.txt`) and the logs of all that ran.
Exit 0 when every destination acknowledged both studies, 1 with the reason otherwise.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from pydicom.uid import generate_uid
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from examples.demo.cast import Cast, CastError
from examples.demo.senders import SendFailed, by_c_store, by_stow_rs
from examples.phantom import make_phantom

TABLE = Path("routes.yaml")
DEMO = Path("demo")
PONS = Path(sys.executable).with_name("pons")
DEADLINE = 120.0  # seconds from the last instance sent to the last acknowledgement
# One study with fewer slices and directions than the protocol asks for, one that keeps it.
STUDIES: list[dict[str, Any]] = [
    {"slices": 40, "volumes": 12, "patient_id": "DEMO-1", "patient_name": "Phantom^Ada"},
    {"slices": 66, "volumes": 32, "patient_id": "DEMO-2", "patient_name": "Phantom^Bela"},
]

console = Console(highlight=False)


class DemoFailed(Exception):
    """The demo did not end as it should; the message says why and where to look."""


def pons(*arguments: str) -> str:
    """Run a command of the engine and give what it printed."""
    done = subprocess.run([PONS, *arguments, "--table", TABLE], capture_output=True, text=True)
    if done.returncode:
        raise DemoFailed(f"pons {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def read_table() -> dict[str, Any]:
    """The table as plain data, once the engine has found nothing wrong with it."""
    checked = subprocess.run([PONS, "check", TABLE], capture_output=True, text=True)
    if checked.returncode:
        raise DemoFailed(f"{TABLE} cannot be used\n{checked.stdout}{checked.stderr}".strip())
    return dict(yaml.safe_load(TABLE.read_text()))


def acknowledged() -> set[tuple[str, str]]:
    """Study and destination of every acknowledged delivery; a dead letter ends the demo."""
    done = set()
    for delivery in json.loads(pons("deliveries", "--limit", "1000", "--json")):
        if delivery["state"] == "dead":
            raise DemoFailed(f"{delivery['destination']} gave up: {delivery['reason']}")
        if delivery["state"] == "delivered":
            done.add((delivery["study"], delivery["destination"]))
    return done


def wait_for_acknowledgements(
    cast: Cast, expected: set[tuple[str, str]], progress: Progress, task: TaskID
) -> None:
    """Return once every destination has acknowledged every study."""
    deadline = time.monotonic() + DEADLINE
    while missing := expected - acknowledged():
        cast.check()
        progress.update(task, completed=len(expected) - len(missing))
        if time.monotonic() > deadline:
            what = "; ".join(f"{destination} for study {study}" for study, destination in sorted(missing))
            raise DemoFailed(f"not acknowledged after {DEADLINE:.0f} s: {what}; see {DEMO}/engine.log")
        time.sleep(0.5)
    progress.update(task, completed=len(expected))


def demonstrate(cast: Cast, table: dict[str, Any]) -> None:
    """Make two phantom studies, send them, wait for the answers, tell the story."""
    progress = Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with progress:
        studies: dict[str, list[Path]] = {}
        making = progress.add_task("phantom studies", total=len(STUDIES))
        for number, study in enumerate(STUDIES, start=1):
            uid = generate_uid()
            folder = DEMO / "sent" / str(number)
            studies[uid] = make_phantom(
                folder, seed=number, study_instance_uid=uid, accession_number=f"DEMO-A{number}", **study
            )
            progress.advance(making)
        for files, (send, how) in zip(
            studies.values(), ((by_c_store, "C-STORE"), (by_stow_rs, "STOW-RS")), strict=True
        ):
            sending = progress.add_task(f"sent by {how}", total=len(files))
            for count in send(files, table):
                progress.advance(sending, count)
        expected = {(study, destination) for study in studies for destination in cast.destinations}
        waiting = progress.add_task("acknowledged", total=len(expected))
        wait_for_acknowledgements(cast, expected, progress, waiting)
    story = "\n".join(pons("trace", study) for study in studies)
    (DEMO / "trace.txt").write_text(story)
    console.print(story, soft_wrap=True, markup=False)


def report_received() -> None:
    """Say what each peer holds; anything missing is a failure."""
    for peer, suffix in (("pacs", "dcm"), ("his", "hl7"), ("fhir", "json"), ("webhook", "json")):
        files = sorted((DEMO / "received" / peer).glob(f"*.{suffix}"))
        if not files:
            raise DemoFailed(f"{peer} acknowledged but filed nothing; see {DEMO}/{peer}.log")
        console.print(f"{len(files):4} files in {DEMO}/received/{peer}/")


def on_signal(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does, so that all it started is stopped."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo from the checkout; 0 when all went as it should."""
    parser = argparse.ArgumentParser(description="a hospital on loopback")
    parser.add_argument("--serve", action="store_true", help="keep serving until Ctrl-C")
    serve = parser.parse_args().serve
    signal.signal(signal.SIGTERM, on_signal)
    started = time.monotonic()
    try:
        table = read_table()
        with Cast(table, TABLE, DEMO, PONS) as cast:
            demonstrate(cast, table)
            report_received()
            console.print(f"the story is in {DEMO}/trace.txt; it took {time.monotonic() - started:.0f} s")
            if serve:
                console.print(f"serving, Ctrl-C to stop: {cast.addresses}")
                cast.watch()
    except (DemoFailed, CastError, SendFailed) as error:
        console.print(f"the demo failed: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 0 if serve else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
