"""A study revision as routing sees it, from the engine's own record.

Enter: the rows of a study and of its instances, and the attributes that a table asks for. Leave: the facts.
What was asked for when an instance arrived stands in its row; for more, its header is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine import part10
from engine.clock import at
from engine.model import InstanceFacts, Site, StoredInstance, Study


def recorded_study(
    row: Any,
    members: Sequence[Any],
    revision: int,
    keywords: Collection[str],
    sites: Mapping[str, Site],
    path_of: Callable[[str], Path],
) -> Study:
    """The facts of a study revision; blocks while headers are read.

    Args:
        row: of `studies`.
        members: its rows of `instances`.
        keywords: what the table's predicates ask.
        sites: the table's; the time of arrival is told in the site's own.
        path_of: the file of what a row of `instances` names.

    Raises:
        OSError: a header must be read and the file is not there.
        Rejected: the file is damaged.
    """
    wanted = frozenset(keywords)
    facts, stored = [], []
    for member in members:
        path = path_of(member.path)
        attributes = member.attributes
        if not wanted <= attributes.keys():  # the table asks more than it did at arrival
            attributes = part10.inspect(path, sorted(wanted)).attributes
        uids = {
            "series_instance_uid": member.series_instance_uid,
            "sop_instance_uid": member.sop_instance_uid,
            "sop_class_uid": member.sop_class_uid,
            "transfer_syntax_uid": member.transfer_syntax_uid,
        }
        facts.append(InstanceFacts(**uids, attributes=attributes))
        stored.append(StoredInstance(**uids, path=path, sha256=member.sha256))
    site = sites.get(row.site)
    return Study(
        site=row.site,
        study_instance_uid=row.study_instance_uid,
        revision=revision,
        inbound=row.inbound,
        calling_ae_title=row.calling_ae_title,
        called_ae_title=row.called_ae_title,
        received_at=at(row.last_at).astimezone(ZoneInfo(site.timezone) if site else None),
        instances=tuple(facts),
        stored=tuple(stored),
    )
