"""`quality_control`: a diffusion MR series enters, a report of numbers and rules leaves.

Measures completeness, geometry, diffusion scheme and image quality of the MR series in the job and
holds each number against a protocol file (the packaged `diffusion.yaml` by default). A series out
of protocol still gives a final report, its findings flagged; only what cannot be measured at all
raises ProcessorFailed. It says nothing of the person: technical quality control, no diagnosis.

The measuring is `engine.processors.quality`, run as a process of its own (see its `__main__`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from pydantic import Field

import engine
from engine.channel import Duration, Job, Processor, ProcessorContext, ProcessorType, Settings
from engine.errors import ProcessorFailed
from engine.model import Report
from engine.processors.child import minimal_environment, run_child
from engine.processors.outcome import read_report
from engine.processors.quality.protocol import load_protocol

logger = logging.getLogger("pons.processors")

PACKAGED_PROTOCOL = Path(__file__).with_name("diffusion.yaml")
_HOUSE = str(Path(engine.__file__).resolve().parent.parent)
_EX_DATAERR = 65
_LARGEST_OUTPUT = 64 * 1024 * 1024  # bytes: a report and a bounded picture


class QualityControlSettings(Settings):
    """The block of a `quality_control` processor."""

    protocol: Path | None = Field(None, examples=["protocols/dti.yaml"])
    """Protocol file, relative to the table's folder; the packaged `diffusion.yaml` when absent."""
    timeout: Duration = 600.0
    """How long the measuring may take."""
    max_frames: int = Field(20000, ge=1, le=1_000_000)
    """The most image planes a study may have; more is refused."""


class QualityControl:
    """Measures a job in a process of its own, so that the event loop never waits for it."""

    def __init__(self, settings: QualityControlSettings, context: ProcessorContext) -> None:
        """Read the protocol; raises ConfigurationError with every finding in it."""
        self._settings = settings
        self._name = context.name
        chosen = PACKAGED_PROTOCOL if settings.protocol is None else context.base / settings.protocol
        self._protocol = chosen.resolve()
        load_protocol(self._protocol)

    async def process(self, job: Job) -> Report:
        """Measure the series in ``job.in_dir``; leaves `montage.png` in ``job.out_dir``.

        Raises:
            ProcessorFailed: no MR image, an unreadable one, a protocol that has become invalid, or
                more time than ``timeout``; the message says which.
        """
        argv = [
            *(sys.executable, "-P", "-m", "engine.processors.quality"),
            *(str(job.in_dir.resolve()), str(job.out_dir.resolve())),
            *(str(self._protocol), str(self._settings.max_frames)),
        ]
        # The child must find this very engine, installed or not, and compute on one core: others wait.
        environment = minimal_environment() | {
            "PYTHONPATH": _HOUSE,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        ended = await run_child(
            argv, cwd=job.out_dir, environment=environment, seconds=self._settings.timeout
        )
        if ended.exit_status == _EX_DATAERR:
            raise ProcessorFailed(f"{self._name}: {ended.output.strip()}")
        if ended.exit_status != 0:
            raise ProcessorFailed(
                f"{self._name}: measuring ended with exit status {ended.exit_status}; "
                "the study may be damaged, or memory too small for it",
                detail=ended.output,
            )
        report = await asyncio.to_thread(read_report, job.out_dir, _LARGEST_OUTPUT)
        logger.info(
            "study measured",
            extra={"pons": {"job": job.job_id, "processor": self._name, "findings": len(report.findings)}},
        )
        return report


def _build(settings: QualityControlSettings, context: ProcessorContext) -> Processor:
    return QualityControl(settings, context)


PROCESSOR = ProcessorType("quality_control", QualityControlSettings, _build)
