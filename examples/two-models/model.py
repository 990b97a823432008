"""A stand-in for a model, in the folder contract: `IN/<series>/*.dcm` in, `OUT/result.json` out.

    python3 model.py NAME IN OUT

It counts what it was given. Put a model's own call in its place; the result document stays.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DIMENSIONLESS = {"value": "1", "scheme": "UCUM", "meaning": "no units"}


def main(name: str, in_dir: Path, out_dir: Path) -> None:
    """Count the images and write the result document."""
    images = {"value": "PONS-IMG", "scheme": "99PONS", "meaning": "Images read"}
    count = len(list(in_dir.rglob("*.dcm")))
    result = {
        "version": "pons.result/1",
        "status": "final",
        "title": f"Reading by the {name} model",
        "findings": [{"concept": images, "value": str(count), "unit": DIMENSIONLESS}],
        "algorithm": {"name": name, "version": "1.0"},
        "disclaimer": "An example, not for clinical use",
    }
    (out_dir / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
