"""An operator who stays at the desk: `python desk.py` reads commands of `pons` and answers each.

One argument list a line, in JSON; the answer is a line with the exit code and what was said. The commands are
the command line's own, in a process with the namespace and the rights that it was started with; only that the
program is loaded once.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 120.0  # seconds for one command, on a busy machine


def main() -> None:
    """Until nobody asks any more."""
    from engine import cli

    for line in sys.stdin:
        sys.argv = ["pons", *json.loads(line)]
        said, code = io.StringIO(), 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                cli.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        print(json.dumps([code, said.getvalue()]), flush=True)


class Desk:
    """Such a process, from outside."""

    def __init__(self, started_by: Sequence[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*started_by, sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, *arguments: str) -> tuple[int, str]:
        """The exit code of a command, and what it said."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        late = threading.Timer(PATIENCE, self._process.kill)
        late.start()
        try:
            stdin.write(json.dumps(arguments) + "\n")
            stdin.flush()
            answer = stdout.readline()
        finally:
            late.cancel()
        assert answer, f"no answer to {arguments}"
        code, said = json.loads(answer)
        return code, said

    def close(self) -> None:
        """Nobody asks any more."""
        with self._process:
            pass  # closes both pipes, and waits for its end


if __name__ == "__main__":
    main()
