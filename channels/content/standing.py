"""What a destination is told of a result's standing, and in whose time.

Enter: a result and the history of its destination. Leave: the status to tell, the version that is
replaced, a banner for people, moments in the site's own time zone. A result is a correction only
to who acknowledged an earlier final one; to everybody else it is simply final (HL7 table 0085).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.model import Acknowledged, History, Result, ResultStatus, uid_from

_SETTLED = (ResultStatus.FINAL, ResultStatus.CORRECTED)
_REPORTS = (ResultStatus.PRELIMINARY, *_SETTLED)


def told_status(result: Result, history: History) -> ResultStatus:
    """The status as this destination must see it: final or corrected follows what it acknowledged."""
    if result.status not in _SETTLED:
        return result.status
    settled = any(earlier.status in _SETTLED for earlier in history.acknowledged)
    return ResultStatus.CORRECTED if settled else ResultStatus.FINAL


def replaced(result: Result, history: History) -> Acknowledged | None:
    """The latest report that this destination holds and this result takes the place of."""
    if result.status is ResultStatus.FAILED:
        return None  # a failure report replaces nothing: the earlier report still stands
    held = [earlier for earlier in history.acknowledged if earlier.status in _REPORTS and earlier.identifiers]
    return held[-1] if held else None


def lineage_uid(result: Result, purpose: str) -> str:
    """A UID that all versions of a result share: same site, study and route."""
    return uid_from("lineage", result.site, result.study.study_instance_uid, result.route, purpose)


BANNERS = {
    ResultStatus.PRELIMINARY: "PRELIMINARY",
    ResultStatus.FINAL: "",
    ResultStatus.CORRECTED: "CORRECTED",
    ResultStatus.RETRACTED: "RETRACTED - DO NOT USE",
    ResultStatus.FAILED: "FAILED - NO RESULT",
}
"""What a picture or page says across its top; a plain final result says nothing."""


def site_zone(name: str) -> tzinfo:
    """The zone with this IANA name; UTC where the name is empty or unknown here."""
    return _zone(name)


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def aware(moment: datetime, zone: tzinfo) -> datetime:
    """The moment in the zone; a naive one is taken for that zone's local time."""
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)
