"""A hub whose sites change while they are used, and a study whose wire is pulled for a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.studies import small_study
from tests.peers.dcmtk import read_storescu_output
from tests.peers.process import binary, wait_until
from tests.tunnel.rig import DICOM, HUB, Rig, rig

OUTAGE = 60.0  # seconds
SITES = {key: {"tunnel": f"100.64.0.{number}"} for number, key in enumerate("abced", start=2)}


@pytest.fixture(scope="session")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Hub and engine with five sites; a receives, c has its wire cut, d comes and goes, e is left alone."""
    with rig(tmp_path_factory.mktemp("changes"), *SITES) as made:
        made.write_table(SITES)
        for key in "abce":
            made.join(key)
        made.start_tunnel()
        made.start_engine()
        for key in "abce":
            made.meet(key)
        made.idle_since = time.monotonic()  # site e
        for key in "ace":
            made.receive(key, SITES[key]["tunnel"])
        yield made
        made.stop_engine()
        made.stop_tunnel()


class Sending:
    """A storescu that is under way in a site."""

    def __init__(self, made: Rig, key: str, files: list[Path], log: Path) -> None:
        self.log = log
        self.count = len(files)
        self.process = made.site(key).start(
            binary("storescu", "dcmtk"), "-v", "-aet", f"{key}-MR".upper(), "-aec", "PONS",
            "-to", "240", "-td", "240", "-ta", "240", HUB, str(DICOM), *map(str, files),
            log=log, env={"TCP_NODELAY": "1"},
        )  # fmt: skip

    def stored(self) -> int:
        text = self.log.read_text(errors="replace")
        return list(read_storescu_output(text).values()).count("Success")

    def wait_until_under_way(self, instances: int = 3) -> None:
        wait_until(lambda: self.stored() >= instances, "the first instances", 60)

    def end(self, timeout: float = 120) -> int:
        return self.process.wait(timeout)


@pytest.fixture(scope="session")
def outage(changing: Rig, real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    """Site c's wire is pulled for a minute in the middle of a study; who asks for this first begins it."""
    folder = tmp_path_factory.mktemp("outage")
    files = small_study(real_study, folder / "study", instances=120)
    for machine in (changing.hub, changing.site("c")):
        # Where Linux can (6.15), TCP tries again every 5 s: it would else wait as long as it has been cut.
        # It gives up after so many tries; 15 of them would last for 61 s.
        machine.run("sysctl", "-qw", "net.ipv4.tcp_retries2=60", "net.ipv4.tcp_rto_max_ms=5000", expect=None)
    sending = Sending(changing, "c", files, folder / "storescu.log")
    sending.wait_until_under_way()
    changing.net.cut("c")
    minute = threading.Timer(OUTAGE, changing.net.mend, ["c"])
    minute.start()
    yield sending
    minute.join()
