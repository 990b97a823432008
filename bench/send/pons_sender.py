"""What `pons send` does between its arguments and its summary; run as `python -m bench.send.pons_sender`.

Arguments: a port, a called AE title, and one folder an association. Leaves on standard output: seconds from
the first look at a file to the last answer, CPU seconds of that, and how many were answered with success.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from channels.senders.c_store import SENDER
from engine.sender import Outcome, Told


class Count:
    """Counts success."""

    stored = 0

    def moved(self, count: int) -> None:
        """Nobody watches."""

    def told(self, told: Told) -> None:
        """One more, or not."""
        self.stored += told.outcome is Outcome.SENT
        if told.outcome is not Outcome.SENT:
            print(told.reason, file=sys.stderr)


def main() -> None:
    """Send, and say how it went."""
    port, called, *folders = sys.argv[1:]
    settings = SENDER.settings.model_validate(
        {
            "host": "127.0.0.1",
            "port": int(port),
            "ae_title": called,
            "calling_ae_title": "BENCH",
            "associations": len(folders),
        }
    )
    sender, count = SENDER.build(settings), Count()
    import pynetdicom.pdu  # noqa: F401  what every association needs, loaded before the clock starts

    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    found = [sender.look(path.name, path) for folder in folders for path in sorted(Path(folder).iterdir())]
    asyncio.run(sender.send(found, count))
    ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": ended - began, "cpu": cpu, "stored": count.stored}))


if __name__ == "__main__":
    main()
