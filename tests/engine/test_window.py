"""Windows by the clock on the wall of a site."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine.window import Window, closed_until, opens_at, parse_window

ZURICH = ZoneInfo("Europe/Zurich")  # clocks go forward on 2026-03-29 at 02:00, back on 2026-10-25 at 03:00


def until(moment: str, *windows: str, zone: ZoneInfo = ZURICH) -> str | None:
    """When it opens, on the wall; the moment is on the wall too, or in UTC with a Z."""
    read = datetime.fromisoformat(moment)
    now = read if read.tzinfo else read.replace(tzinfo=zone)
    end = closed_until([parse_window(each) for each in windows], now, zone)
    return None if end is None else end.astimezone(zone).strftime("%a %H:%M %z")


@pytest.mark.parametrize(
    ("moment", "windows", "opens"),
    [
        ("2026-05-04T00:59:59", ["daily 01:00-02:30"], None),
        ("2026-05-04T01:00:00", ["daily 01:00-02:30"], "Mon 02:30 +0200"),
        ("2026-05-04T02:30:00", ["daily 01:00-02:30"], None),
        ("2026-05-04T23:00:00", ["mon 22:00-04:00"], "Tue 04:00 +0200"),  # past midnight
        ("2026-05-05T03:59:00", ["mon 22:00-04:00"], "Tue 04:00 +0200"),  # it began on Monday
        ("2026-05-06T03:59:00", ["mon 22:00-04:00"], None),
        ("2026-05-11T00:30:00", ["sun 22:00-04:00"], "Mon 04:00 +0200"),  # across the week's end
        ("2026-05-09T12:00:00", ["mon-fri 11:00-13:00"], None),
        ("2026-05-08T12:00:00", ["mon-fri 11:00-13:00"], "Fri 13:00 +0200"),
        ("2026-05-09T12:00:00", ["fri-mon 11:00-13:00"], "Sat 13:00 +0200"),  # around the week's end
        ("2026-05-09T12:00:00", ["sat,sun 11:00-13:00"], "Sat 13:00 +0200"),
        ("2026-05-04T01:10:00", ["daily 01:00-02:00", "mon 02:00-03:00"], "Mon 03:00 +0200"),  # they touch
    ],
)
def test_it_holds_within_its_hours(moment: str, windows: list[str], opens: str | None) -> None:
    assert until(moment, *windows) == opens


@pytest.mark.parametrize(
    ("moment", "window", "opens"),
    [
        # the night without 02:00 to 03:00
        ("2026-03-29T00:59:00Z", "daily 01:00-04:00", "Sun 04:00 +0200"),
        ("2026-03-29T01:00:00Z", "daily 01:00-02:30", None),  # 03:00 on the wall
        ("2026-03-29T01:10:00Z", "daily 02:30-03:15", "Sun 03:15 +0200"),  # 03:10 on the wall
        ("2026-03-29T00:59:00Z", "daily 02:30-03:15", None),  # 01:59 on the wall
        # the night with two
        ("2026-10-25T00:10:00Z", "daily 02:00-02:30", "Sun 02:30 +0200"),
        ("2026-10-25T01:10:00Z", "daily 02:00-02:30", "Sun 02:30 +0100"),
        ("2026-10-25T00:45:00Z", "daily 02:00-02:30", None),
        ("2026-10-24T23:30:00Z", "daily 01:00-04:00", "Sun 04:00 +0100"),  # an hour longer than usual
    ],
)
def test_it_keeps_its_hours_when_the_clocks_change(moment: str, window: str, opens: str | None) -> None:
    assert until(moment, window) == opens


def test_windows_without_a_gap_end_the_search() -> None:
    end = closed_until(
        [parse_window("daily 00:00-12:00"), parse_window("daily 12:00-00:00")],
        datetime(2026, 5, 4, tzinfo=UTC),
        ZURICH,
    )

    assert end is not None
    assert (end - datetime(2026, 5, 4, tzinfo=UTC)).days in (8, 9)


@pytest.mark.parametrize(
    "text",
    ["01:00-02:00", "daily 1:00-2:00", "daily 25:00-26:00", "someday 01:00-02:00", "daily 01:00-01:00", 7],
)
def test_what_is_no_window_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"window|days are"):
        TypeAdapter(Window).validate_python(text)


def test_a_window_is_written_as_it_was_read() -> None:
    adapter = TypeAdapter(Window)

    assert adapter.dump_json(adapter.validate_python("sat,sun  22:00-04:00")) == b'"sat,sun 22:00-04:00"'


def opening(moment: str, *windows: str, zone: ZoneInfo = ZURICH) -> str | None:
    """When the next one begins, on the wall; the moment as in `until`."""
    read = datetime.fromisoformat(moment)
    now = read if read.tzinfo else read.replace(tzinfo=zone)
    begin = opens_at([parse_window(each) for each in windows], now, zone)
    return None if begin is None else begin.astimezone(zone).strftime("%a %H:%M %z")


@pytest.mark.parametrize(
    ("moment", "windows", "begins"),
    [
        ("2026-05-04T12:00:00", [], None),  # at any time
        ("2026-05-04T19:59:59", ["daily 20:00-06:00"], "Mon 20:00 +0200"),
        ("2026-05-04T20:00:00", ["daily 20:00-06:00"], None),
        ("2026-05-05T05:59:59", ["daily 20:00-06:00"], None),
        ("2026-05-05T06:00:00", ["daily 20:00-06:00"], "Tue 20:00 +0200"),
        ("2026-05-08T07:00:00", ["mon-thu 20:00-06:00"], "Mon 20:00 +0200"),  # over the week's end
        ("2026-05-08T05:00:00", ["mon-thu 20:00-06:00"], None),  # it began on Thursday
        ("2026-05-04T12:30:00", ["daily 20:00-06:00", "mon-fri 13:00-14:00"], "Mon 13:00 +0200"),
        ("2026-05-05T12:00:00", ["tue 11:00-12:00"], "Tue 11:00 +0200"),  # a week from now
        # the night without 02:00 to 03:00
        ("2026-03-29T00:59:00Z", "daily 02:30-04:00", "Sun 03:00 +0200"),  # when the hour has been skipped
        ("2026-03-29T00:59:00Z", "daily 02:10-02:50", "Mon 02:10 +0200"),  # not in this night
        ("2026-03-28T23:00:00Z", "sun 02:10-02:50", "Sun 02:10 +0200"),  # nor in this week
        # the night with two
        ("2026-10-25T00:45:00Z", "daily 02:00-02:30", "Sun 02:00 +0100"),  # it comes again
        ("2026-10-25T00:45:00Z", "daily 01:00-02:30", "Sun 02:00 +0100"),
        ("2026-10-25T01:45:00Z", "daily 02:00-02:30", "Mon 02:00 +0100"),
    ],
)
def test_the_next_one_begins(moment: str, windows: list[str] | str, begins: str | None) -> None:
    assert opening(moment, *([windows] if isinstance(windows, str) else windows)) == begins


@settings(max_examples=60, deadline=None)
@given(
    start=st.datetimes(datetime(2026, 3, 27), datetime(2026, 3, 30))
    | st.datetimes(datetime(2026, 10, 23), datetime(2026, 10, 26)),
    begins=st.times(),
    ends=st.times(),
    days=st.sampled_from(["daily", "sat,sun", "mon-fri"]),
    zone=st.sampled_from([ZURICH, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("UTC")]),
)
def test_it_begins_at_the_first_minute_at_which_it_holds(
    start: datetime, begins: time, ends: time, days: str, zone: ZoneInfo
) -> None:
    assume((begins.hour, begins.minute) != (ends.hour, ends.minute))
    window = parse_window(f"{days} {begins:%H:%M}-{ends:%H:%M}")
    now = start.replace(second=0, microsecond=0, tzinfo=UTC)
    minutes = (now + timedelta(minutes=each) for each in range(8 * 24 * 60))
    first = next(one for one in minutes if closed_until([window], one, zone) is not None)
    assert opens_at([window], now, zone) == (None if first == now else first)
