"""DICOM judges that nobody here wrote: dicom3tools' `dciodvfy` and `dcentvfy`, PixelMed's SR validator."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.peers.process import binary

PIXELMED = (
    "/usr/share/java/pixelmed.jar",
    "/usr/share/java/bsh.jar",
)  # Debian: libpixelmed-java, libbsh-java


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


def dcentvfy_errors(paths: Sequence[Path]) -> list[str]:
    """The lines of `dcentvfy` that start with `Error`: where objects of one study contradict each other."""
    done = subprocess.run(
        [binary("dcentvfy", "dicom3tools"), *map(str, paths)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("Error")]


def sr_validator_errors(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """PixelMed's `Error` lines for each SR, all judged in one Java machine; its exit status is always 0."""
    limits = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("ExprOp", "TotalOp", "ExprGrp")]
    script = Path(__file__).with_name("validate_sr.bsh")
    done = subprocess.run(
        [
            binary("java", "default-jre-headless"),
            "-XX:MaxRAMPercentage=60",  # 400 findings take it some 8 GB
            *limits,
            "-cp",
            ":".join(PIXELMED),
            "bsh.Interpreter",
            str(script),
            *map(str, paths),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=480,
        check=False,
    )
    verdicts: dict[Path, list[str]] = {}
    for said in done.stdout.split("Filename: ")[1:]:
        name, *lines = said.splitlines()
        assert "IOD validation complete" in lines, f"PixelMed did not judge: {said[:2000]}"
        verdicts[Path(name)] = [line for line in lines if line.startswith("Error")]
    assert list(verdicts) == list(paths), f"PixelMed did not judge: {done.stderr[:2000]}"
    return verdicts
