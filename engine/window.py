"""Windows of time: when a destination takes nothing (`maintenance:`), when a route may go on (`schedule:`).

Enter: `daily 01:00-02:30`, `mon-fri 12:00-12:30`, `sat,sun 22:00-04:00`. Leave: a frozen window, and
for a moment in a time zone, when the windows that hold there end, and when the next one begins. Pure.
Times are local wall time, so a window keeps its hours when the clocks change; one that ends before it
begins runs past midnight.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(daily|[a-z,-]+)\s+(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """Days on which it begins, and its hours."""

    days: frozenset[int]  # 0 is Monday
    begins: time
    ends: time
    text: str

    def __str__(self) -> str:
        return self.text


def parse_window(value: Any) -> DailyWindow:
    """A window from its text; ValueError says how one is written."""
    if isinstance(value, DailyWindow):
        return value
    match = _WINDOW.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a window is days and hours, for example daily 01:00-02:30 or sat,sun 22:00-04:00")
    try:
        begins, ends = time(int(match[2]), int(match[3])), time(int(match[4]), int(match[5]))
    except ValueError:
        raise ValueError("a window's hours are between 00:00 and 23:59") from None
    if begins == ends:
        raise ValueError(
            "a window must not be as long as the day; for always or never there is no need of one"
        )
    return DailyWindow(_days(match[1]), begins, ends, " ".join(value.split()))


def _days(text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"days are {', '.join(DAYS)}, ranges such as mon-fri, or daily")
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % 7
        days |= {(start + offset) % 7 for offset in range(length + 1)}
    return frozenset(days)


def closed_until(windows: Sequence[DailyWindow], now: datetime, zone: ZoneInfo) -> datetime | None:
    """When the windows that hold now end, in UTC; None when it is open now.

    Windows that touch or overlap count as one. Bounded: what never opens within eight days is looked
    at again after them.
    """
    until = now
    horizon = now + timedelta(days=8)
    while until < horizon:
        ends = [end for window in windows if (end := _end_of(window, until, zone)) is not None]
        if not ends:
            break
        until = max(ends)
    return until.astimezone(UTC) if until > now else None


def opens_at(windows: Sequence[DailyWindow], now: datetime, zone: ZoneInfo) -> datetime | None:
    """When the next of some windows begins, in UTC; None when one holds now, or when there are none.

    Where the clocks skip the hour in which a window would begin, it begins when they have; one that lies
    in that hour is left out that day. A window that the clocks come back to begins again.
    """
    if not windows or any(_end_of(window, now, zone) for window in windows):
        return None
    today = now.astimezone(zone).date()
    for first in range(0, 400, 8):  # a window of one day a week may fall into a skipped hour
        days = [today + timedelta(days=first + offset) for offset in range(-1, 9)]
        begins = [
            datetime.combine(day, window.begins, zone).replace(fold=fold).astimezone(UTC)
            for window in windows
            for day in days
            if day.weekday() in window.days
            for fold in (0, 1)
        ]
        begins += _changes(days, zone)
        found = [one for one in begins if one > now and any(_end_of(each, one, zone) for each in windows)]
        if found:
            return min(found)
    raise AssertionError("a window never begins")


def _changes(days: Sequence[date], zone: ZoneInfo) -> list[datetime]:
    """When the clocks are changed on some days, to the second, in UTC."""
    found = []
    for day in days:
        low = datetime.combine(day, time(), zone).astimezone(UTC)
        high = low + timedelta(days=1)
        before = low.astimezone(zone).utcoffset()
        if high.astimezone(zone).utcoffset() == before:
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            if middle.astimezone(zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        found.append(high.replace(microsecond=0))
    return found


def _end_of(window: DailyWindow, moment: datetime, zone: ZoneInfo) -> datetime | None:
    """When this window ends, when the clock on the wall is within it; in UTC.

    An hour that the clocks repeat is in it twice, one that they skip is not in it at all.
    """
    wall = moment.astimezone(zone).replace(tzinfo=None)
    for day in (wall.date(), wall.date() - timedelta(days=1)):
        if day.weekday() in window.days:
            begin = datetime.combine(day, window.begins)
            last = day if window.ends > window.begins else day + timedelta(days=1)
            end = datetime.combine(last, window.ends)
            if begin <= wall < end:
                ends = [end.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
                return min((one for one in ends if one > moment), default=max(ends))
    return None


Window = Annotated[
    DailyWindow,
    PlainValidator(parse_window),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": _WINDOW.pattern}),
]
