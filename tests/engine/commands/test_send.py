"""`pons send`: exit codes, what it says, what it never says, and how it is interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from pynetdicom import evt
from typer.testing import CliRunner

from engine.cli import application
from tests.contract import instances
from tests.contract.scp import Scp, serving
from tests.peers.orthanc import Orthanc

PROGRAM = [sys.executable, "-c", "from engine.cli import main; main()", "send"]


def pons_send(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application("send"), ["send", *map(str, arguments)])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three instances, one of them in an archive, and what is none."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"im{number}").write_bytes(instances.file(f"1.2.3.4.{number}"))
    with zipfile.ZipFile(folder / "more.zip", "w") as made:
        made.writestr("im3", instances.file("1.2.3.4.3"))
        made.writestr("notes.txt", "Doe^Jane")
    (folder / "viewer.exe").write_bytes(b"MZ")
    return folder


def test_a_folder_with_everything_in_it_is_sent_and_the_rest_is_counted(study: Path) -> None:
    with serving(Scp()) as scp:
        done = pons_send(f"PEER@127.0.0.1:{scp.port}", study)

    first, *rest = done.stdout.splitlines()
    assert (done.exit_code, done.stderr) == (0, "")
    assert first.startswith(f"3 of 3 instances stored at PEER at 127.0.0.1:{scp.port}: ")
    assert rest == [
        "  2 skipped: it is no DICOM file",
        f"    {study}/more.zip/notes.txt",
        f"    {study}/viewer.exe",
    ]
    assert [each.sop_instance_uid for each in scp.stored] == ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]


def test_a_failure_is_told_with_its_status_and_its_file_and_nothing_of_the_patient(study: Path) -> None:
    with serving(Scp([0, 0xC123])) as scp:
        done = pons_send(f"PEER@127.0.0.1:{scp.port}", study, "--verbose")

    assert done.exit_code == 1
    assert f"failed   C123  1.2.3.4.2 {study}/im2: C123 (cannot understand)" in done.stdout
    assert "1 failed: C123 (cannot understand)" in done.stdout
    assert "Doe" not in done.stdout + done.stderr  # it is the patient of every one of them


def test_a_program_gets_one_document(study: Path) -> None:
    with serving(Scp([0xB000])) as scp:
        done = pons_send(f"PEER@127.0.0.1:{scp.port}", study, "--json", "--verbose", "--associations", "2")

    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (document["sent"], document["warnings"], document["failed"]) == (2, 1, 0)
    assert document["skipped"] == {"it is no DICOM file": 2}
    assert {one["sop_instance_uid"] for one in document["each"]} == {f"1.2.3.4.{n}" for n in (1, 2, 3)}
    assert "Doe" not in done.stdout


def test_we_call_ourselves_as_we_are_told(study: Path) -> None:
    titles: list[str] = []
    scp = Scp()
    with serving(scp):
        scp._server.bind(evt.EVT_ACCEPTED, lambda event: titles.append(event.assoc.requestor.ae_title))
        pons_send(f"PEER@127.0.0.1:{scp.port}", study)
        pons_send(f"PEER@127.0.0.1:{scp.port}", study, "--as", "STM_MR")

    assert titles == ["PONS", "STM_MR"]


def test_nobody_there_is_exit_code_1_with_the_reason(study: Path, free_port: Callable[[], int]) -> None:
    done = pons_send(f"PEER@127.0.0.1:{free_port()}", study)

    assert done.exit_code == 1
    assert "3 failed: no connection to PEER at 127.0.0.1" in done.stdout
    assert "connection refused" in done.stdout


def test_nothing_to_send_is_not_called_sent(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("nothing")
    done = pons_send("PEER@127.0.0.1:104", tmp_path)

    assert done.exit_code == 1
    assert "there is no instance to send" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["127.0.0.1:104"], "PACS@127.0.0.1:104"),
        (["PACS@127.0.0.1:104", "--timeout", "30"], "a duration needs a unit"),
        (["PACS@127.0.0.1:104", "--as", "SEVENTEEN LETTERS"], "AE title has 1 to 16"),
        (["PACS@127.0.0.1:104", "--token-file", "table.yaml"], "--token-file means nothing"),
        (["http://127.0.0.1:1/x", "--as", "STM_MR"], "--as means nothing"),
        (["stm-pcas", "--table", "table.yaml"], "did you mean 'stm-pacs'?"),
        (["stm-hook", "--table", "table.yaml"], "is of type webhook, which takes no instances"),
        (["stm-pacs", "--table", "nowhere.yaml"], "there is no table nowhere.yaml"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_to_do(
    study: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(study)
    Path("table.yaml").write_text(TABLE.format(ours=11112, theirs=104))
    target, *options = arguments

    done = pons_send(target, "im1", *options)

    assert done.exit_code == 2, done.stdout + done.stderr
    # the box that the message stands in breaks its lines
    assert words in " ".join(done.stderr.replace("│", " ").split())


TABLE = """
version: 1
sites: {{a: {{tunnel: 10.0.0.1}}}}
inbound: {{pacs: {{type: c_store, listen: "127.0.0.1:{ours}", ae_title: PEER}}}}
outbound:
  stm-pacs: {{type: dicom_forward, site: a, host: 127.0.0.1, port: {theirs}, ae_title: PEER}}
  stm-hook: {{type: webhook, site: a, url: "https://his.example", secret: {{env: NOT_SET}}}}
"""


@pytest.mark.parametrize(
    ("name", "port"), [("stm-pacs", "theirs"), ("outbound.stm-pacs", "theirs"), ("pacs", "ours")]
)
def test_a_channel_of_the_table_is_a_target(
    study: Path, monkeypatch: pytest.MonkeyPatch, name: str, port: str
) -> None:
    monkeypatch.chdir(study)
    with serving(Scp(require_called=True)) as scp:
        Path("routes.yaml").write_text(TABLE.format(**{"ours": 11112, "theirs": 104, port: scp.port}))
        done = pons_send(name, "im1", "im2")

    assert done.exit_code == 0, done.stdout + done.stderr
    assert len(scp.stored) == 2


def test_ctrl_c_aborts_the_association_and_says_how_far_it_came(study: Path) -> None:
    with serving(Scp(script=["stall"])) as scp:
        process = subprocess.Popen(
            [*PROGRAM, f"PEER@127.0.0.1:{scp.port}", str(study)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert scp.holding.wait(60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        scp.let_go()
        assert scp.aborted.wait(30)

    assert process.returncode == 1
    assert "0 of 3 instances stored" in output
    assert "interrupted: 3 not answered or not offered" in output
    assert errors == ""


def test_a_terminal_is_shown_how_far_it_is(study: Path) -> None:
    ours, theirs = pty.openpty()
    with serving(Scp(script=["stall"])) as scp, os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*PROGRAM, f"PEER@127.0.0.1:{scp.port}", str(study)],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(theirs)
        shown = b""
        while b"sending" not in shown:
            shown += terminal.read(4096)
        scp.let_go()
        with contextlib.suppress(OSError):  # how a terminal says that nobody holds it any more
            while more := terminal.read(4096):
                shown += more
        process.wait(60)

    assert b"MB/s" in shown or b"kB" in shown


@pytest.mark.peers
def test_orthanc_is_sent_to_by_c_store_and_by_stow_rs(study: Path, orthanc: Callable[..., Orthanc]) -> None:
    peer = orthanc("ORTHANC")

    stored = pons_send(f"ORTHANC@127.0.0.1:{peer.dicom_port}", study / "im1", study / "more.zip")
    posted = pons_send(peer.dicomweb_url, study, "-n", "2")

    assert (stored.exit_code, posted.exit_code) == (0, 0), stored.stdout + posted.stdout
    assert f"3 of 3 instances stored at {peer.dicomweb_url}/studies" in posted.stdout
    assert len(peer.wait_for_instances(3)) == 3
