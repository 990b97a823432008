"""What predicates may ask of a study, answered from its instances' headers.

Enter: a study. Leave: scopes (the study, one series, one instance), each giving the distinct
values an attribute has within it, as text, worked out once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from engine.model import InstanceFacts, Study

CONTEXT_FACTS = ("site", "inbound", "calling_ae_title", "called_ae_title")
"""Facts of a study's arrival that are text; `time` is the fifth, of another kind."""

_OWN = {
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "TransferSyntaxUID": "transfer_syntax_uid",
}


class Scope:
    """Some instances of a study, looked at together."""

    def __init__(self, instances: Sequence[InstanceFacts], study_instance_uid: str) -> None:
        self.instances = instances
        self._study_instance_uid = study_instance_uid
        self._values: dict[str, tuple[str, ...]] = {}

    def values(self, attribute: str) -> tuple[str, ...]:
        """The distinct values an attribute has in any instance; empty values are no values."""
        known = self._values.get(attribute)
        if known is None:
            found: dict[str, None] = {}
            seen: Any = None
            for instance in self.instances:
                raw = self._raw(instance, attribute)
                if raw is None or raw is seen:
                    continue  # most attributes are the same in every instance of a series
                seen = raw
                for value in (raw,) if isinstance(raw, str) else _flat(raw):
                    text = str(value).strip(" \0")
                    if text:
                        found[text] = None
            known = self._values[attribute] = tuple(found)
        return known

    def _raw(self, instance: InstanceFacts, attribute: str) -> Any:
        value = instance.attributes.get(attribute)
        if value is not None:
            return value
        if attribute == "StudyInstanceUID":
            return self._study_instance_uid
        own = _OWN.get(attribute)
        return getattr(instance, own) if own else None


class StudyFacts:
    """A study as predicates see it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.whole = Scope(study.instances, study.study_instance_uid)
        self.context: Mapping[str, str] = {
            "site": study.site,
            "inbound": study.inbound,
            "calling_ae_title": study.calling_ae_title.strip(),
            "called_ae_title": study.called_ae_title.strip(),
        }
        self.minute = study.received_at.hour * 60 + study.received_at.minute

    @cached_property
    def series(self) -> Mapping[str, Scope]:
        """One scope per series, by Series Instance UID, in order of arrival."""
        members: dict[str, list[InstanceFacts]] = {}
        for instance in self.study.instances:
            members.setdefault(instance.series_instance_uid, []).append(instance)
        return {uid: Scope(some, self.study.study_instance_uid) for uid, some in members.items()}

    def each_instance(self, within: Scope) -> Iterator[Scope]:
        """One scope per instance of a scope."""
        return (Scope((one,), self.study.study_instance_uid) for one in within.instances)


def _flat(value: Any) -> Iterator[Any]:
    if value is None:
        return
    if isinstance(value, list | tuple) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes)
    ):
        for one in value:
            yield from _flat(one)
    else:
        yield value
