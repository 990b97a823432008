"""An SFTP drop that answers in the same place; kill -9 in the middle of an upload, and of taking one in."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, data_sets, small_study
from tests.peers.process import wait_until

pytestmark = [pytest.mark.sftp, pytest.mark.peers, pytest.mark.faults]


class Drop:
    """An engine with an SFTP way in, and OpenSSH's sftp towards it."""

    def __init__(self, engine_process: Callable[..., Engine], folder: Path, **more: Any) -> None:
        self._folder = folder
        self._more = more
        self._key = folder / "key"
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(argv, check=True)
        self._port = 0
        self.engine = engine_process(self._table, patient_data=PERSON.words)
        self.root = self.engine.data / "sftp" / "drop" / "st-marys" / "files"

    def _table(self, port: int) -> dict[str, Any]:
        self._port = port
        key = self._key.with_suffix(".pub")
        user = {"site": "st-marys", "authorized_keys": {"file": str(key)}}
        return {
            "assembly": {"stable_after": "2s"},
            "sites": {"st-marys": {"name": "St. Mary's", "addresses": ["127.0.0.1"]}},
            "inbound": {
                "drop": {"type": "sftp", "listen": f"127.0.0.1:{port}", "quiet": "1s", "users": {"stm": user}}
            },
            **self._more,
        }

    def start(self, *commands: str, kilobits: int = 0) -> subprocess.Popen[str]:
        """Begin a batch, at so many kbit/s."""
        options = [f"-oUserKnownHostsFile={self._folder / 'known_hosts'}", "-oBatchMode=yes"]
        options += ["-oStrictHostKeyChecking=accept-new", "-oIdentitiesOnly=yes", f"-oPort={self._port}"]
        slowly = ["-l", str(kilobits)] if kilobits else []
        argv = ["sftp", "-F", "none", "-i", str(self._key), *options, *slowly, "-b", "-", "stm@127.0.0.1"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        assert process.stdin is not None
        process.stdin.write("\n".join(commands) + "\n")
        process.stdin.close()
        return process

    def run(self, *commands: str) -> None:
        """A batch that must succeed."""
        process = self.start(*commands)
        assert process.stdout is not None
        with process:
            said = process.stdout.read()
        assert process.returncode == 0, said

    def states(self) -> set[str]:
        """What the orders' statuses say."""
        return {json.loads(file.read_text())["state"] for file in (self.root / "status").glob("*.json")}

    def filed(self, where: str = ".done") -> list[str]:
        """What the engine has filed."""
        return sorted(one.name for one in (self.root / "input" / where).iterdir())


@pytest.fixture
def drop(engine_process: Callable[..., Engine], tmp_path: Path) -> Drop:
    return Drop(engine_process, tmp_path)


ANSWER = {
    "processors": {"dti-qc": {"type": "quality_control"}},
    "outbound": {"back": {"type": "sftp", "site": "st-marys", "through": "drop", "formats": ["pdf", "json"]}},
    "routes": [
        {"name": "dti", "match": {"site": "st-marys"}, "process": "dti-qc", "deliver": ["back"]},
    ],
}


def test_a_group_that_is_dropped_is_answered_in_the_same_place(
    engine_process: Callable[..., Engine], real_study: Path, tmp_path: Path
) -> None:
    drop = Drop(engine_process, tmp_path, **ANSWER)
    one = small_study(real_study, tmp_path / "trial" / "one", instances=3)
    other = small_study(real_study, tmp_path / "trial" / "two", instances=2)

    drop.run(f"put -r {tmp_path}/trial input/trial.part", "rename input/trial.part input/trial")
    groups = drop.root / "output" / "groups"
    wait_until(lambda: len(list(groups.glob("*"))) == 2, "the report of the group", timeout=60)

    wait_until(lambda: drop.states() <= {"delivered", "failed"}, "every order to be told of", timeout=60)

    drop.run(f"get -r status {tmp_path}", f"get -r output {tmp_path}")
    told = [json.loads(file.read_text()) for file in (tmp_path / "status").iterdir()]
    assert sorted((said["upload"], said["instances"]) for said in told) == [
        ("trial/one", len(one)),
        ("trial/two", len(other)),
    ]
    assert len({said["batch_id"] for said in told}) == 1
    reports = list((tmp_path / "output").rglob("dti.pdf"))
    assert len(reports) == 2
    assert all(file.read_bytes().startswith(b"%PDF") for file in reports)
    [table] = (tmp_path / "output" / "groups").glob("trial-*.csv")
    assert len(table.read_text().splitlines()) == 3


def test_an_upload_that_a_kill_cuts_off_is_resumed_and_taken_once(
    drop: Drop, real_study: Path, tmp_path: Path
) -> None:
    engine = drop.engine
    files = small_study(real_study, tmp_path / "study", instances=20)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as packed:
        for number, file in enumerate(files):
            packed.write(file, f"{number}.dcm")
    size = (tmp_path / "study.zip").stat().st_size
    arriving = drop.root / "input" / "study.zip"

    slow = drop.start(f"put {tmp_path}/study.zip input/study.zip", kilobits=1000)
    wait_until(lambda: arriving.exists() and arriving.stat().st_size > 0, "bytes to arrive", timeout=60)
    engine.kill9()
    with slow:
        assert slow.wait(60) != 0
    assert arriving.stat().st_size < size

    engine.start()
    wait_until(lambda: engine.metrics().get("pons_instances_total") == 0, "the engine to be up", timeout=60)
    drop.run(f"reput {tmp_path}/study.zip input/study.zip")
    wait_until(lambda: drop.filed() == ["study.zip"], "the upload to be taken", timeout=60)

    assert data_sets(engine.instance_files()) == data_sets(files)
    study = engine.wait_for_study(revision=1, timeout=60)
    assert (study["instances"], study["revision"]) == (20, 1)
    assert drop.filed(".failed") == []


def test_a_kill_while_an_upload_is_taken_in_is_one_study_after_the_next_start(
    drop: Drop, real_study: Path, tmp_path: Path
) -> None:
    engine = drop.engine
    files = small_study(real_study, tmp_path / "study", instances=60)

    drop.run(f"put -r {tmp_path}/study input/study.part", "rename input/study.part input/study")
    wait_until(
        lambda: any((drop.root.parent / "taking").iterdir()), "it to be taken", timeout=60, every=0.001
    )
    engine.kill9()

    engine.start()
    wait_until(lambda: drop.filed() == ["study"], "the upload to be taken after all", timeout=60)

    assert data_sets(engine.instance_files()) == data_sets(files)
    study = engine.wait_for_study(revision=1, timeout=60)
    assert (study["instances"], study["revision"]) == (60, 1)
    assert len(engine.studies()) == 1
    assert list((drop.root.parent / "taking").iterdir()) == []
    assert drop.filed(".failed") == []
