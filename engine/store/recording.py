"""Write instances down: new, here already, a further version, or (versions not kept) a conflict.

Enter: instances whose bytes are durable, several in one transaction where they wait together. Leaves: what
became of each, in order. Where several processes write, names and the study's row order them; they are
taken in one order, so that two writers cannot wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from engine.store import study_orders
from engine.store.dialect import insert_unless_there, serialise
from engine.store.prepared import Prepared
from engine.store.tables import instances, studies

_LATEST = ("inbound", "calling_ae_title", "called_ae_title", "remote_address")
_VERSIONS = Prepared(
    select(instances.c.study_id, instances.c.sha256, instances.c.path).where(
        instances.c.site == bindparam("site"), instances.c.sop_instance_uid == bindparam("sop_instance_uid")
    )
)
_STUDY_TO_OPEN = Prepared(
    select(studies.c.id, studies.c.state, studies.c.opened_at, studies.c.last_at)
    .where(
        studies.c.site == bindparam("site"), studies.c.study_instance_uid == bindparam("study_instance_uid")
    )
    .with_for_update(key_share=True)
)
_OPEN_STUDY = Prepared(
    update(studies).where(studies.c.id == bindparam("study_id")),
    ("state", "opened_at", "last_at", *_LATEST),
)
_COUNT_DUPLICATE = (
    update(studies).where(studies.c.id == bindparam("study_id")).values(duplicates=studies.c.duplicates + 1)
)
_ROW = (
    "study_id",
    "site",
    "sop_instance_uid",
    "series_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "sha256",
    "size",
    "path",
    "attributes",
    "received_at",
)
_ADD_INSTANCE = Prepared(insert(instances).inline(), _ROW)  # nobody asks for the new key


@dataclass(frozen=True, slots=True)
class NewInstance:
    """What intake records of one instance whose bytes are durable."""

    site: str
    inbound: str
    calling_ae_title: str
    called_ae_title: str
    remote_address: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    size: int
    path: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a NewInstance."""

    study_id: int
    outcome: str  # new | duplicate | version | conflict | gone (its bytes are no longer there)
    late: bool = False  # it reopened a stable study


class _Version(NamedTuple):
    study_id: int
    sha256: str
    path: str


class _Study(NamedTuple):
    id: int
    state: str
    opened_at: float
    last_at: float


class _Open(NamedTuple):
    id: int
    late: bool


def record(connection: Connection, new: NewInstance, now: float, *, keep_versions: bool) -> Recorded:
    """Record one instance; see `record_all`."""
    (recorded,) = record_all(connection, [new], now, keep_versions=keep_versions)
    return recorded


def record_all(
    connection: Connection,
    arrived: Sequence[NewInstance],
    now: float,
    *,
    keep_versions: bool,
    is_there: Callable[[NewInstance], bool] = lambda _: True,
) -> list[Recorded]:
    """Record instances in the order in which they arrived.

    A duplicate is counted and changes nothing else: it does not reopen its study.

    Args:
        is_there: whether the bytes are still under their name; asked when retention, which takes files away
            under the study's row, is done or waits.
    """
    serialise(connection, *(_name(one.site, one.sop_instance_uid) for one in arrived))
    known = _known(connection, {(one.site, one.sop_instance_uid) for one in arrived})
    opened: dict[tuple[str, str], _Open] = {}
    rows: list[dict[str, Any]] = []
    outcomes: dict[int, Recorded] = {}
    for number in sorted(range(len(arrived)), key=lambda number: arrived[number].study_instance_uid):
        new = arrived[number]
        versions = known[new.site, new.sop_instance_uid]
        same = next((version for version in versions if version.sha256 == new.sha256), None)
        if same is not None and _count_duplicate(connection, new, same, rows):
            outcomes[number] = Recorded(same.study_id, "duplicate" if is_there(new) else "gone")
            continue
        if same is not None:  # retention was faster
            versions.clear()
        if versions and not keep_versions:
            outcomes[number] = Recorded(versions[0].study_id, "conflict")
            continue
        key = (new.site, new.study_instance_uid)
        study = opened.get(key)
        there = None if study else _there(connection, new)
        if not is_there(new):
            outcomes[number] = Recorded(0, "gone")
            continue
        if study is None:
            study = opened[key] = _open_study(connection, there, new, now)
        outcomes[number] = Recorded(study.id, "version" if versions else "new", study.late)
        versions.append(_Version(study.id, new.sha256, new.path))
        rows.append(_row(new, study.id, now))
    if rows:
        _ADD_INSTANCE.run_for_each(connection, rows)
    return [outcomes[number] for number in range(len(arrived))]


def drop_unrecorded(connection: Connection, path: str, forget: Callable[[str], None]) -> None:
    """Remove the bytes of an instance unless a row names them; nobody records it meanwhile.

    Args:
        path: below the instances folder, as `engine.spool` names it.
        forget: removes them.
    """
    site, _, name = path.split("/")
    sop_instance_uid = name.rpartition("-")[0]
    serialise(connection, _name(site, sop_instance_uid))
    versions = _known(connection, {(site, sop_instance_uid)})[site, sop_instance_uid]
    if all(version.path != path for version in versions):
        forget(path)


def _name(site: str, sop_instance_uid: str) -> str:
    return f"instance {site} {sop_instance_uid}"


def _known(connection: Connection, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[_Version]]:
    """Every version of these SOP Instances that their sites have sent."""
    return {
        (site, uid): [
            _Version(*row) for row in _VERSIONS.rows(connection, {"site": site, "sop_instance_uid": uid})
        ]
        for site, uid in wanted
    }


def _there(connection: Connection, new: NewInstance) -> _Study | None:
    """The study's row, ours until the transaction ends."""
    rows = _STUDY_TO_OPEN.rows(connection, _study(new))
    return _Study(*rows[0]) if rows else None


def _count_duplicate(
    connection: Connection, new: NewInstance, same: _Version, rows: list[dict[str, Any]]
) -> bool:
    """Count an instance that came again; False when retention has removed it since it was seen."""
    connection.execute(_COUNT_DUPLICATE, {"study_id": same.study_id})
    if any(row["path"] == same.path for row in rows):  # of this very transaction
        return True
    # Only now is the study's row ours.
    there = _known(connection, {(new.site, new.sop_instance_uid)})[new.site, new.sop_instance_uid]
    return same in there


def _study(new: NewInstance) -> dict[str, str]:
    return {"site": new.site, "study_instance_uid": new.study_instance_uid}


def _open_study(connection: Connection, there: _Study | None, new: NewInstance, now: float) -> _Open:
    latest = {
        "inbound": new.inbound,
        "calling_ae_title": new.calling_ae_title,
        "called_ae_title": new.called_ae_title,
        "remote_address": new.remote_address,
    }
    made = there is None and _begin_study(connection, new, now, latest)
    # ours, or that of another process that was faster
    row = there or _there(connection, new)
    assert row is not None
    reopened = row.state == "stable"
    _OPEN_STUDY.run(
        connection,
        {
            "study_id": row.id,
            "state": "receiving",
            "opened_at": now if reopened else row.opened_at,
            "last_at": max(now, row.last_at),
            **latest,
        },
    )
    if made or reopened:
        study_orders.arrived(connection, row.id, new, now)
    return _Open(row.id, reopened)


def _begin_study(connection: Connection, new: NewInstance, now: float, latest: dict[str, str]) -> bool:
    return insert_unless_there(
        connection,
        studies,
        **_study(new),
        state="receiving",
        revision=0,
        duplicates=0,
        opened_at=now,
        last_at=now,
        **latest,
    )


def _row(new: NewInstance, study_id: int, now: float) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "site": new.site,
        "sop_instance_uid": new.sop_instance_uid,
        "series_instance_uid": new.series_instance_uid,
        "sop_class_uid": new.sop_class_uid,
        "transfer_syntax_uid": new.transfer_syntax_uid,
        "sha256": new.sha256,
        "size": new.size,
        "path": new.path,
        "attributes": new.attributes,
        "received_at": now,
    }
