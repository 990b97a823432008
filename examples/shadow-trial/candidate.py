"""A processor in the folder contract: `IN/<series>/*.dcm` in, `OUT/result.json` out, exit code 0.

    python3 candidate.py IN OUT

It measures the signal of each series against its background, the least a model can do. Exit 75
asks to be run again, any other code makes a failure report of what was written to stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

SIGNAL_TO_BACKGROUND = {"value": "PONS-STB", "scheme": "99PONS", "meaning": "Signal to background ratio"}
DIMENSIONLESS = {"value": "1", "scheme": "UCUM", "meaning": "no units"}


def ratio(pixels: np.ndarray[Any, Any]) -> float:
    """Mean of the brighter half over the mean of the darkest tenth, which is air."""
    levels = np.sort(pixels, axis=None).astype(float)
    return float(levels[levels.size // 2 :].mean() / max(levels[: levels.size // 10].mean(), 1.0))


def findings(in_dir: Path) -> list[dict[str, Any]]:
    """One finding a series that has pixels."""
    found = []
    for series in sorted(path for path in in_dir.iterdir() if path.is_dir()):
        instances = [pydicom.dcmread(path) for path in sorted(series.glob("*.dcm"))]
        values = [ratio(instance.pixel_array) for instance in instances if "PixelData" in instance]
        if values:
            found.append(
                {
                    "concept": SIGNAL_TO_BACKGROUND,
                    "value": f"{np.median(values):.2f}",
                    "unit": DIMENSIONLESS,
                    "group": f"series {instances[0].get('SeriesNumber', series.name)}",
                }
            )
    return found


def main(in_dir: Path, out_dir: Path) -> None:
    """Measure and write the result document."""
    result = {
        "version": "pons.result/1",
        "status": "final",
        "title": "Candidate measurement",
        "findings": findings(in_dir),
        "algorithm": {"name": "candidate", "version": "0.1"},
        "disclaimer": "For comparison only",
    }
    (out_dir / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
