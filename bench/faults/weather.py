"""How a receiver behaves just now; the injector sets it, the receiver asks at each message.

fair: takes and answers · deaf: hangs up before it has taken anything · mute: takes, then hangs up
without an answer · slow: takes and answers late · busy: asks to come again · wrong: answers for another
message (MLLP only) · down: nobody listens.
"""

from __future__ import annotations

from typing import Literal, Protocol

Weather = Literal["fair", "deaf", "mute", "slow", "busy", "wrong", "down"]
EVERYWHERE: tuple[Weather, ...] = ("deaf", "mute", "slow", "busy", "down")
LATE = 1.0  # seconds


class Sink(Protocol):
    """A receiver whose weather can be made."""

    name: str
    weathers: tuple[Weather, ...]

    def turn(self, weather: Weather) -> None:
        """From now on."""
        ...

    def stop(self) -> None:
        """For good."""
        ...
