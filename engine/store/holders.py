"""Which studies open associations and requests hold open, where several engines share a database.

A row a session and study, written in the transaction that records the session's first instance of it;
it is free again when its session has ended, or when its engine has not been heard of for a lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, select, update

from engine.store.dialect import insert_unless_there
from engine.store.tables import study_holders

SOME = 500  # sessions or studies named in one statement


def hold(connection: Connection, study_id: int, session: str, node: str, until: float) -> None:
    """This session of this engine holds the study open; harmless when repeated."""
    insert_unless_there(connection, study_holders, study_id=study_id, session=session, node=node, until=until)


def renew(connection: Connection, node: str, until: float) -> None:
    """Every session of this engine that holds something does so until a later time."""
    connection.execute(update(study_holders).where(study_holders.c.node == node).values(until=until))


def let_go(connection: Connection, sessions: Iterable[str]) -> None:
    """These sessions have ended."""
    ended = list(sessions)
    for start in range(0, len(ended), SOME):
        some = ended[start : start + SOME]
        connection.execute(delete(study_holders).where(study_holders.c.session.in_(some)))


def let_go_of_all(connection: Connection, node: str) -> None:
    """This engine has ended, and its sessions with it."""
    connection.execute(delete(study_holders).where(study_holders.c.node == node))


def forget(connection: Connection, before: float) -> None:
    """What engines held that have been silent since before a time."""
    connection.execute(delete(study_holders).where(study_holders.c.until < before))


def held(connection: Connection, study_ids: Collection[int], now: float) -> set[int]:
    """Those of the studies that a session of a living engine holds open."""
    wanted = list(study_ids)
    found: set[int] = set()
    for start in range(0, len(wanted), SOME):
        rows = connection.execute(
            select(study_holders.c.study_id).where(
                study_holders.c.study_id.in_(wanted[start : start + SOME]), study_holders.c.until > now
            )
        )
        found.update(rows.scalars())
    return found
