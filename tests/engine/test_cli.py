"""The command line as a process: exit codes, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from engine.cli import COMMANDS, application

ROOT = Path(__file__).parents[2]
BROKEN = ROOT / "tests/engine/broken_tables"


def pons(*arguments: str | Path, code: str = "main()") -> subprocess.CompletedProcess[str]:
    program = f"from engine.cli import main; {code}"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def defect(work: str) -> str:
    """A program whose one command does this."""
    return (
        "import sys, types; from engine.cli import COMMANDS, main; module = types.ModuleType('defect'); "
        f"module.register = lambda app: app.command('defect')({work}); "
        "sys.modules['engine.commands.defect'] = module; COMMANDS['defect'] = ('defect',); main()"
    )


ROWS: list[tuple[list[str | Path], int, str]] = [
    (["check", ROOT / "routes.yaml"], 0, ""),
    (["check", BROKEN / "channel-type.yaml"], 1, ""),
    (["test", BROKEN / "channel-type.yaml"], 1, "no channel type 'hl7_orru'"),  # a table that does not load
    (["check", "--colour"], 2, "No such option"),
    (["chekc"], 2, "No such command"),
    (["explain", "1.2.3", "--table", BROKEN / "secret-not-set.yaml"], 1, "holds no studies yet"),
]


@pytest.mark.parametrize(("arguments", "exit_code", "message"), ROWS)
def test_the_exit_code_tells_findings_from_wrong_use(
    arguments: list[str | Path], exit_code: int, message: str
) -> None:
    done = pons(*arguments)
    assert done.returncode == exit_code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_each_command_is_found_without_the_modules_of_the_others() -> None:
    every = typer.main.get_command(application())
    assert isinstance(every, TyperGroup)
    assert set(every.commands) == {command for commands in COMMANDS.values() for command in commands}
    for commands in COMMANDS.values():
        for command in commands:
            alone = typer.main.get_command(application(command))
            assert isinstance(alone, TyperGroup)
            assert set(alone.commands) == set(commands)


def test_a_defect_shows_its_place_but_no_traceback_and_no_data() -> None:
    done = pons("defect", code=defect("lambda: {}['Doe^Jane']"))
    assert done.returncode == 1
    assert done.stderr == "unexpected KeyError at <string>:1; please report this\n"


def test_a_file_that_may_not_be_read_is_named() -> None:
    done = pons("defect", code=defect("lambda: open('/nowhere/at/all').close()"))
    assert (done.returncode, done.stderr) == (1, "/nowhere/at/all: no such file or directory\n")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    reader = subprocess.run(
        f"{sys.executable} -c 'from engine.cli import main; main()' schema | head -c 10",
        shell=True, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert len(reader.stdout) == 10
    assert reader.stderr == ""
