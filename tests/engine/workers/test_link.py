"""The pipe between two processes: who asks is answered, who is gone is missed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.errors import Busy, Rejected, RejectedReason, UnknownPeer
from engine.workers.link import Link, LinkLost


@dataclass
class End:
    """One end and what it serves."""

    answers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    gone: threading.Event = field(default_factory=threading.Event)
    link: Any = None

    def serve(self, name: str, arguments: Any) -> Any:
        return self.answers[name](*arguments)


@pytest.fixture(params=[True, False], ids=["queued", "direct"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[End, End]]:
    """Both in this process; the one that asks queues what it says, or does not."""
    pipes = socket.socketpair()
    asks, serves = End(), End()
    asks.link = Link(pipes[0], asks.serve, asks.gone.set, queued=request.param)
    serves.link = Link(pipes[1], serves.serve, serves.gone.set, queued=True)
    asks.link.start()
    serves.link.start()
    yield asks, serves
    asks.link.close()
    serves.link.close()
    assert asks.gone.wait(30)
    assert serves.gone.wait(30)


def test_a_call_is_answered_with_a_value_or_when_it_is_there(ends: tuple[End, End]) -> None:
    asks, serves = ends
    later: Future[str] = Future()
    serves.answers = {"double": lambda number: 2 * number, "later": lambda: later}
    waiting = asks.link.call("later")
    assert asks.link.call("double", 21).result(30) == 42, "an answer that takes its time keeps nobody waiting"
    later.set_result("here")
    assert waiting.result(30) == "here"


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


ERRORS = [
    Busy("no space is left", storage_full=True),
    UnknownPeer("address", "no site has the address '10.0.0.1'"),
    Rejected(RejectedReason.CONFLICT, "here already"),
    OSError(98, "Address already in use"),
    KeyError("st-marys"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_what_a_call_raises_is_raised_at_the_other_end(ends: tuple[End, End], error: Exception) -> None:
    asks, serves = ends
    serves.answers = {"fail": raising(error)}
    raised = asks.link.call("fail").exception(30)
    assert type(raised) is type(error)
    assert (str(raised), raised.__dict__) == (str(error), error.__dict__)
    assert getattr(raised, "errno", None) == getattr(error, "errno", None)


def test_words_and_calls_arrive_in_the_order_in_which_they_were_said(ends: tuple[End, End]) -> None:
    asks, serves = ends
    heard: list[int] = []
    serves.answers = {"hear": heard.append, "heard": lambda: list(heard)}
    for number in range(1000):
        asks.link.tell("hear", number)
    assert asks.link.call("heard").result(30) == list(range(1000))


def test_a_word_that_is_not_understood_ends_nothing(
    ends: tuple[End, End], caplog: pytest.LogCaptureFixture
) -> None:
    asks, serves = ends
    serves.answers = {"ask": lambda: "answered"}
    asks.link.tell("nonsense")
    assert asks.link.call("ask").result(30) == "answered"
    assert "defect: word of another process was not taken" in caplog.messages


def test_what_cannot_be_told_fails_and_ends_nothing(
    ends: tuple[End, End], caplog: pytest.LogCaptureFixture
) -> None:
    asks, serves = ends
    serves.answers = {"give": threading.Lock, "ask": lambda: "answered"}
    assert isinstance(asks.link.call("ask", threading.Lock()).exception(30), TypeError)
    assert isinstance(asks.link.call("give").exception(30), TypeError)
    assert asks.link.call("ask").result(30) == "answered"
    assert "defect: an answer cannot be told to another process" in caplog.messages


def test_who_gives_up_is_not_worked_for(ends: tuple[End, End]) -> None:
    asks, serves = ends
    work: Future[None] = Future()
    cancelled = threading.Event()
    work.add_done_callback(lambda done: cancelled.set())
    serves.answers = {"work": lambda: work, "ask": lambda: "answered"}
    asked = asks.link.call("work")
    assert asks.link.call("ask").result(30) == "answered"
    asked.cancel()
    assert cancelled.wait(30)
    with pytest.raises(CancelledError):
        work.result(0)


def test_who_waits_for_one_that_is_gone_hears_so(ends: tuple[End, End]) -> None:
    asks, serves = ends
    serves.answers = {"never": Future}
    asked = asks.link.call("never")
    serves.link.close()
    assert asks.gone.wait(30)
    assert isinstance(asked.exception(30), LinkLost)
    assert isinstance(asks.link.call("never").exception(30), LinkLost)
    asks.link.tell("nothing")  # harmless
