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

console = Console(highlight=False)


class DemoFailed(Exception):
    """The demo did not end as it should; the message says why and where to look."""


def pons(*arguments: str) -> str:
    """Run a command of the engine and give what it printed."""
    done = subprocess.run([PONS, *arguments, "--table", TABLE], capture_output=True, text=True)
    if done.returncode:
        raise DemoFailed(f"pons {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def acknowledged(study: str) -> set[str]:
    """The destinations that have acknowledged a result of this study; a dead letter ends the demo."""
    done = set()
    for delivery in json.loads(pons("deliveries", "--study", study, "--json")):
        if delivery["state"] == "dead":
            raise DemoFailed(f"{delivery['destination']} gave up: {delivery['reason']}")
        if delivery["state"] == "delivered":
            done.add(delivery["destination"])
    return done


def wait_for_acknowledgements(
    cast: Cast, studies: list[str], destinations: set[str], progress: Progress, task: TaskID
) -> None:
    """Return once every destination has acknowledged every study."""
    deadline = time.monotonic() + DEADLINE
    while True:
        cast.check()
        missing = {study: destinations - acknowledged(study) for study in studies}
        open_ = sum(len(names) for names in missing.values())
        progress.update(task, completed=len(studies) * len(destinations) - open_)
        if not open_:
            return
        if time.monotonic() > deadline:
            names = "; ".join(f"study {study}: {', '.join(sorted(m))}" for study, m in missing.items() if m)
            raise DemoFailed(f"not acknowledged after {DEADLINE:.0f} s: {names}; see {DEMO}/engine.log")
        time.sleep(0.25)


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
        making = progress.add_task("phantom studies", total=2)
        studies: dict[str, list[Path]] = {}
        for number, name in enumerate(("Phantom^Ada", "Phantom^Bela"), start=1):
            uid = generate_uid()
            studies[uid] = make_phantom(
                DEMO / "sent" / str(number),
                seed=number,
                patient_id=f"DEMO-{number}",
                patient_name=name,
                study_instance_uid=uid,
            )
            progress.advance(making)
        for (files, send), description in zip(
            zip(studies.values(), (by_c_store, by_stow_rs), strict=True),
            ("sent by C-STORE", "sent by STOW-RS"),
            strict=True,
        ):
            sending = progress.add_task(description, total=len(files))
            for count in send(files, table):
                progress.advance(sending, count)
        destinations = set(cast.destinations)
        waiting = progress.add_task("acknowledged", total=len(studies) * len(destinations))
        wait_for_acknowledgements(cast, list(studies), destinations, progress, waiting)
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
    table = yaml.safe_load(TABLE.read_text())
    started = time.monotonic()
    try:
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
