"""Every command in the documentation is run, page by page, where the demo has run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.docs.blocks import LANGUAGES, Block, blocks, blocks_of, documents

COVERED = {  # commands that are not run a second time, and what runs them
    "make demo": "the fixture `demonstrated`, judged by test_demo.py",
    "make check": "`make test`, before it calls pytest",
    "make test": "whoever runs this test",
}
PAGES = sorted({block.document for block in blocks_of("sh")})


SERVING = re.compile(r"make run|pons run\b.*|python -m examples\.peers\..*")
"""A block that keeps its terminal; the rest of its page is typed in another."""
SERVES = re.compile(r"serving, Ctrl-C to stop|\"event\": \"engine running\"|listens on")


@contextmanager
def kept_serving(checkout: Any, command: str) -> Iterator[None]:
    """A command that serves, until the page has been read."""
    log = checkout.folder / f"{command.split()[0]}-{len(list(checkout.folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {checkout.moved(command)}"], cwd=checkout.folder, env=checkout.environment,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not SERVES.search(log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        process.wait(60)
    if command == "make run":
        assert log.read_text().splitlines()[-1] == "stopped"
    assert "Traceback" not in log.read_text()


def read(checkout: Any, page: list[Block]) -> None:
    """Run the blocks of one page in order; what follows a block that serves is typed in another terminal."""
    for number, block in enumerate(page):
        if SERVING.fullmatch(block.text.strip()):
            with kept_serving(checkout, block.text.strip()):
                read(checkout, page[number + 1 :])
            return
        script = "\n".join(line for line in block.text.splitlines() if line.strip() not in COVERED)
        done = checkout.bash(script)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(demonstrated: Any, page: str) -> None:
    read(demonstrated, [block for block in blocks_of("sh") if block.document == page])


def test_every_block_has_a_language_that_is_checked_or_is_text() -> None:
    unknown = [str(b) for page in documents() for b in blocks(page) if b.language not in LANGUAGES]
    assert unknown == []
