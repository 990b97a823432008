"""`pons init`, as an operator types it: what it writes passes `check` and `test`, and `run` starts."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from engine.cli import application
from engine.example_table import examples
from tests.engine.commands.table_house import pons
from tests.peers.process import PeerProcess

SITE = ["--site", "st-marys", "--name", "St. Mary's", "--timezone", "Europe/Dublin", "--ae-title", "STM_PACS"]
WHERE = ["--address", "127.0.0.1", "--pacs", "127.0.0.1:11113:STM_PACS", "--ris", "127.0.0.1:2575"]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def green(folder: Path) -> None:
    """Without a finding, and its own tests pass."""
    checked = pons("check", folder / "routes.yaml")
    assert (checked.exit_code, checked.output.count("\n")) == (0, 1), checked.output
    tested = pons("test", folder / "routes.yaml")
    assert tested.exit_code == 0, tested.output


def asked(folder: Path, *lines: str) -> Result:
    return CliRunner().invoke(application(), ["init", str(folder), "--ask"], input="\n".join(lines) + "\n")


def test_flags_make_a_table_that_is_right_and_say_what_comes_next(tmp_path: Path) -> None:
    made = pons("init", tmp_path, *SITE, *WHERE)
    assert made.exit_code == 0, made.output
    schemas = {"schema/routes.schema.json", "schema/included.schema.json"}
    assert files(tmp_path) == {"routes.yaml", "sites/st-marys.yaml", ".gitignore", *schemas}
    table = tmp_path / "routes.yaml"
    commands = [f"pons check {table}", f"pons test {table}", f"pons run --table {table}"]
    assert [line.strip() for line in made.output.splitlines()[-3:]] == commands
    green(tmp_path)


def test_a_terminal_is_asked_and_asked_again_after_a_wrong_answer(tmp_path: Path) -> None:
    made = asked(
        tmp_path,
        *("St. Mary's", "st-marys"),
        "St. Mary's",
        *("Europe/Dublinn", "Europe/Dublin"),
        "127.0.0.1, 10.1.0.0/16",
        "STM_PACS STM_CT1",
        *("", "dti"),  # the likely modality
        *("127.0.0.1:11113", "127.0.0.1:11113:STM_PACS"),
        *("", "", "http://127.0.0.1:8092/events"),
        *("run-model", "quality_control"),
    )
    assert made.exit_code == 0, made.output
    assert "did you mean 'Europe/Dublin'?" in made.output
    site = yaml.safe_load((tmp_path / "sites" / "st-marys.yaml").read_text())
    assert site["sites"]["st-marys"]["addresses"] == ["127.0.0.1", "10.1.0.0/16"]
    assert site["sites"]["st-marys"]["ae_titles"] == ["STM_PACS", "STM_CT1"]
    assert list(site["outbound"]) == ["st-marys-pacs", "st-marys-hook"]
    green(tmp_path)


def test_without_a_destination_results_would_go_nowhere(tmp_path: Path) -> None:
    assert asked(tmp_path, "b", *[""] * 11).exit_code == 2
    made = pons("init", tmp_path, "--site", "b")
    assert made.exit_code == 2
    assert "results need a destination" in re.sub(r"\W+", " ", made.output)
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--site", "St. Mary's"], "a key has up to 64"),
        (["--site", "b", "--pacs", "10.90.7.2"], "HOST:PORT:AE-TITLE"),
        (
            ["--site", "b", "--webhook", "https://b.example", "--webhook-secret-env", "whsec_abc/d="],
            "environment variable",
        ),
        ([], "--site st-marys"),
    ],
)
def test_a_wrong_flag_is_a_usage_error_and_nothing_is_written(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    made = pons("init", tmp_path, *flags)
    assert made.exit_code == 2
    assert said in re.sub(r"[\s│]+", " ", made.output), "in its frame"
    assert files(tmp_path) == set()


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    pons("init", tmp_path, *SITE, *WHERE)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    again = subprocess.run(
        [Path(sys.executable).with_name("pons"), "init", tmp_path, "--site", "b", *WHERE],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert again.returncode == 1
    assert again.stderr.startswith(
        f"{tmp_path / 'routes.yaml'} is there already and is not overwritten; --add"
    )
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_one_more_hospital_is_one_more_file(tmp_path: Path) -> None:
    pons("init", tmp_path, *SITE, *WHERE, "--processor", "cp {in} {out}")
    before = (tmp_path / "routes.yaml").read_bytes()
    address = ["--address", "127.0.0.2", "--ris", "127.0.0.2:2575"]
    added = pons("init", tmp_path, "--add", "--site", "northside", *address)
    assert added.exit_code == 0, added.output
    assert (tmp_path / "routes.yaml").read_bytes() == before
    route = yaml.safe_load((tmp_path / "sites" / "northside.yaml").read_text())["routes"][0]
    assert route["process"] == "model", "the processor that the table has"
    green(tmp_path)
    assert "sites 2," in pons("check", tmp_path / "routes.yaml").output


def test_one_more_hospital_that_the_table_does_not_take_is_told(tmp_path: Path) -> None:
    pons("init", tmp_path, *SITE, *WHERE)
    address = ["--address", "127.0.0.2", "--ris", "127.0.0.2:2575"]
    (tmp_path / "sites" / "st-marys.yaml").rename(tmp_path / "sites" / "mary.yaml")
    twice = pons("init", tmp_path, "--add", "--site", "st-marys", *address)
    assert twice.exit_code == 1
    assert "sites.st-marys" in twice.output, "what `check` says"
    (tmp_path / "sites" / "st-marys.yaml").unlink()
    table = tmp_path / "routes.yaml"
    table.write_text(table.read_text().replace("sites/*.yaml", "sites/mary.yaml"))
    outside = pons("init", tmp_path, "--add", "--site", "b", *address)
    assert outside.exit_code == 1
    assert "does not include it yet: add include: [sites/*.yaml]" in outside.output


def test_a_secret_is_kept_from_others_and_never_told(tmp_path: Path) -> None:
    made = pons("init", tmp_path, "--site", "b", "--webhook", "https://b.example/hook")
    secret = tmp_path / "secrets" / "b-hook"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    value = secret.read_text().strip()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", value)
    assert value not in made.output
    assert "secrets/" in (tmp_path / ".gitignore").read_text()
    green(tmp_path)


def test_a_secret_by_name_is_one_that_the_operator_is_told_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("B_TOKEN", raising=False)
    made = pons(
        "init", tmp_path, "--site", "b", "--fhir", "https://b.example/r4", "--fhir-token-env", "B_TOKEN"
    )
    assert made.exit_code == 0
    assert "set the environment variable B_TOKEN before the engine starts" in made.output
    monkeypatch.setenv("B_TOKEN", "abc")
    green(tmp_path)


def test_what_init_wrote_is_what_run_starts_with(tmp_path: Path, free_port: Callable[[], int]) -> None:
    http, dicom = free_port(), free_port()
    listening = ["--http", f"127.0.0.1:{http}", "--listen", f"127.0.0.1:{dicom}"]
    pons("init", tmp_path / "pons", *SITE, *WHERE, *listening)
    command = [
        str(Path(sys.executable).with_name("pons")),
        "run",
        "--table",
        str(tmp_path / "pons/routes.yaml"),
    ]
    engine = PeerProcess("pons run", command, tmp_path / "log", {})

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{http}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        engine.wait_ready(ready, timeout=60)
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(30) == 0
    finally:
        engine.kill9()
    assert (tmp_path / "pons" / "data").is_dir()


@pytest.mark.parametrize("name", sorted(examples()))
def test_an_example_is_copied_whole(tmp_path: Path, name: str) -> None:
    made = pons("init", tmp_path / "mine", "--example", name)
    assert made.exit_code == 0, made.output
    first = (tmp_path / "mine" / "routes.yaml").read_text().partition("\n")[0]
    schema = tmp_path / "mine" / first.partition("$schema=")[2]
    assert json.loads(schema.read_text())["title"] == "Pons routing table"
    green(tmp_path / "mine")
    again = pons("init", tmp_path / "mine", "--example", name)
    assert again.exit_code == 1
    assert "is not overwritten" in str(again.exception)


def test_the_examples_are_listed_with_their_titles() -> None:
    listed = pons("init", "--example", "list")
    assert listed.exit_code == 0
    assert "shadow-trial: Shadow trial" in listed.output.splitlines()
    assert len(listed.output.splitlines()) == len(examples())


def test_an_example_that_is_none_is_told_with_the_nearest() -> None:
    made = pons("init", "--example", "shadow-trail")
    assert made.exit_code == 1
    assert "did you mean 'shadow-trial'?" in str(made.exception)
