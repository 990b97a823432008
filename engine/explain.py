"""What `pons explain` looks at: DICOM files as a study, or the engine's record of one.

Enter: a path or a Study Instance UID, and a table. Leave: studies to decide, or decisions taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.clock import at
from engine.errors import PonsError, Rejected
from engine.finding import did_you_mean, shown
from engine.model import InstanceFacts, Study
from engine.overrides import in_facts
from engine.part10 import inspect
from engine.recorded_study import recorded_study
from engine.route import Decision, decide_in_full, decision_from_json, with_overrides
from engine.store import browse, look, studies, work
from engine.store.database import exists, locate, open_database
from engine.store.study_orders import overrides_of
from engine.table import Table

MAX_FILES = 200_000


class WronglyAssumed(PonsError):
    """A fact of the arrival is not of this table, or must be told."""


class Assumed(NamedTuple):
    """Facts of the arrival, which files do not carry; None is what the table suggests."""

    site: str | None = None
    inbound: str | None = None
    calling_ae_title: str | None = None
    called_ae_title: str | None = None


def read_studies(path: Path, table: Table, assumed: Assumed) -> tuple[list[Study], int]:
    """The studies in a file or folder, as if they had just arrived, and how many files are no DICOM.

    Raises:
        WronglyAssumed: the table knows no such site or channel, or the site must be told.
        PonsError: there is no study.
    """
    site = table.sites[_choose("site", assumed.site, list(table.sites))]
    inbound = assumed.inbound
    if inbound is None:
        inbound = next(iter(table.inbound), "")
    elif inbound not in table.inbound:
        raise WronglyAssumed(f"no inbound channel {shown(inbound)}{did_you_mean(inbound, table.inbound)}")
    calling = assumed.calling_ae_title
    if calling is None:
        calling = site.ae_titles[0] if site.ae_titles else ""
    called = assumed.called_ae_title
    if called is None:
        declared = table.inbound.get(inbound)
        called = str(getattr(declared.settings, "ae_title", "") if declared else "") or table.engine.ae_title
    members: dict[str, list[InstanceFacts]] = {}
    wanted = sorted(table.keywords())
    skipped = 0
    for file in itertools.islice(_files(path), MAX_FILES):
        try:
            header = inspect(file, wanted)
        except Rejected:
            skipped += 1
            continue
        members.setdefault(header.study_instance_uid, []).append(header.facts)
    if not members:
        raise PonsError(f"{path}: holds no DICOM instance")
    now = datetime.now(ZoneInfo(site.timezone))
    found = [
        Study(site.key, uid, 1, inbound, calling, called, now, tuple(instances))
        for uid, instances in members.items()
    ]
    return found, skipped


@dataclass(frozen=True, slots=True)
class Recorded:
    """One revision of a study as the engine decided it."""

    site: str
    revision: int
    decided_at: datetime
    decision: Decision
    now: Decision | None = None  # what the table makes of it as it stands


def recorded_decisions(
    table: Table, study_instance_uid: str, *, revision: int | None = None, now: bool = False
) -> list[Recorded]:
    """The latest decision on a study, one for each site that sent it.

    Args:
        revision: the one to look at; the latest that was decided when absent.
        now: decide it once more by the table as it stands.

    Raises:
        PonsError: the engine has no such study or revision, or has not decided it yet.
    """
    url = locate(table.engine)
    if not exists(url):
        raise PonsError(f"{shown(study_instance_uid)} is no path, and {url.database} holds no studies yet")
    database = open_database(url)
    try:
        return database.read_now(lambda c: recorded(c, table, study_instance_uid, revision=revision, now=now))
    finally:
        database.close()


def recorded(
    connection: Connection,
    table: Table,
    uid: str,
    *,
    revision: int | None = None,
    now: bool = False,
    sites: Collection[str] | None = None,
) -> list[Recorded]:
    """`recorded_decisions` on a database that is open.

    Args:
        sites: of studies that these sent; None for every site.
    """
    rows = look.list_studies(connection, ids=browse.study_ids(connection, uid), limit=100)
    rows = [row for row in rows if sites is None or row.site in sites]
    if not rows:
        raise PonsError(f"no study {shown(uid)}; `pons studies` lists what there is")
    found, known = [], set()
    for row in rows:
        decisions = work.decisions_of(connection, row.id)
        known |= {one.revision for one in decisions}
        wanted = [one for one in decisions if revision in (None, one.revision)]
        if not wanted:
            continue
        latest = wanted[-1]
        again = _decide_again(connection, table, row, latest.revision) if now else None
        taken = decision_from_json(latest.decision)
        found.append(Recorded(row.site, latest.revision, at(latest.decided_at), taken, again))
    if not known:
        raise PonsError(f"study {uid} has not been decided yet; it is not stable")
    if not found:
        listed = ", ".join(map(str, sorted(known)))
        raise PonsError(f"study {uid} has no decided revision {revision}; there is {listed}")
    return found


def _decide_again(connection: Connection, table: Table, row: Any, revision: int) -> Decision:
    members = studies.members(connection, row.id, revision)
    folder = table.engine.data / "instances"
    try:
        study = recorded_study(
            row, members, revision, table.keywords(), table.sites, lambda relative: folder / relative
        )
        overrides = overrides_of(connection, row.id, revision)
    except (OSError, Rejected):
        raise PonsError(
            f"study {row.study_instance_uid} cannot be decided again: its files are gone, "
            "and the table asks for more than was noted when they came"
        ) from None
    return with_overrides(decide_in_full(in_facts(study, overrides), table), overrides)


def _choose(word: str, wanted: str | None, known: list[str]) -> str:
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        raise WronglyAssumed(
            f"files do not say their {word}; give --{word}, one of {', '.join(known) or 'none'}"
        )
    if wanted not in known:
        raise WronglyAssumed(f"no {word} {shown(wanted)}{did_you_mean(wanted, known)}")
    return wanted


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        return iter((path,))
    return (one for one in sorted(path.rglob("*")) if one.is_file() and one.name != "DICOMDIR")
