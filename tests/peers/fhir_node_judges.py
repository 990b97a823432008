"""Two more FHIR R4 judges that nobody here wrote, in Node: Medplum's validateResource and FHIR.js."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.peers.process import binary

HERE = Path(__file__).parent


def node_fhir_errors(resources: Sequence[dict[str, Any]]) -> list[list[str]]:
    """What the two find wrong with each resource and with what it contains; one process for all."""
    done = subprocess.run(
        [binary("node", "nodejs"), str(HERE / "validate_fhir.mjs")],
        input=json.dumps(list(resources)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[list[str]] = json.loads(done.stdout)
    assert len(found) == len(resources)
    return found
