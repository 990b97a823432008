"""Storage commitment needs two ends that know each other (PS3.4 J.3).

Enters: a reading. Leave: findings about reports that nobody could be sent, or that would be turned away.
"""

from __future__ import annotations

from typing import Any

from engine.checks.names import is_known
from engine.finding import Location, did_you_mean, shown
from engine.reading import Reading


def check_reports(reading: Reading) -> None:
    """Who is called back with storage commitment reports is known, and each only once."""
    for name, declared in reading.inbound.items():
        seen: set[tuple[str, str]] = set()
        report_to = getattr(getattr(declared.settings, "commitment", None), "report_to", ())
        for index, to in enumerate(report_to):
            here: Location = ("inbound", name, "commitment", "report_to", index)
            if not is_known(reading, "sites", to.site, (*here, "site")):
                continue
            site = reading.sites.get(to.site)
            if site is not None and to.ae_title not in site.ae_titles:
                hint = did_you_mean(to.ae_title, site.ae_titles)
                message = f"site {to.site} has no AE title {shown(to.ae_title)}{hint}"
                reading.complain((*here, "ae_title"), message, "unknown-ae-title")
            elif (to.site, to.ae_title) in seen:
                message = f"{to.ae_title} of {to.site} is there already; it can be called at one address only"
                reading.complain((*here, "ae_title"), message, "duplicate-name")
            seen.add((to.site, to.ae_title))


def check_commitment(reading: Reading, name: str, settings: Any) -> None:
    """A peer's report on an association of its own (PS3.4 J.3.3) must find a listener that takes it."""
    if not getattr(settings, "storage_commitment", False):
        return
    site = reading.sites.get(settings.site)
    listeners = [one.settings for one in reading.inbound.values() if one.type.name == "c_store"]
    ours = {getattr(one, "ae_title", None) for one in listeners}
    if not listeners:
        missing = "no c_store listener takes it: declare one under inbound"
    elif settings.calling_ae_title not in ours:
        missing = f"no c_store listener has the AE title {settings.calling_ae_title} that it is asked from"
    elif site is not None and settings.ae_title not in site.ae_titles:
        missing = f"{settings.ae_title} is not among the ae_titles of site {site.key}, so it is turned away"
    else:
        return
    reading.warn(
        ("outbound", name, "storage_commitment"),
        f"where the peer reports on an association of its own, {missing}; only a report on the association "
        "that asked would be heard",
        "commitment-unheard",
    )
