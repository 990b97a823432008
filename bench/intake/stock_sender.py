"""DCMTK's `storescu` as it is installed: Nagle's algorithm on, each PDU's header written apart from its body.

Enter: a port, a kind and how many. Leaves: what `bench.intake.sender.send` says, with the start of the
program and its association in the time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from bench.intake import objects
from bench.intake.sender import EXPLICIT, PIXELS
from channels.transport.file_meta import encode_file_meta
from tests.peers.dcmtk import read_storescu_output
from tests.peers.process import binary


def send_stock(
    port: int,
    called: str,
    kind_name: str,
    run: int,
    sender: int,
    count: int,
    start: Barrier,
    said: Queue[tuple[float, float, int]],
) -> None:
    """A process that has `storescu` send `count` files on one association."""
    kind = objects.KINDS[kind_name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            meta = encode_file_meta(
                sop_class_uid=kind.sop_class_uid,
                sop_instance_uid=objects.sop_instance_uid(kind, run, sender, number),
                transfer_syntax_uid=EXPLICIT,
                calling_ae_title="BENCH",
                called_ae_title=called,
            )
            content = meta + objects.head(kind, run, sender, number) + PIXELS[: kind.pixels]
            (folder / f"{number:06}.dcm").write_bytes(content)
        argv = [binary("storescu", "dcmtk"), "-v", "-aet", "BENCH", "-aec", called, "+sd"]
        environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        start.wait(300)
        began = time.monotonic()
        done = subprocess.run(
            [*argv, "127.0.0.1", str(port), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        ended = time.monotonic()
    statuses = read_storescu_output(done.stdout)
    said.put((began, ended, list(statuses.values()).count("Success")))
