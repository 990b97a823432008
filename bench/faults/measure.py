"""The rig's processor: says which instances it was given, as one number.

    python measure.py IN OUT

Instance number n is bit n of the finding's value. The report is preliminary while fewer instances
are there than the acquisition announced (ImagesInAcquisition). Uses no library: it runs thousands of
times. A full disk is not the study's fault: exit 75 asks to be run again.
"""

import json
import re
import sys
from pathlib import Path

INSTANCE_NUMBER = re.compile(rb"\x20\x00\x13\x00IS(..)([0-9 ]{1,12})", re.DOTALL)
IMAGES_IN_ACQUISITION = re.compile(rb"\x20\x00\x02\x10IS(..)([0-9 ]{1,12})", re.DOTALL)


def number(pattern: "re.Pattern[bytes]", content: bytes) -> int:
    """The value of an element of VR IS in Explicit VR Little Endian."""
    found = pattern.search(content)
    if found is None:
        raise SystemExit("an instance lacks what the rig writes into each")
    return int(found[2][: int.from_bytes(found[1], "little")])


def main(in_dir: Path, out_dir: Path) -> int:
    """Read all, report once."""
    mask, planned = 0, 0
    for path in in_dir.glob("*/*.dcm"):
        content = path.read_bytes()
        mask |= 1 << number(INSTANCE_NUMBER, content)
        planned = max(planned, number(IMAGES_IN_ACQUISITION, content))
    result = {
        "version": "pons.result/1",
        "status": "final" if mask.bit_count() >= planned else "preliminary",
        "title": "Instances seen",
        "findings": [
            {
                "concept": {"value": "MASK", "scheme": "99RIG", "meaning": "Instances seen"},
                "value": str(mask),
                "unit": {"value": "1", "scheme": "UCUM", "meaning": "no units"},
            }
        ],
        "algorithm": {"name": "rig", "version": "1"},
    }
    try:
        (out_dir / "result.json").write_text(json.dumps(result))
    except OSError:
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
