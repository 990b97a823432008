"""What a tunnel carries right now: how much is lost, how long it takes, how large a packet may be.

Enter: a site's tunnel address. Leave: measured figures, by ping(8), which needs no right where the machine
lets every group send echoes, as systemd has it. The hub's rules let its own echoes out and their answers in.
A few dozen small packets, a second or two.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

ECHOES = 10
HEADERS = 28  # bytes of IPv4 and ICMP around an echo's data
SIZES = (1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1000, 576)  # bytes; 1280 is what we set

_LOSS = re.compile(r"([\d.]+)% packet loss")
_FORBIDDEN = re.compile(r"not permitted|lacking privilege")
_TIMES = re.compile(r"= [\d.]+/([\d.]+)/")


class ProbeError(Exception):
    """Nothing can be measured; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One measurement."""

    loss: float  # percent of the echoes
    round_trip: float  # milliseconds, the mean; 0 where none came back
    mtu: int  # bytes of the largest packet that came back whole; 0 where none did


def measure(address: str) -> Quality:
    """Ping an address; everything is lost where the site is silent.

    Raises:
        ProbeError: this machine, or this user, cannot ping at all.
    """
    said = _ping(address, "-c", str(ECHOES), "-i", "0.2", "-W", "1")
    loss, times = _LOSS.search(said), _TIMES.search(said)
    if loss is None or float(loss[1]) == 100:
        return Quality(100.0, 0.0, 0)
    mtu = next((size for size in SIZES if _carries(address, size)), 0)
    return Quality(float(loss[1]), float(times[1]) if times else 0.0, mtu)


def _carries(address: str, size: int) -> bool:
    echoes = ("-c", "3", "-i", "0.2", "-W", "1")  # one may be lost for another reason
    return "bytes from" in _ping(address, *echoes, "-M", "do", "-s", str(size - HEADERS))


def _ping(address: str, *options: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 our own words, and an address of the register
            ["ping", "-n", *options, address],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        raise ProbeError("ping is not installed: install iputils-ping") from None
    except subprocess.TimeoutExpired:
        return ""
    except PermissionError:  # a program with rights of its own (cap_net_raw) where none may be gained
        raise ProbeError("ping may not be run by this process: probe from a shell, not from a unit") from None
    if _FORBIDDEN.search(done.stderr):
        raise ProbeError("ping may not send echoes: sysctl net.ipv4.ping_group_range='0 2147483647' lets it")
    return done.stdout
