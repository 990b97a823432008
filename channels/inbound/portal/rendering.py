"""The portal's pages as HTML: Jinja2 templates that escape all they are given, and how values are written.

Enter: a template's name and values. Leaves: text. A value that a template names and nobody gave is an error,
not an empty place. Times are shown in the zone of the site that they are of, with the whole in `datetime`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from channels.inbound.portal import assets
from channels.inbound.portal.settings import PortalSettings
from engine.channel import SiteDirectory

TEMPLATES = Path(__file__).parent / "templates"
_SIZES = ("B", "kB", "MB", "GB", "TB")


class Rendering:
    """The templates of one portal."""

    def __init__(self, settings: PortalSettings, sites: SiteDirectory) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._sites = sites
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            moment=self.moment,
            day=self.day,
            size=size,
            seconds=seconds,
            count=count,
            plural=plural,
            person=person,
            sentence=sentence,
        )
        self._environment.globals.update(
            static=lambda name: assets.address(settings.base, name),
            url=lambda path: settings.base + path,
            site_name=self.site_name,
            notice=settings.notice,
        )

    def text(self, template: str, **values: Any) -> str:
        """One page."""
        return self._environment.get_template(template).render(values)

    def moment(self, when: float | datetime | None, site: str | None = None) -> Markup:
        """A time in a site's zone, as `<time>`; a dash where there is none."""
        return self._time(when, site, lambda local: f"{local:%Y-%m-%d %H:%M:%S}")

    def day(self, when: float | datetime | None, site: str | None = None) -> Markup:
        """A day and its minute, for lists."""
        return self._time(when, site, lambda local: f"{local:%Y-%m-%d %H:%M}")

    def site_name(self, key: str | None) -> str:
        """What people call a site; its key where the table has it no longer."""
        if key is None:
            return "every site"
        try:
            return self._sites.get(key).name or key
        except KeyError:
            return key

    def _time(
        self, when: float | datetime | None, site: str | None, written: Callable[[datetime], str]
    ) -> Markup:
        if when is None:
            return Markup("–")
        moment = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
        local = moment.astimezone(self._zone_of(site))
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            local.isoformat(timespec="seconds"), f"{local:%Y-%m-%d %H:%M:%S %Z}", written(local)
        )

    def _zone_of(self, site: str | None) -> tzinfo:
        if site is None:
            return self._zone
        try:
            return ZoneInfo(self._sites.get(site).timezone)
        except KeyError:
            return self._zone


def size(octets: float | None) -> str:
    """Bytes as people read them: 512 B, 1.5 MB."""
    if octets is None:
        return "–"
    value = float(octets)
    for unit in _SIZES[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {_SIZES[-1]}"


def seconds(span: float | None) -> str:
    """A span of time as people say it: 45 s, 3 min, 2 h 5 min, 3 d."""
    if span is None:
        return "–"
    if span < 1:
        return f"{span * 1000:.0f} ms"
    if span < 90:
        return f"{span:.0f} s"
    if span < 5400:
        return f"{span / 60:.0f} min"
    if span < 48 * 3600:
        hours, minutes = divmod(int(span) // 60, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{span / 86400:.0f} d"


def count(number: int) -> str:
    """A number with its thousands apart by a narrow space that does not break."""
    return f"{number:,}".replace(",", "\u202f")


def plural(number: int, one: str, many: str = "") -> str:
    """`1 order`, `2 orders`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def sentence(text: object) -> str:
    """A message of the engine, which begins in lower case and ends without a stop, as people read it."""
    said = str(text).strip()
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")


def person(name: str) -> str:
    """A name of PS3.5 6.2.1 as people write it: family, given; its groups of other scripts beside it."""
    groups = ([part.strip() for part in group.split("^")] for group in name.split("="))
    return " / ".join(filter(None, (", ".join(filter(None, parts)) for parts in groups)))
