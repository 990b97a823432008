"""A hub with its engine and two hospitals with a tunnel each, in network namespaces.

The hospitals' ends are set up as a hospital's people would: from the kit that `pons site export` writes, by
wg-quick and nft, the private key made there. The engine is `pons run`, the hub's end `pons tunnel watch`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers.dcmtk import read_storescu_output
from tests.peers.process import binary, wait_until
from tests.tunnel.desk import Desk
from tests.wg.netns import Machine, Network, network

ROOT = Path(__file__).resolve().parents[2]
PONS = str(Path(sys.executable).with_name("pons"))
HUB = "100.64.0.1"
DICOM, HTTP, HL7 = 11112, 8080, 2575
ADDRESSES = {"a": "100.64.0.2", "b": "100.64.0.3"}
USERSPACE = {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"}


class Rig:
    """The whole arrangement."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net = net
        self.folder = folder
        self.hub = net["hub"]
        self.table = folder / "routes.yaml"
        self.idle_since = 0.0  # when the site that is left alone was last spoken to, by the monotonic clock
        self._desks: dict[str, Desk] = {}
        self._engine: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    # ── the hub ──

    def write_table(self, sites: Mapping[str, Mapping[str, Any]] | None = None, **engine: Any) -> None:
        """The hub's table: each site's studies are judged, and their SR and ORU go back into its tunnel."""
        sites = sites or {key: {"tunnel": address} for key, address in ADDRESSES.items()}
        outbound, routes = {}, []
        for key, site in sites.items():
            common = {"site": key, "host": site["tunnel"], "retry": {"first": "300ms", "cap": "1s"}}
            outbound[f"{key}-pacs"] = {
                **common,
                "type": "dicom_sr",
                "port": 104,
                "ae_title": f"{key}-PACS".upper(),
            }
            outbound[f"{key}-his"] = {**common, "type": "hl7_oru", "port": HL7}
            routes.append(
                {
                    "name": f"studies of {key}",
                    "match": {"site": key},
                    "process": "dti-qc",
                    "deliver": [f"{key}-pacs", f"{key}-his"],
                }
            )
        self.table.write_text(
            yaml.safe_dump(
                {
                    "version": 1,
                    "engine": {"http": f"{HUB}:{HTTP}", "data": "data"} | engine,
                    "assembly": {"stable_after": "2s"},
                    "tunnel": {
                        "endpoint": f"{self.hub.address}:51820",
                        "interface": self.hub.interface,
                    },
                    "sites": {
                        key: {"ae_titles": [f"{key}-MR".upper()], **site} for key, site in sites.items()
                    },
                    "inbound": {
                        "pacs": {
                            "type": "c_store",
                            "listen": f"{HUB}:{DICOM}",
                            "dimse_timeout": "240s",  # a minute without wire costs two
                        },
                        "web": {"type": "stow_rs"},
                    },
                    "processors": {"dti-qc": {"type": "quality_control"}},
                    "outbound": outbound,
                    "routes": routes,
                },
                sort_keys=False,
            )
        )

    def pons(self, *arguments: str, expect: int = 0) -> str:
        """A command of the hub's operator."""
        return self.asked("root", self.hub.argv(), *arguments, expect=expect)

    def asked(self, who: str, started_by: Sequence[str], *arguments: str, expect: int = 0) -> str:
        """A command at the desk of somebody with these rights; what it says."""
        if who not in self._desks:
            self._desks[who] = Desk(started_by, self.folder / f"desk-of-{who}.log")
        code, said = self._desks[who].ask(*arguments, "--table", str(self.table))
        assert code == expect, f"{arguments}: {code}\n{said}"
        return said

    def close(self) -> None:
        """Nobody is at a desk any more."""
        for desk in self._desks.values():
            desk.close()

    def json(self, *arguments: str) -> Any:
        """The same with --json."""
        return json.loads(self.pons(*arguments, "--json"))

    def launch(self, service: str, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """A service of the hub; here with all of this process's rights."""
        return self.hub.start(*command, log=log)

    def start_tunnel(self) -> None:
        """The hub's end, kept by its service."""
        log = self.folder / "tunnel.log"
        before = log.read_text().count("is up") if log.exists() else 0
        watch = (PONS, "tunnel", "watch", "--every", "0.2", "--table", str(self.table))
        self._watch = self.launch("pons-tunnel", *watch, log=log)
        wait_until(lambda: log.read_text().count("is up") > before, "the hub's interface", 60)

    def stop_tunnel(self) -> None:
        """End the service; the interface stays."""
        if self._watch is None:
            return  # a test that ended it has failed in between
        self._watch.terminate()
        assert self._watch.wait(30) == 0
        self._watch = None

    def start_engine(self) -> None:
        """`pons run` until it is ready."""
        log = self.folder / "engine.log"
        self._engine = self.launch("pons", PONS, "run", "--table", str(self.table), log=log)
        wait_until(lambda: self.hub.reaches(HUB, HTTP), "the engine", 60)

    def stop_engine(self) -> None:
        """SIGTERM, and a clean end."""
        assert self._engine is not None
        self._engine.terminate()
        assert self._engine.wait(60) == 0
        self._engine = None

    # ── the hospitals ──

    def site(self, key: str) -> Machine:
        return self.net[key]

    def join(self, key: str) -> None:
        """A hospital's people set their end up by the kit, with a key of their own."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        home.mkdir(mode=0o700, exist_ok=True)
        self.pons("site", "add", key)
        self.new_key(key)
        self.pons("site", "export", key, "--out", str(home / "kit"))
        self.site_up(key)
        assert machine.interface

    def join_by_token(self, key: str, token: str, url: str) -> str:
        """A hospital's people do what the page says; what they saw."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        (home / "kit").mkdir(mode=0o700, exist_ok=True, parents=True)
        words = {"/etc/wireguard": f"{home}/kit", "https://pons.example": url}
        script = documented("wg genkey > /etc/wireguard/pons0.key", words)
        return machine.run("bash", "-c", script, stdin=f"{token}\n", expect=None)

    def rotate_by_token(self, key: str, token: str, url: str) -> str:
        """The same for another key of the site; what they saw."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        words = {
            "/etc/wireguard": f"{home}/kit",
            "https://pons.example": url,
            "wg set pons0": f"wg set {machine.interface}",
        }
        script = documented("wg genkey > /etc/wireguard/pons0.new", words)
        return machine.run("bash", "-c", script, stdin=f"{token}\n", expect=None)

    def new_key(self, key: str) -> str:
        """Make a private key at the site and send its public key; the private one's text."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        private = machine.run("wg", "genkey").strip()
        public = machine.run("wg", "pubkey", stdin=private).strip()
        self.pons("site", "enrol", key, "--public-key", public)
        file = home / "private.key"
        file.touch(mode=0o600)
        file.write_text(private + "\n")
        return private

    def site_up(self, key: str) -> None:
        """wg-quick up, as the kit says; only names and paths are this rig's."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        text = (home / "kit" / "pons0.conf").read_text()
        made_here = home / "kit" / "pons0.key"
        private = made_here if made_here.exists() else home / "private.key"
        text = text.replace("/etc/wireguard/pons0.key", str(private))
        text = text.replace("/etc/wireguard/pons-site.nft", str(home / f"{machine.interface}.nft"))
        rules = (home / "kit" / "pons-site.nft").read_text().replace('"pons0"', f'"{machine.interface}"')
        (home / f"{machine.interface}.nft").write_text(rules)
        configuration = home / f"{machine.interface}.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(text)
        machine.run("env", *[f"{k}={v}" for k, v in USERSPACE.items()], "wg-quick", "up", str(configuration))

    def heard(self, key: str) -> bool:
        """Whether the hub has had a handshake of the site lately."""
        rows = self.json("tunnel", "status")
        return any(row["site"] == key and row["alive"] == "yes" for row in rows)

    def meet(self, key: str) -> None:
        """One packet from the site, which makes the session."""
        wait_until(
            lambda: "bytes from" in self.net[key].run("ping", "-c1", "-W1", HUB, expect=None),
            f"an answer from the hub to {key}",
            30,
        )

    def receive(self, key: str, address: str | None = None, title: str = "") -> tuple[Path, Path]:
        """Start the hospital's PACS and HIS; the folders they file in."""
        machine, home = self.net[key], self.folder / f"site-{key}"
        pacs, his = home / "pacs", home / "his"
        for folder in (pacs, his):
            folder.mkdir(exist_ok=True, parents=True)
        listen = address or ADDRESSES[key]
        machine.start(
            binary("storescp", "dcmtk"), "-aet", title or f"{key}-PACS".upper(), "-od", str(pacs),
            "+B", "--fork", "-dhl", "104", log=home / "pacs.log", env={"TCP_NODELAY": "1"},
        )  # fmt: skip
        script = str(Path(__file__).with_name("his.py"))
        machine.start(sys.executable, script, "0.0.0.0", str(HL7), str(his), log=home / "his.log")
        wait_until(lambda: machine.reaches(listen, 104) and machine.reaches(listen, HL7), "PACS and HIS", 30)
        return pacs, his

    def storescu(
        self, key: str, files: Sequence[Path], *, calling: str = "", expect: int | None = 0, to: str = HUB
    ) -> dict[str, str]:
        """Send by C-STORE from a hospital; file name to the status that the engine answered."""
        said = self.net[key].run(
            "env", "TCP_NODELAY=1", binary("storescu", "dcmtk"), "-v", "-aet", calling or f"{key}-MR".upper(),
            "-aec", "PONS", to, str(DICOM), *map(str, files), expect=expect, timeout=180,
        )  # fmt: skip
        return read_storescu_output(said)

    def deliveries(self) -> dict[str, list[str]]:
        """Destination to the states of its deliveries."""
        found: dict[str, list[str]] = {}
        for row in self.json("deliveries"):
            found.setdefault(row["destination"], []).append(row["state"])
        return found

    def metrics(self) -> dict[str, float]:
        """The engine's samples, as a hub's monitoring reads them."""
        text = self.hub.run("curl", "-s", "-m", "5", f"http://{HUB}:{HTTP}/metrics")
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in text.splitlines()) if k}

    def log_text(self) -> str:
        """All that the hub's processes have said."""
        return "".join(
            path.read_text(errors="replace")
            for path in (self.folder / "engine.log", self.folder / "tunnel.log")
        )


def documented(line: str, words: Mapping[str, str]) -> str:
    """The block of docs/tunnels.md with this line, in which some words stand for this rig's."""
    blocks = (ROOT / "docs" / "tunnels.md").read_text().split("```text\n")[1:]
    (block,) = [text for text in (one.partition("```")[0] for one in blocks) if line in text]
    for old, new in words.items():
        assert old in block, f"the page does not say {old}"
        block = block.replace(old, new)
    return block


@contextlib.contextmanager
def rig(folder: Path, *machines: str) -> Iterator[Rig]:
    """A hub and some machines; nothing is set up yet."""
    with network("hub", *machines) as net, contextlib.closing(Rig(net, folder)) as made:
        yield made


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Hub and engine, sites a and b in their tunnels with PACS and HIS, and an outsider."""
    with rig(tmp_path_factory.mktemp("tunnels"), "a", "b", "outside") as made:
        made.write_table()
        for key in ADDRESSES:
            made.join(key)
        made.start_tunnel()
        made.start_engine()
        for key in ADDRESSES:
            made.receive(key)
            made.meet(key)
        yield made
        made.stop_engine()
        made.stop_tunnel()
