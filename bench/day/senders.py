"""Many senders in a process of their own, each visit after visit until the day is over.

Enter: ports, how many senders, a seed, when the day ends (by the monotonic clock, which all processes of
a machine share). Leave: one diary. Of ten senders one speaks STOW-RS; of ten visits eight bring MR, and a few
in a thousand something large; one in four ends badly.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.queues import Queue
from random import Random

from bench.day.objects import LARGE, MIDDLE, SMALL, Instance, instances
from bench.day.visit import BAD, GOOD, Diary, c_store, refusal, stow_rs

VISITS = 1_000_000  # more than a process makes


def work(
    dicom_port: int, http_port: int, process: int, senders: int, seed: int, until: float, said: Queue[Diary]
) -> None:
    """A process: its senders are threads, most of which wait at any time."""
    diary, visits = Diary(), itertools.count(process * VISITS)
    threads = [
        threading.Thread(
            target=_day,
            args=(dicom_port, http_port, number, Random(f"{seed}-{number}"), until, visits, diary),
        )
        for number in range(process * senders, (process + 1) * senders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said.put(diary)


def _day(
    dicom_port: int,
    http_port: int,
    number: int,
    random: Random,
    until: float,
    visits: itertools.count[int],
    diary: Diary,
) -> None:
    while True:
        time.sleep(min(random.uniform(0, 5), max(0.0, until - time.monotonic())))
        if time.monotonic() >= until:
            return
        ending = random.choice(BAD) if random.random() < 0.25 else random.choice(GOOD)
        sent = _something(random, next(visits))
        go: Callable[[int, list[Instance], str, Random, Diary], None]
        go, port = (stow_rs, http_port) if number % 10 == 9 else (c_store, dicom_port)
        try:
            go(port, sent, ending, random, diary)
        except (RuntimeError, OSError) as error:
            _let_down(error, ending, until - time.monotonic(), diary)


def _let_down(error: RuntimeError | OSError, ending: str, left: float, diary: Diary) -> None:
    if isinstance(error, RuntimeError) and refusal(error):
        diary.refused += 1
    elif not (ending in BAD and isinstance(error, ConnectionError)):
        where = traceback.extract_tb(error.__traceback__)[-1].name
        diary.failed.append(
            f"{type(error).__name__} in {where}, a visit that was to end by {ending}: {error}"
        )


def _something(random: Random, visit: int) -> list[Instance]:
    chance = random.random()
    if chance < 0.004:
        return instances(LARGE, visit, 1)
    if chance < 0.2:
        return instances(MIDDLE, visit, random.randint(1, 4))
    return instances(SMALL, visit, random.randint(1, 12))
