"""Programs that ask the API as fast as it answers: requests prepared before, one behind the other.

Enter: a port, a token, what is asked, how often, on how many connections. Leave: requests a second over all,
and the time of the median and of the slowest in a hundred. Each connection is a process, is kept, and has
`TCP_NODELAY` set; each answer must be 200.
"""

from __future__ import annotations

import http.client
import multiprocessing
import queue
import random
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from bench.api import rows
from bench.api.house import SITE, House

SPAWN = multiprocessing.get_context("spawn")
API = "/api/v1"
_NUMBER = int(SITE.rpartition("-")[2])


def status(among: int, chance: random.Random) -> str:
    """One order of the client's site, any of them."""
    return f"{API}/orders/{rows.order_id(_any(among, chance))}"


def of_study(among: int, chance: random.Random) -> str:
    """The orders of a study of the client's site."""
    return f"{API}/studies/{rows.study_uid(_any(among, chance))}/orders"


def listed(_among: int, _chance: random.Random) -> str:
    """The latest fifty of its site."""
    return f"{API}/orders?limit=50"


def filtered(_among: int, _chance: random.Random) -> str:
    """The latest ten that failed, one in fifty."""
    return f"{API}/orders?limit=10&state=failed"


QUESTIONS: Mapping[str, Callable[[int, random.Random], str]] = {
    "status": status,
    "of-study": of_study,
    "list": listed,
    "list-state": filtered,
}


def _any(among: int, chance: random.Random) -> int:
    return chance.randrange(among // rows.SITES) * rows.SITES + _NUMBER


def ask(
    port: int,
    token: str,
    question: str,
    among: int,
    seed: int,
    count: int,
    start: Barrier,
    said: Queue[tuple[float, float, list[float]]],
) -> None:
    """A process that asks so often on one connection, begun together with others."""
    chance = random.Random(seed)
    paths = [QUESTIONS[question](among, chance) for _ in range(count)]
    headers = {"Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start.wait(300)
    began, took = time.monotonic(), []
    for path in paths:
        asked = time.monotonic()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.monotonic() - asked)
        if answer.status != 200:
            raise RuntimeError(f"the API answers {answer.status}")
    said.put((began, time.monotonic(), took))
    connection.close()


def asked(house: House, question: str, among: int, connections: int, count: int) -> dict[str, float]:
    """What so many programs find, each asking so often."""
    start, said = SPAWN.Barrier(connections), SPAWN.Queue()
    fixed = (house.port, house.token, question, among)
    programs = [
        SPAWN.Process(target=ask, args=(*fixed, seed, count, start, said), daemon=True)
        for seed in range(connections)
    ]
    for one in programs:
        one.start()
    answers: list[tuple[float, float, list[float]]] = []
    while len(answers) < connections:
        try:
            answers.append(said.get(timeout=1))
        except queue.Empty:
            if any(one.exitcode for one in programs):
                raise RuntimeError("a program failed; what it said is above") from None
    for one in programs:
        one.join(60)
    took = sorted(seconds for _, _, some in answers for seconds in some)
    seconds = max(ended for _, ended, _ in answers) - min(began for began, _, _ in answers)
    return {
        "requests/s": len(took) / seconds,
        "p50 ms": statistics.median(took) * 1000,
        "p99 ms": took[min(len(took) - 1, len(took) * 99 // 100)] * 1000,
    }
