"""`command`: a study revision enters a program of the vendor's, its `result.json` leaves.

The folder contract: the program finds `<series>/<sop>.dcm` in its input folder and `job.json`
beside it, and writes `result.json` (schema pons.result/1) and the artefacts that names into its
output folder. Exit status 0 means done, 75 (EX_TEMPFAIL, sysexits.h) try again, anything else
failed, with the end of its output kept. No shell; an environment of what is declared and PATH, LANG
and HOME; a hard timeout after which the whole process group is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections import Counter
from pathlib import Path
from string import Formatter

from pydantic import Field, field_validator

from engine.channel import Duration, Job, Processor, ProcessorContext, ProcessorType, Secret, Settings, Size
from engine.errors import ProcessorFailed, TryAgain
from engine.model import Report
from engine.processors.child import minimal_environment, run_child
from engine.processors.outcome import read_report

logger = logging.getLogger("pons.processors")

EX_TEMPFAIL = 75
PLACEHOLDERS = ("in", "out", "job", "table")
_IN_ALIASES = ("PONS_IN_DIR", "MERCURE_IN_DIR", "MONAI_INPUTPATH")
_OUT_ALIASES = ("PONS_OUT_DIR", "MERCURE_OUT_DIR", "MONAI_OUTPUTPATH")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class CommandSettings(Settings):
    """The block of a `command` processor."""

    command: tuple[str, ...] = Field(min_length=1, examples=[["run-model", "{in}", "{out}"]])
    """Program and arguments; `{in}`, `{out}` and `{job}` become paths, `{table}` the table's folder.
    `{{` and `}}` are literal braces."""
    timeout: Duration = 1200.0
    """How long one run may take; then its whole process group is killed."""
    environment: dict[str, str | Secret] = Field(
        default_factory=dict, examples=[{"MODEL_KEY": {"env": "MODEL_KEY"}, "THREADS": "4"}]
    )
    """Further environment variables; a value may be a secret by reference."""
    max_output: Size = 256 * 1024**2
    """The most that result.json and its artefacts may take together."""

    @field_validator("command")
    @classmethod
    def _placeholders_are_known(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not command[0].strip():
            raise ValueError("the first word of command is the program; it is empty")
        for argument in command:
            if "\0" in argument:
                raise ValueError("an argument contains a null character")
            try:
                fields = [(name, form, how) for _, name, form, how in Formatter().parse(argument)]
            except ValueError:
                raise ValueError(
                    f"'{argument}' has an unpaired brace; write {{{{ or }}}} for a literal one"
                ) from None
            for name, form, how in fields:
                if name is not None and (name not in PLACEHOLDERS or form or how):
                    known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                    raise ValueError(f"unknown placeholder {{{name}}} in '{argument}'; known are {known}")
        return command

    @field_validator("environment")
    @classmethod
    def _names_are_free(cls, environment: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in environment.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' is no name of an environment variable")
            if name in _IN_ALIASES + _OUT_ALIASES:
                raise ValueError(f"{name} is set by the engine; leave it out")
            if isinstance(value, str) and "\0" in value:
                raise ValueError(f"the value of {name} contains a null character")
        return environment


class Command:
    """Runs the program once per job."""

    def __init__(self, settings: CommandSettings, context: ProcessorContext) -> None:
        self._settings = settings
        self._name = context.name
        self._base = context.base

    async def process(self, job: Job) -> Report:
        """Run the program on one job.

        Raises:
            TryAgain: it ended with 75, or the machine could not start a process.
            ProcessorFailed: it could not be started, took too long, ended with another status, or
                left something that is no result; ``detail`` is the end of its output.
        """
        in_dir, out_dir = job.in_dir.resolve(), job.out_dir.resolve()
        job_file = in_dir.parent / "job.json"
        job_file.write_text(json.dumps(_job_document(job), indent=2), "utf-8")
        base = self._base.resolve()
        places = {"in": str(in_dir), "out": str(out_dir), "job": str(job_file), "table": str(base)}
        program, *arguments = (word.format_map(places) for word in self._settings.command)
        if os.sep in program:
            # A program named with a folder is found from the table's folder, not from where a job runs.
            program = str(base / program)
        ended = await run_child(
            [program, *arguments],
            cwd=in_dir.parent,
            environment=self._environment(in_dir, out_dir),
            seconds=self._settings.timeout,
        )
        if ended.exit_status == EX_TEMPFAIL:
            raise TryAgain(f"{self._name}: the program asks to be run again later", code=str(EX_TEMPFAIL))
        if ended.exit_status != 0:
            how = (
                f"exit status {ended.exit_status}"
                if ended.exit_status > 0
                else f"signal {-ended.exit_status}"
            )
            raise ProcessorFailed(
                f"{self._name}: the program ended with {how}; its last output is in the failure report",
                detail=ended.output,
            )
        try:
            report = await asyncio.to_thread(read_report, out_dir, self._settings.max_output)
        except ProcessorFailed as error:
            raise ProcessorFailed(f"{self._name}: {error}", detail=ended.output) from None
        logger.info(
            "program ended",
            extra={"pons": {"job": job.job_id, "processor": self._name, "findings": len(report.findings)}},
        )
        return report

    def _environment(self, in_dir: Path, out_dir: Path) -> dict[str, str]:
        environment = minimal_environment()
        try:
            for name, value in self._settings.environment.items():
                environment[name] = value.reveal() if isinstance(value, Secret) else value
        except LookupError as error:
            raise ProcessorFailed(f"{self._name}: {error.args[0]}") from None
        environment |= dict.fromkeys(_IN_ALIASES, str(in_dir))
        return environment | dict.fromkeys(_OUT_ALIASES, str(out_dir))


def _job_document(job: Job) -> dict[str, object]:
    """`job.json`: what a program needs to know of its job, and nothing of the patient."""
    series = Counter(instance.series_instance_uid for instance in job.study.instances)
    return {
        "version": "pons.job/1",
        "job_id": job.job_id,
        "attempt": job.attempt,
        "site": job.study.site,
        "study_instance_uid": job.study.study_instance_uid,
        "revision": job.study.revision,
        "series": [{"series_instance_uid": uid, "instances": count} for uid, count in series.items()],
    }


def _build(settings: CommandSettings, context: ProcessorContext) -> Processor:
    return Command(settings, context)


PROCESSOR = ProcessorType("command", CommandSettings, _build)
