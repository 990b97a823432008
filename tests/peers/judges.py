"""DICOM judges that nobody here wrote: dicom3tools' `dciodvfy`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.peers.process import binary


def dciodvfy_errors(path: Path) -> list[str]:
    """The lines of `dciodvfy -new` that start with `Error`; its exit status says nothing reliable."""
    done = subprocess.run(
        [binary("dciodvfy", "dicom3tools"), "-new", "-filename", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("Filename: ") for line in lines), (
        f"dciodvfy did not judge: {done.stdout[:500]}"
    )
    return [line for line in lines if line.startswith("Error")]
