"""The REST API does what its description says, whatever is sent: schemathesis asks, nobody here wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rest_house import House, serving_rest

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "ignored_auth",
)
EXAMPLES = 40  # of each operation

pytestmark = pytest.mark.judges


@pytest.fixture
def house(tmp_path: Path, free_port: Any) -> Iterator[House]:
    with serving_rest(tmp_path / "rest", free_port(), free_port()) as running:
        yield running


def test_schemathesis_finds_no_500_and_no_answer_that_is_not_described(house: House, tmp_path: Path) -> None:
    marys = house.api("fuzz")
    marys.order(metadata={"PatientAge": 45})
    api = f"{house.engine.url}/api/v1"
    command = [
        *(str(SCHEMATHESIS), "run", f"{api}/openapi.json", "--url", api),
        *("--header", f"Authorization: Bearer {marys.token}"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "9"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--suppress-health-check", "all", "--no-color"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert _operations(done.stdout) > 10, done.stdout
    assert house.engine.defects() == []


def _operations(said: str) -> int:
    """How many operations were asked."""
    return int(said.partition("Operations:")[2].split()[0])
