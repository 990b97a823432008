"""What `pons explain` looks at: DICOM files as a study, or the engine's record of one.

Enter: a path or a Study Instance UID, and a table. Leave: studies to decide, or decisions taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.errors import PonsError, Rejected
from engine.finding import did_you_mean, shown
from engine.model import InstanceFacts, Study
from engine.part10 import inspect
from engine.route import Decision, decision_from_json
from engine.store import look, work
from engine.store.database import exists, locate, open_database
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
        members.setdefault(header.study_instance_uid, []).append(
            InstanceFacts(
                series_instance_uid=header.series_instance_uid,
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                attributes=header.attributes,
            )
        )
    if not members:
        raise PonsError(f"{path}: holds no DICOM instance")
    now = datetime.now(ZoneInfo(site.timezone))
    studies = [
        Study(site.key, uid, 1, inbound, calling, called, now, tuple(instances))
        for uid, instances in members.items()
    ]
    return studies, skipped


def recorded_decision(table: Table, study_instance_uid: str) -> list[Decision]:
    """The latest decision on a study, one for each site that sent it.

    Raises:
        PonsError: the engine has no such study, or has not decided it yet.
    """
    url = locate(table.engine)
    if not exists(url):
        raise PonsError(f"{shown(study_instance_uid)} is no path, and {url.database} holds no studies yet")
    database = open_database(url)
    try:
        studies = database.read_now(
            lambda c: look.list_studies(c, site=None, uid=study_instance_uid, limit=100)
        )
        decided = [database.read_now(partial(work.decisions_of, study_id=study.id)) for study in studies]
    finally:
        database.close()
    if not studies:
        raise PonsError(f"no study {shown(study_instance_uid)}; `pons studies` lists what there is")
    found = [decision_from_json(decisions[-1].decision) for decisions in decided if decisions]
    if not found:
        raise PonsError(f"study {study_instance_uid} has not been decided yet; it is not stable")
    return found


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
