"""pynetdicom's sender as its documentation shows it; run as `python -m bench.send.plain_sender`.

Arguments and output are those of `bench.send.pons_sender`; each association has a thread.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from bench.intake.objects import CT, MR, MULTI_FRAME


def send(port: int, called: str, folder: Path, stored: list[int]) -> None:
    """Every file of a folder on one association."""
    entity = AE("BENCH")
    for sop_class in (CT, MR, MULTI_FRAME):
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    answers = (association.send_c_store(path) for path in sorted(folder.iterdir()))
    stored.extend(1 for answer in answers if answer.get("Status") == 0)
    association.release()


def main() -> None:
    """Send, and say how it went."""
    port, called, *folders = sys.argv[1:]
    stored: list[int] = []
    threads = [
        threading.Thread(target=send, args=(int(port), called, Path(folder), stored)) for folder in folders
    ]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": ended - began, "cpu": cpu, "stored": len(stored)}))


if __name__ == "__main__":
    main()
