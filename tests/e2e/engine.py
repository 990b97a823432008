"""The engine as an operator runs it: `pons run --table routes.yaml` in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import yaml

from engine.cli import main
from tests.e2e.nursery import Child, Nursery
from tests.peers.process import PeerProcess, wait_until

PONS = Path(sys.executable).with_name("pons")
# Commands that open the database beside the engine for a moment. They are run by `main` in this process: as
# a process of its own each would spend a second on nothing but starting. tests/docs runs them as such.
AT_THE_DESK = frozenset(
    ("apply", "audit", "client", "dead", "deliveries", "destinations", "explain", "history", "hold", "orders",
     "plan", "replay", "result", "retention", "studies", "trace")
)  # fmt: skip

# Of the real study: name and id, birth date as DICOM and as ISO 8601.
PATIENT_OF_THE_REAL_STUDY = ("PPB_PDL030", "19560101", "1956-01-01")


def _process(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status, output and errors of a command."""
    done = subprocess.run(
        [str(PONS), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _main(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """The same of the entry point called here."""
    said, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        mock.patch.object(sys, "argv", [str(PONS), *arguments]),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        pytest.raises(SystemExit) as left,
    ):
        main()
    status = left.value.code
    assert status is None or isinstance(status, int)
    return status or 0, *(one.buffer.getvalue().decode() for one in (said, complained))


class _Forked(PeerProcess):
    """An engine of the nursery."""

    def begin(self, argv: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Forked by a process that has made its imports."""
        if not _NURSERY:
            _NURSERY.append(Nursery())
        return _NURSERY[0].start(argv, self._output, environment)


_NURSERY: list[Nursery] = []
_UNDER_TEST: list[bool] = []


def pytest_configure() -> None:
    """This is a run of tests."""
    _UNDER_TEST.append(True)


def pytest_unconfigure() -> None:
    """It is over."""
    while _NURSERY:
        _NURSERY.pop().close()


class Engine:
    """One engine with its own table, data and ports.

    The table is given without `version` and `engine`; ``http_port`` and ``dicom_port`` are for it
    to use. ``patient_data`` are words that no log line and no command's output may hold.
    """

    def __init__(
        self,
        folder: Path,
        http_port: int,
        dicom_port: int,
        table: Mapping[str, Any],
        *,
        patient_data: Sequence[str] = PATIENT_OF_THE_REAL_STUDY,
        environment: Mapping[str, str] | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.table = folder / "routes.yaml"
        self.log = folder / "engine.log"
        self.http_port = http_port
        self.dicom_port = dicom_port
        self.url = f"http://127.0.0.1:{http_port}"
        self.patient_data = tuple(patient_data)
        self._environment = dict(environment or {})
        self._process: PeerProcess | None = None
        self._settings = {
            "data": "./data",
            "http": f"127.0.0.1:{http_port}",
            "reserve": "1MB",
            **(engine or {}),
        }
        self.write_table(table)

    def write_table(self, table: Mapping[str, Any]) -> None:
        """Put another table in the place of the present one; the next start reads it."""
        document = {"version": 1, "engine": self._settings, **table}
        self.table.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    # ── its life ──

    def start(self, answering: str = "/readyz") -> Engine:
        """Run and wait until it says it is ready; on a full disk only `/healthz` is answered with 200."""
        argv = [str(PONS), "run", "--table", str(self.table)]
        kind = _Forked if _UNDER_TEST else PeerProcess  # a bench measures the program itself
        self._process = kind("pons run", argv, self.log, self._environment)
        self._process.wait_ready(lambda: self.answers(answering) == 200, timeout=60)
        return self

    def answers(self, path: str) -> int:
        """The status of a GET, 0 when nothing listens."""
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def healthy(self) -> bool:
        """Alive and ready."""
        return (self.answers("/healthz"), self.answers("/readyz")) == (200, 200)

    def kill9(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self._process is not None
        self._process.kill9()
        self._process = None

    @property
    def pid(self) -> int:
        """Its process, the first of its group."""
        assert self._process is not None
        return self._process.process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive

    def signal_term(self) -> None:
        """SIGTERM, without waiting for what comes of it."""
        assert self._process is not None
        self._process.process.terminate()

    def signal_hup(self) -> None:
        """SIGHUP: read the table again, without waiting for what comes of it."""
        assert self._process is not None
        self._process.process.send_signal(signal.SIGHUP)

    def stop(self, timeout: float = 30.0) -> None:
        """SIGTERM; the engine must end by itself, with 0, and have logged nothing of a patient."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.process.terminate()
        try:
            status: int | str = process.process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = f"still running after {timeout:g} s"
        finally:
            process.kill9()
        assert status == 0, f"pons run ended with {status}: {process.text()[-3000:]}"

    def restart(self) -> Engine:
        """Stop cleanly when it runs, and start again on the same table and data."""
        self.stop()
        return self.start()

    def log_lines(self) -> list[str]:
        """What it has logged, over all its lives."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def defects(self) -> list[str]:
        """Log lines that carry a stack: something broke that nobody had foreseen."""
        return [line[:3000] for line in self.log_lines() if '"frames"' in line or "Traceback" in line]

    def check_log(self) -> None:
        """No patient data and no defect in the log."""
        lines = self.log_lines()
        assert lines, "the engine logged nothing"
        told = [line[:500] for line in lines if any(word in line for word in self.patient_data)]
        assert told == [], "patient data in the log"
        assert self.defects() == []

    # ── its commands ──

    def pons(self, *arguments: str, expect: int = 0) -> str:
        """Run a look command against this engine's table; its output."""
        asked, environment = [*arguments, "--table", str(self.table)], {**self._environment, "COLUMNS": "200"}
        run = _main if arguments[0] in AT_THE_DESK else _process
        status, said, complained = run(asked, environment)
        assert status == expect, f"{arguments}: {status}\n{said}\n{complained}"
        assert not [word for word in self.patient_data if word in said + complained]
        return said

    def json(self, *arguments: str) -> Any:
        """The same with --json."""
        return json.loads(self.pons(*arguments, "--json"))

    def studies(self) -> list[dict[str, Any]]:
        """What `pons studies --json` says."""
        found: list[dict[str, Any]] = self.json("studies")
        return found

    def deliveries(self) -> list[dict[str, Any]]:
        """What `pons deliveries --json` says."""
        found: list[dict[str, Any]] = self.json("deliveries")
        return found

    def delivery_states(self) -> dict[str, list[str]]:
        """Destination -> the states of its deliveries, oldest first."""
        found: dict[str, list[str]] = {}
        for delivery in reversed(self.deliveries()):
            found.setdefault(delivery["destination"], []).append(delivery["state"])
        return found

    def wait_for_states(self, expected: Mapping[str, Sequence[str]], timeout: float = 60.0) -> None:
        """Wait until each destination's deliveries are in exactly these states, oldest first."""
        wanted = {name: list(states) for name, states in expected.items()}
        counts = {
            f'pons_deliveries{{destination="{name}",state="{state}"}}': float(states.count(state))
            for name, states in wanted.items()
            for state in set(states)
        }

        def settled() -> bool:  # the metrics are asked first: a command costs a process
            assert self.defects() == []
            seen = {key: value for key, value in self.metrics().items() if key.startswith("pons_deliveries{")}
            return seen == counts and self.delivery_states() == wanted

        try:
            wait_until(settled, f"deliveries {wanted}", timeout, every=0.1)
        except pytest.fail.Exception:
            found = [[d["destination"], d["state"], d["attempts"], d["reason"]] for d in self.deliveries()]
            pytest.fail(f"waited {timeout:g} s for {wanted}, found {found}; {self.log_tail()}")

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics."""
        lines = httpx.get(f"{self.url}/metrics", timeout=5, trust_env=False).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name}

    def wait_for_study(self, timeout: float = 60.0, **facts: Any) -> dict[str, Any]:
        """Wait until a study with these facts is listed."""

        def listed() -> dict[str, Any] | None:
            for study in self.studies():
                if all(study.get(name) == value for name, value in facts.items()):
                    return study
            return None

        found = wait_until(listed, f"a study with {facts}", timeout, every=0.5)
        assert isinstance(found, dict)
        return found

    def trace(self, study_instance_uid: str) -> list[dict[str, str]]:
        """What `pons trace --json` says: events with at, what and text, in order."""
        found: list[dict[str, str]] = self.json("trace", study_instance_uid)
        return found

    # ── what it holds ──

    def instance_files(self, site: str = "*") -> list[Path]:
        """Every instance file it keeps."""
        return sorted((self.data / "instances").glob(f"{site}/*/*.dcm"))

    def landing_files(self) -> list[Path]:
        """What is on its way in, or was left there."""
        return sorted(path for path in (self.data / "landing").rglob("*") if path.is_file())

    def log_tail(self) -> str:
        """The end of its log, for a failure's message."""
        return "\n".join(self.log_lines()[-15:])


@contextlib.contextmanager
def running_engine(
    folder: Path, http_port: int, dicom_port: int, table: Mapping[str, Any], **options: Any
) -> Iterator[Engine]:
    """An engine for a whole module; leaving stops it and reads its log."""
    engine = Engine(folder, http_port, dicom_port, table, **options).start()
    try:
        yield engine
    finally:
        engine.stop()
    engine.check_log()


@pytest.fixture
def engine_process(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Engine]]:
    """Factory: ``engine_process(table, patient_data=…, environment=…, engine=…, start=True)``.

    ``table`` is a mapping, or a function of the DICOM port that gives one. At the end each engine
    is stopped by SIGTERM, must end with 0, and its log is read for patient data and tracebacks.
    """
    running: list[Engine] = []

    def make(
        table: Mapping[str, Any] | Callable[[int], Mapping[str, Any]], *, start: bool = True, **options: Any
    ) -> Engine:
        dicom_port = free_port()
        engine = Engine(
            tmp_path / f"engine-{len(running)}",
            free_port(),
            dicom_port,
            table(dicom_port) if callable(table) else table,
            **options,
        )
        running.append(engine)
        return engine.start() if start else engine

    yield make
    for engine in running:
        engine.stop()
        engine.check_log()
