"""A thousand sites on one interface, and C-STORE through a tunnel beside C-STORE without.

    python -m bench.tunnels [--short] [--sites N]

Needs root, /dev/net/tun, wireguard-go or the kernel's WireGuard, nftables, DCMTK. Everything happens in
network namespaces of its own. `pons` changes a peer by differences; `wg-syncconf` is the same change by
`wg syncconf` on the whole file. The throughput is one storescu against one engine, on the wire and inside.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wg.register import Register

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench" / "out" / "tunnels.json"


def main() -> None:
    """Print one table, write one file."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnels", description=__doc__)
    parser.add_argument("--short", action="store_true", help="100 sites, one run, a small study")
    parser.add_argument("--sites", type=int, default=None, help="how many sites (1000)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sites = options.sites or (100 if options.short else 1000)
    if options.inside:
        options.inside.write_text(json.dumps(_interface(sites, 1 if options.short else 5)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="pons-bench-") as folder:
        found = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench.tunnels", "--inside", str(found), "--sites", str(sites)]
        subprocess.run(
            ["unshare", "--net", *command, *(["--short"] if options.short else [])], cwd=ROOT, check=True
        )
        rows += json.loads(found.read_text())
    rows += _throughput(20 if options.short else 200, 1 if options.short else 3)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1))
    for row in rows:
        print("{work:12} {subject:12} {metric:12} {value:12.2f}  runs {runs}".format(**row))


def _row(work: str, subject: str, metric: str, values: list[float]) -> dict[str, Any]:
    return {
        "work": work,
        "subject": subject,
        "metric": metric,
        "value": statistics.median(values),
        "runs": len(values),
    }


def _interface(sites: int, runs: int) -> list[dict[str, Any]]:
    """Inside a namespace of its own: register, load, change one."""
    from wg import device
    from wg.block import Block
    from wg.key import make_private_key, public_key, write_secret
    from wg.peer import render_interface
    from wg.register import Register, admit, enrol, peers
    from wg.store import TunnelFolder

    work = str(sites)
    name = f"pb{time.time_ns() % 10**9}"
    folder = Path(tempfile.mkdtemp(prefix="pons-bench-"))
    rows = []
    try:
        keys = [public_key(make_private_key()) for _ in range(sites + runs)]
        began = time.perf_counter()
        register = Register()
        for number in range(sites):
            register, _, token = admit(register, f"site-{number}", 0.0)
            register, _ = enrol(register, token, keys[number], 1.0)
        rows.append(_row(work, "pons", "register s", [time.perf_counter() - began]))
        store = TunnelFolder(folder, Block())
        began = time.perf_counter()
        store.change(lambda _: (register, None))
        psk = store.preshared_keys(register)
        rows.append(_row(work, "pons", "keep s", [time.perf_counter() - began]))
        interface = device.Interface(name, 51820, Block())
        device.up(interface, store.hub_private_key())
        began = time.perf_counter()
        device.sync(name, peers(register, psk))
        rows.append(_row(work, "pons", "load s", [time.perf_counter() - began]))

        def changed(number: int) -> Register:
            now, _, token = admit(register, f"late-{number}", 0.0)
            return enrol(now, token, keys[sites + number], 1.0)[0]

        def by_difference(number: int) -> None:
            device.sync(name, peers(changed(number), psk))

        def by_syncconf(number: int) -> None:
            text = render_interface(store.hub_private_key(), 51820, tuple(peers(changed(number), psk)))
            write_secret(folder / "hub.conf", text)
            subprocess.run(["wg", "syncconf", name, str(folder / "hub.conf")], check=True)

        for subject, change in (("pons", by_difference), ("wg-syncconf", by_syncconf)):
            rows.append(_row(work, subject, "change ms", [1000 * _timed(change, n) for n in range(runs)]))
        rows += _watching(work, folder, name, register)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        rows.append(_row(work, "pons", "rss MB", [usage.ru_maxrss / 1024]))
        daemon = _resident(name)
        if daemon:
            rows.append(_row(work, "wireguard-go", "rss MB", [daemon]))
        return rows
    finally:
        device.down(name)
        shutil.rmtree(folder)


def _watching(work: str, folder: Path, name: str, register: Register) -> list[dict[str, Any]]:
    """What `pons tunnel watch` costs while nothing happens, and how soon a change is on the wire."""
    from engine.config import load
    from engine.tunnel_hub import TELL_EVERY, Follower, Hub
    from wg import device
    from wg.register import revoke

    path = folder / "routes.yaml"
    sites = {one.site: {"tunnel": one.ipv4} for one in register.sites}
    settings = {"endpoint": "hub.example:51820", "interface": name, "folder": "."}
    path.write_text(json.dumps({"version": 1, "tunnel": settings, "sites": sites}))
    hub = Hub(load(path, surroundings=False))
    hub.folder.change(lambda _: (register, None))
    follower = Follower(path, hub)
    follower.start(0.0)
    looks = int(4 * TELL_EVERY)  # one a second, as the service does
    began = time.process_time()
    for second in range(1, looks + 1):
        follower.look(float(second))
    idle = (time.process_time() - began) / looks
    hub.folder.change(lambda known: (revoke(known, "site-0", 0.0), None))
    began = time.perf_counter()
    follower.look(looks + 1.0)
    cut = time.perf_counter() - began
    assert len(device.read(name)) == len(register.sites) - 1
    device.drop_rules()
    return [
        _row(work, "pons", "watch idle %", [100 * idle]),
        _row(work, "pons", "revoke ms", [1000 * cut]),
    ]


def _timed(change: Callable[[int], None], number: int) -> float:
    began = time.perf_counter()
    change(number)
    return time.perf_counter() - began


def _resident(interface: str) -> float:
    """MB that the userspace daemon of an interface holds; 0 where the kernel does it."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            argv = (status.parent / "cmdline").read_bytes().split(b"\0")
            if argv[0].endswith(b"wireguard-go") and interface.encode() in argv:
                line = next(one for one in status.read_text().splitlines() if one.startswith("VmRSS"))
                return int(line.split()[1]) / 1024
        except OSError:
            continue
    return 0.0


def _throughput(instances: int, runs: int) -> list[dict[str, Any]]:
    """storescu to an engine: over the wire between two namespaces, and through the tunnel on it."""
    from tests.e2e.studies import small_study
    from tests.tunnel.rig import DICOM, HUB, rig

    real = ROOT.parent / "shared" / "data" / "dti"
    with tempfile.TemporaryDirectory(prefix="pons-bench-") as made:
        folder = Path(made)
        shutil.unpack_archive(real / "dti-4-slices.zip", folder / "real")
        flat = folder / "flat"
        flat.mkdir()
        for path in (folder / "real").rglob("*.dcm"):
            path.rename(flat / path.name)
        with rig(folder, "a") as net:
            net.write_table({"a": {"tunnel": "100.64.0.2", "addresses": ["192.0.2.0/24"]}})
            net.join("a")
            net.start_tunnel()
            net.table.write_text(net.table.read_text().replace(f"{HUB}:{DICOM}", f"0.0.0.0:{DICOM}"))
            net.start_engine()
            net.meet("a")
            values: dict[str, list[float]] = {"direct": [], "tunnel": []}
            for run in range(runs):
                for way, address in (("direct", net.hub.address), ("tunnel", HUB)):
                    files = small_study(flat, folder / f"study-{way}-{run}", instances=instances)
                    size = sum(path.stat().st_size for path in files) / 1e6
                    began = time.perf_counter()
                    assert set(net.storescu("a", files, to=address).values()) == {"Success"}
                    values[way].append(size / (time.perf_counter() - began))
            net.stop_engine()
            net.stop_tunnel()
    return [_row("mr-1", way, "MB/s", found) for way, found in values.items()]


if __name__ == "__main__":
    main()
