"""An engine under `strace`, from its start on, and one instance sent to it by another maker's program.

Enter: a way in. Leave: the engine's system calls, and what was stored and acknowledged. strace is a
grandchild (`-D`), so that the engine is the process that is started, signalled and waited for.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.durability.promise import Stored
from bench.durability.system_calls import TRACED, WHOLE_PAGE, Call, read
from bench.intake import objects
from bench.intake.objects import Kind
from bench.intake.sender import EXPLICIT, PIXELS
from channels.transport.file_meta import encode_file_meta
from tests.e2e.engine import PONS, Engine
from tests.e2e.stow import post
from tests.peers import dcmtk
from tests.peers.process import PeerProcess, binary, wait_until

SMALL, LARGE = objects.KINDS["mr"], Kind("large", objects.MULTI_FRAME, 512, 64)


@dataclass(frozen=True, slots=True)
class Way:
    """How one instance is sent."""

    kind: Kind
    over: str = "c_store"  # or tls, or stow_rs


WAYS = {
    "small": Way(SMALL),
    "large": Way(LARGE),
    "tls": Way(SMALL, "tls"),
    "stow": Way(SMALL, "stow_rs"),
    "stow-large": Way(LARGE, "stow_rs"),
}


class TracedEngine(Engine):
    """`pons run` under strace."""

    @property
    def _trace(self) -> Path:
        return self.folder / "trace"

    def start(self, answering: str = "/readyz") -> TracedEngine:
        """Run and wait until it is ready: it starts several times slower than without strace."""
        strace = [binary("strace", "strace"), "-D", "-f", "-q", "--seccomp-bpf", "-yy", "-ttt"]
        strace += ["-s", str(WHOLE_PAGE), "-e", f"trace={TRACED}", "-e", "signal=none"]
        argv = [*strace, "-o", str(self._trace), str(PONS), "run", "--table", str(self.table)]
        self._process = PeerProcess("pons run under strace", argv, self.log, self._environment)
        self._process.wait_ready(lambda: self.answers(answering) == 200, timeout=120)
        self._traced = self.pid
        return self

    def calls(self) -> list[Call]:
        """What it did, once it has been stopped: strace notes the engine's end last."""
        ends = re.compile(rf"^{self._traced} +[\d.]+ \+\+\+ exited", re.MULTILINE)
        wait_until(lambda: ends.search(self._trace.read_text(errors="replace")), "strace to end", 60)
        with self._trace.open(errors="replace") as lines:
            return list(read(lines))


@contextlib.contextmanager
def traced(folder: Path, free_port: Callable[[], int], way: Way) -> Iterator[TracedEngine]:
    """An engine that takes instances by the way; it has ended when this is left."""
    http_port, dicom_port = free_port(), free_port()
    listener: dict[str, Any] = {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}
    if way.over == "tls":
        certificate, key = self_signed(folder)
        listener["tls"] = {"certificate": {"file": str(certificate)}, "key": {"file": str(key)}}
    table = {
        "assembly": {"stable_after": "10m"},
        "sites": {"bench": {"name": "Bench", "ae_titles": ["BENCH"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": listener, "web": {"type": "stow_rs"}},
        "routes": [{"name": "nothing matched", "otherwise": True, "hold": "no route matched"}],
    }
    engine = TracedEngine(folder / "engine", http_port, dicom_port, table, engine={"log": "json"})
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [binary("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def store(folder: Path, free_port: Callable[[], int], way: Way) -> tuple[list[Call], Stored]:
    """One instance into a fresh engine: what the engine did, and what was acknowledged."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sent.dcm"
    uid = write(file, way.kind)
    with traced(folder, free_port, way) as engine:
        said = ""
        if way.over == "stow_rs":
            acknowledged = post(engine.url, [file]) == {uid}
        else:
            options = ["+tla", "-ic"] if way.over == "tls" else []
            sent = dcmtk.storescu(engine.dicom_port, [file], calling="BENCH", options=options)
            acknowledged, said = sent.acknowledged == [file.name], sent.output
        if not acknowledged:
            raise RuntimeError(f"the instance was not acknowledged; {said}{engine.log_tail()}")
        (stored,) = engine.instance_files()
    port = engine.http_port if way.over == "stow_rs" else engine.dicom_port
    return engine.calls(), Stored(stored, stored.stat().st_size, uid, engine.data, port)


def write(file: Path, kind: Kind) -> str:
    """An instance of a kind as a file; its SOP Instance UID."""
    uid = objects.sop_instance_uid(kind, 0, 0, 0)
    head = encode_file_meta(
        sop_class_uid=kind.sop_class_uid,
        sop_instance_uid=uid,
        transfer_syntax_uid=EXPLICIT,
        calling_ae_title="BENCH",
        called_ae_title="PONS",
    )
    with file.open("wb") as content:
        content.write(head + objects.head(kind, 0, 0, 0))
        for start in range(0, kind.pixels, len(PIXELS)):
            content.write(PIXELS[: kind.pixels - start])
    return uid
