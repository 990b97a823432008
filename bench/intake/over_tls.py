"""The receivers that speak TLS (PS3.15 B), each with a certificate that signs itself.

Enter: a folder and ports, as for `receivers`. Leave: the same receivers, whose certificate is in that folder.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.intake.receivers import Receiver, pons, process, storescp
from tests.peers.process import binary

CERTIFICATE, KEY = "certificate.pem", "key.pem"


def certify(folder: Path) -> tuple[Path, Path]:
    """Certificate and key for the loopback address."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    subprocess.run(
        [
            *(binary("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def _pons(folder: Path, port: int, http_port: int) -> contextlib.AbstractContextManager[Receiver]:
    certificate, key = certify(folder)
    tls = {"certificate": {"file": str(certificate)}, "key": {"file": str(key)}}
    return pons(folder, port, http_port, tls=tls)


def _null(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
    certificate, key = certify(folder)
    argv = [sys.executable, "-m", "bench.intake.null_receiver", str(port), str(certificate), str(key)]
    return process(argv, folder, port, "BENCH")


def _storescp(*options: str) -> Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]:
    def start(folder: Path, port: int, http_port: int) -> contextlib.AbstractContextManager[Receiver]:
        certificate, key = certify(folder)
        encrypted = ("+tls", str(key), str(certificate), "--ignore-peer-cert")
        return storescp(*encrypted, *options)(folder, port, http_port)

    return start


OVER_TLS: dict[str, Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]] = {
    "pons": _pons,
    "null": _null,
    "storescp": _storescp(),
    "storescp-fork": _storescp("--fork"),
}
