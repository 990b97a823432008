"""command: real programs, well-behaved and not."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from engine.channel import Job, ProcessorContext
from engine.errors import ProcessorFailed, TryAgain
from engine.model import Report
from engine.processors.command import PROCESSOR, CommandSettings

RESULT = {"algorithm": {"name": "candidate", "version": "2.1"}}
MM = {"value": "mm", "scheme": "UCUM", "meaning": "millimeter"}
FINDING = {"concept": {"value": "x", "scheme": "99X", "meaning": "X"}, "value": 3.5, "unit": MM}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
PICTURE = {"name": "p.png", "media_type": "image/png"}


@pytest.fixture
def one_job(job: Callable[[Path], Job], tmp_path: Path) -> Job:
    (tmp_path / "work" / "in" / "1.2.3").mkdir(parents=True)
    (tmp_path / "work" / "in" / "1.2.3" / "1.2.3.0.dcm").write_bytes(b"an instance")
    return job(tmp_path / "work" / "in")


@pytest.fixture
def run(one_job: Job, tmp_path: Path) -> Callable[..., Any]:
    """A function that builds the processor from a block of the table and runs it on the job."""

    async def start(*command: str, **settings: Any) -> Report:
        block = CommandSettings.model_validate({"command": command, **settings})
        return await PROCESSOR.build(block, ProcessorContext("model", tmp_path)).process(one_job)

    return start


@pytest.fixture
def run_python(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a few lines of Python that find IN, OUT and JOB ready."""
    head = "import json,os,sys,time,pathlib\nIN,OUT,JOB=map(pathlib.Path,sys.argv[1:])\n"

    async def start(lines: str, **settings: Any) -> Report:
        script = (head + lines).replace("{", "{{").replace("}", "}}")
        return await run(sys.executable, "-c", script, "{in}", "{out}", "{job}", **settings)

    return start


def leave(document: object) -> str:
    """Python that writes a document to result.json."""
    return f"(OUT/'result.json').write_text({json.dumps(document)!r})\n"


async def test_a_program_that_ends_well_gives_its_report(
    run_python: Callable[..., Any], one_job: Job
) -> None:
    (one_job.out_dir / "p.png").write_bytes(PNG)
    report = await run_python(
        leave({**RESULT, "findings": [FINDING], "artefacts": [PICTURE], "impression": "one thing found"})
    )
    assert report.impression == "one thing found"
    assert report.findings[0].value == Decimal("3.5")
    assert [artefact.name for artefact in report.artefacts] == ["p.png"]


@pytest.mark.parametrize("written", ["3.50", '"3.50"'])
async def test_decimals_are_kept(run_python: Callable[..., Any], written: str) -> None:
    document = json.dumps({**RESULT, "findings": [FINDING]}).replace("3.5", written)
    report = await run_python(f"(OUT/'result.json').write_text({document!r})")
    assert str(report.findings[0].value) == "3.50"
    assert isinstance(report.findings[0].value, Decimal)


async def test_text_that_looks_like_a_number_stays_text_without_a_unit(
    run_python: Callable[..., Any],
) -> None:
    finding = {"concept": FINDING["concept"], "value": "007"}
    report = await run_python(leave({**RESULT, "findings": [finding]}))
    assert report.findings[0].value == "007"


async def test_the_program_learns_its_job_and_nothing_of_the_patient(
    run_python: Callable[..., Any], one_job: Job
) -> None:
    await run_python("(OUT/'seen.json').write_text(JOB.read_text())\n" + leave(RESULT))
    assert json.loads((one_job.out_dir / "seen.json").read_text()) == {
        "version": "pons.job/1",
        "job_id": "job-1",
        "attempt": 1,
        "site": "st-marys",
        "study_instance_uid": "1.2",
        "revision": 3,
        "series": [{"series_instance_uid": "1.2.3", "instances": 1}],
    }


async def test_the_environment_is_what_is_declared_and_little_else(
    run_python: Callable[..., Any], one_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_ENGINE", "x")
    monkeypatch.setenv("MODEL_TOKEN", "t-1")
    await run_python(
        "(OUT/'seen.json').write_text(json.dumps(dict(os.environ)))\n" + leave(RESULT),
        environment={"MODEL": "large", "TOKEN": {"env": "MODEL_TOKEN"}},
    )
    seen = json.loads((one_job.out_dir / "seen.json").read_text())
    paths = {
        name: seen.pop(name) for name in list(seen) if name.split("_")[0] in ("PONS", "MERCURE", "MONAI")
    }
    in_dir, out_dir = str(one_job.in_dir), str(one_job.out_dir)
    assert paths == {
        **{"PONS_IN_DIR": in_dir, "MERCURE_IN_DIR": in_dir, "MONAI_INPUTPATH": in_dir},
        **{"PONS_OUT_DIR": out_dir, "MERCURE_OUT_DIR": out_dir, "MONAI_OUTPUTPATH": out_dir},
    }
    assert (seen.pop("MODEL"), seen.pop("TOKEN")) == ("large", "t-1")
    assert set(seen) <= {"PATH", "LANG", "HOME", "LC_CTYPE"}  # Python sets LC_CTYPE for itself


async def test_no_shell_reads_the_arguments(run: Callable[..., Any], one_job: Job) -> None:
    program = one_job.in_dir.parent / "program"
    program.write_text('#!/bin/sh\nprintf %s "$1" > "$2/seen"\nprintf %s "$3" > "$2/result.json"\n')
    program.chmod(0o755)
    await run(
        str(program), "$(id); `id` {{x}} *", "{out}", json.dumps(RESULT).replace("{", "{{").replace("}", "}}")
    )
    assert (one_job.out_dir / "seen").read_text() == "$(id); `id` {x} *"


async def test_a_program_named_with_a_folder_is_found_from_the_tables_folder(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "model.sh").write_text(f"#!/bin/sh\necho '{json.dumps(RESULT)}' > \"$1/result.json\"\n")
    (tmp_path / "model.sh").chmod(0o755)
    report = await run("./model.sh", "{out}")
    assert report.algorithm.name == "candidate"


# ── how a run can end badly ─────────────────────────────────────────────────────────────────────


async def test_a_script_beside_the_table_is_found_from_wherever_a_job_runs(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text("import shutil, sys\nshutil.copy(sys.argv[1], sys.argv[2])\n")
    (tmp_path / "made.json").write_text(json.dumps(RESULT))
    report = await run(sys.executable, "{table}/model.py", "{table}/made.json", "{out}/result.json")
    assert report.algorithm.name == RESULT["algorithm"]["name"]


async def test_status_75_asks_to_be_run_again(run_python: Callable[..., Any]) -> None:
    with pytest.raises(TryAgain, match="model: the program asks to be run again later"):
        await run_python("sys.exit(75)")


async def test_any_other_status_fails_and_keeps_the_output(run_python: Callable[..., Any]) -> None:
    with pytest.raises(ProcessorFailed, match="model: the program ended with exit status 3") as caught:
        await run_python("print('to out'); sys.stdout.flush(); print('to err', file=sys.stderr); sys.exit(3)")
    assert caught.value.detail == "to out\nto err\n"
    assert "to err" not in str(caught.value)


async def test_a_crash_is_told_by_its_signal(run_python: Callable[..., Any]) -> None:
    with pytest.raises(ProcessorFailed, match="ended with signal 9"):
        await run_python("os.kill(os.getpid(), 9)")


async def test_only_the_end_of_a_long_output_is_kept(run_python: Callable[..., Any]) -> None:
    with pytest.raises(ProcessorFailed) as caught:
        await run_python(
            "[sys.stderr.write('x' * 1000000) for _ in range(20)]; print('the end'); sys.exit(1)"
        )
    assert len(caught.value.detail) == 64 * 1024
    assert caught.value.detail.endswith("the end\n")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("no-such-program", "program 'no-such-program' was not found; install it, or give its full path"),
        ("./absent.sh", "was not found; install it"),
        ("./plain.txt", "may not be executed; make it executable"),
        ("./headless", "cannot be started: Exec format error; a script needs a #! line"),
    ],
)
async def test_a_program_that_cannot_start_says_what_to_do(
    run: Callable[..., Any], tmp_path: Path, program: str, said: str
) -> None:
    (tmp_path / "plain.txt").write_text("x")
    (tmp_path / "headless").write_text("x")
    (tmp_path / "headless").chmod(0o755)
    with pytest.raises(ProcessorFailed) as caught:
        await run(program)
    assert said in str(caught.value)


async def test_a_secret_that_is_not_set_is_named_and_not_shown(run_python: Callable[..., Any]) -> None:
    with pytest.raises(ProcessorFailed, match="model: environment variable NOT_SET_ANYWHERE is not set"):
        await run_python("", environment={"TOKEN": {"env": "NOT_SET_ANYWHERE"}})


# ── nothing outlives its run ────────────────────────────────────────────────────────────────────

# A child with a grandchild that ignores SIGTERM, as a launcher's worker may.
FAMILY = """
import signal, subprocess
code = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
worker = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
worker.stdout.readline()
(OUT/'pids.new').write_text(f'{os.getpid()} {worker.pid}')
(OUT/'pids.new').rename(OUT/'pids')
"""


async def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(out_dir: Path) -> list[int]:
    pids = [int(pid) for pid in (out_dir / "pids").read_text().split()]
    assert len(pids) == 2
    return pids


async def test_a_timeout_ends_the_program_and_all_it_started(
    run_python: Callable[..., Any], one_job: Job
) -> None:
    with pytest.raises(ProcessorFailed, match=r"was ended after 5 s; raise timeout") as caught:
        await run_python(FAMILY + "print('working', flush=True); time.sleep(600)", timeout="5s")
    await wait_for(lambda: not any(alive(pid) for pid in family(one_job.out_dir)))
    assert caught.value.detail == "working\n"


async def test_cancelling_ends_the_program_and_all_it_started(
    run_python: Callable[..., Any], one_job: Job
) -> None:
    running = asyncio.create_task(run_python(FAMILY + "time.sleep(600)"))
    await wait_for((one_job.out_dir / "pids").exists)
    assert all(alive(pid) for pid in family(one_job.out_dir))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await wait_for(lambda: not any(alive(pid) for pid in family(one_job.out_dir)))


async def test_what_a_program_leaves_running_is_ended(run_python: Callable[..., Any], one_job: Job) -> None:
    report = await run_python(FAMILY + leave(RESULT))
    assert report.algorithm.version == "2.1"
    await wait_for(lambda: not any(alive(pid) for pid in family(one_job.out_dir)))


# ── what it leaves is not trusted ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "algorithm: field required"),
        ({**RESULT, "version": "pons.result/9"}, "version: input should be 'pons.result/1'"),
        ({**RESULT, "colour": "red"}, "colour: extra inputs are not permitted"),
        ({**RESULT, "findings": [FINDING, {"value": 1}]}, "findings[1].concept: field required"),
        ({**RESULT, "findings": [{**FINDING, "unit": None}]}, "findings[0]: a number needs a UCUM unit"),
        (
            {**RESULT, "findings": [{**FINDING, "value": "many"}]},
            "findings[0]: the value has a unit, so it must",
        ),
        (
            {**RESULT, "findings": [{**FINDING, "value": "Infinity"}]},
            "findings[0].value.number: input should be a finite number",
        ),
        (
            {**RESULT, "findings": [{**FINDING, "value": "1e999999"}]},
            "findings[0].value: more than 16 digits",
        ),
        ({**RESULT, "findings": [{**FINDING, "flag": "X"}]}, "findings[0].flag: input should be 'N'"),
        (
            {**RESULT, "artefacts": [{**PICTURE, "name": "../p.png"}]},
            "artefacts[0].name: string should match",
        ),
        ({**RESULT, "artefacts": [{**PICTURE, "path": "/etc/passwd"}]}, "artefacts[0].path: leave it out"),
        ({**RESULT, "artefacts": [{**PICTURE, "sha256": "00"}]}, "artefacts[0].sha256: does not match p.png"),
        ({**RESULT, "artefacts": [PICTURE, PICTURE]}, "artefacts: a name is listed twice"),
        ({**RESULT, "artefacts": [{**PICTURE, "name": "absent.png"}]}, "the processor left no absent.png"),
        (
            {**RESULT, "artefacts": [{"name": "p.png", "media_type": "application/pdf"}]},
            "artefacts[0]: p.png is no application/pdf file",
        ),
        ({**RESULT, "artefacts": [{**PICTURE, "name": "link.png"}]}, "link.png cannot be opened"),
        ({**RESULT, "artefacts": [{**PICTURE, "name": "pipe.png"}]}, "pipe.png is not a regular file"),
        ({**RESULT, "artefacts": [{**PICTURE, "name": "folder.png"}]}, "folder.png is not a regular file"),
    ],
)
async def test_a_result_that_does_not_follow_the_schema_is_told_where(
    run_python: Callable[..., Any], one_job: Job, tmp_path: Path, document: object, said: str
) -> None:
    (tmp_path / "elsewhere.png").write_bytes(PNG)
    (one_job.out_dir / "p.png").write_bytes(PNG)
    (one_job.out_dir / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (one_job.out_dir / "folder.png").mkdir()
    os.mkfifo(one_job.out_dir / "pipe.png")
    with pytest.raises(ProcessorFailed) as caught:
        await run_python(leave(document))
    assert said in str(caught.value)
    assert str(caught.value).startswith("model: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "result.json:1:1: not valid JSON"),
        (b'{\n "algorithm": oops}', "result.json:2:15: not valid JSON"),
        (b"\xff\xfe", "result.json is not UTF-8 text"),
        (b'{"value": NaN}', "NaN is no JSON number"),
        (b"[" * 200_000, "not usable JSON"),
        (b"[1, 2]", "document: input should be"),
    ],
)
async def test_a_result_that_is_no_json_is_told_where(
    run_python: Callable[..., Any], one_job: Job, content: bytes, said: str
) -> None:
    (one_job.out_dir / "result.json").write_bytes(content)
    with pytest.raises(ProcessorFailed) as caught:
        await run_python("print('I said this')")
    assert said in str(caught.value)
    assert caught.value.detail == "I said this\n"


async def test_a_result_that_is_missing_is_asked_for(run_python: Callable[..., Any]) -> None:
    with pytest.raises(
        ProcessorFailed, match=r"model: the processor left no result\.json in its output folder"
    ):
        await run_python("")


async def test_values_are_not_repeated_in_an_error(run_python: Callable[..., Any]) -> None:
    with pytest.raises(ProcessorFailed) as caught:
        await run_python(leave({**RESULT, "status": "Doe^Jane", "findings": [{"value": ["Doe^Jane"]}]}))
    assert "Doe" not in str(caught.value)


async def test_output_past_its_limit_is_refused(run_python: Callable[..., Any], one_job: Job) -> None:
    (one_job.out_dir / "p.png").write_bytes(PNG + bytes(2000))
    with pytest.raises(ProcessorFailed, match=r"p\.png takes the output past its limit; raise max_output"):
        await run_python(leave({**RESULT, "artefacts": [PICTURE]}), max_output="2kB")


# ── what the table check refuses ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"command": []}, "at least 1 item"),
        ({"command": [""]}, "the first word of command is the program"),
        (
            {"command": ["run", "{input}"]},
            "unknown placeholder {input} in '{input}'; known are {in}, {out}, {job}, {table}",
        ),
        ({"command": ["run", "{in.parent}"]}, "unknown placeholder {in.parent}"),
        ({"command": ["run", "{in!r}"]}, "unknown placeholder {in}"),
        ({"command": ["run", "{}"]}, "unknown placeholder {}"),
        ({"command": ["run", "{in"]}, "has an unpaired brace"),
        ({"command": ["run", "a\0b"]}, "null character"),
        ({"command": ["run"], "timeout": 20}, "a duration needs a unit"),
        ({"command": ["run"], "environment": {"A-B": "x"}}, "'A-B' is no name of an environment variable"),
        ({"command": ["run"], "environment": {"PONS_IN_DIR": "x"}}, "PONS_IN_DIR is set by the engine"),
        ({"command": ["run"], "shell": True}, "shell"),
    ],
)
def test_a_mistaken_block_is_refused_when_the_table_is_checked(block: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CommandSettings.model_validate(block)
    assert said in str(caught.value)


def test_the_defaults_are_those_of_the_documentation() -> None:
    block = CommandSettings.model_validate({"command": ["run-model", "{in}", "{out}"]})
    assert (block.timeout, block.max_output, block.environment) == (1200.0, 256 * 1024**2, {})
