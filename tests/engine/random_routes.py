"""Random routes and studies, for properties of the router: a small world in which both meet often."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from engine.catalog import Catalog
from engine.document import read
from engine.model import InstanceFacts, Study
from engine.reading import read_sections
from engine.route import Route, RouteIndex

HEAD = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A]}
  b: {addresses: [10.0.0.2], ae_titles: [B]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112"}
  web: {type: stow_rs}
processors: {qc: {type: quality_control}, model: {type: quality_control}}
outbound:
  a-archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  a-pacs: {type: dicom_sr, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  a-ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}
"""

NAMES = {"(0018,9087)": "DiffusionBValue"}
"""A tag means the attribute of that keyword."""
PRIVATE = '(0019,"SIEMENS MR HEADER",0C)'

STUDY_LEVEL: list[dict[str, Any]] = [
    {"site": "a"},
    {"site": {"in": ["a", "b"]}},
    {"site": {"not": "a"}},
    {"site": {"matches": "b"}},
    {"inbound": "web"},
    {"inbound": {"in": ["pacs", "web"]}},
    {"calling_ae_title": "A"},
    {"called_ae_title": {"not": "PONS"}},
    {"time": {"between": ["22:00", "06:00"]}},
    {"time": {"between": ["06:00", "22:00"]}},
    {"instances": {"at_least": 3}},
]
SERIES_LEVEL: list[dict[str, Any]] = [{"instances": {"between": [1, 2]}}]
ANYWHERE: list[dict[str, Any]] = [
    {"Modality": "MR"},
    {"Modality": {"in": ["CT", "SR"]}},
    {"Modality": {"not": "CT"}},
    {"Modality": {"matches": "^[MC]"}},
    {"InstanceNumber": 1},
    {"InstanceNumber": {"at_most": 1}},
    {"(0018,9087)": {"between": [500, 1500]}},
    {PRIVATE: 1000},
    {PRIVATE: {"exists": False}},
    {"ProcedureCodeSequence.CodeValue": "X1"},
    {"ProcedureCodeSequence.CodeValue": {"in": ["X1", "X2"], "not": "X3"}},
    {"ProcedureCodeSequence": {"exists": True}},
]


@cache
def matches(depth: int = 2, level: str = "study") -> st.SearchStrategy[dict[str, Any]]:
    """A `match:` of the whole grammar: nested all, any, not; series and instance; mappings of several."""
    alone = list(ANYWHERE)
    if level == "study":
        alone += STUDY_LEVEL
    if level != "instance":
        alone += SERIES_LEVEL
    leaves: st.SearchStrategy[dict[str, Any]] = st.sampled_from(alone)
    if depth == 0:
        return leaves
    inner = matches(depth - 1, level)
    several = st.lists(inner, min_size=1, max_size=3)
    kinds = [
        leaves,
        st.lists(leaves, min_size=2, max_size=3).map(_merged),
        several.map(lambda parts: {"all": parts}),
        several.map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ]
    if level == "study":
        kinds.append(matches(depth - 1, "series").map(lambda part: {"series": part}))
    if level != "instance":
        kinds.append(matches(depth - 1, "instance").map(lambda part: {"instance": part}))
    return st.one_of(kinds)


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


_ATTRIBUTES: dict[str, list[Any]] = {
    "Modality": ["MR", "CT", "SR"],
    "InstanceNumber": ["1", "2"],
    "DiffusionBValue": [1000.0, 0.0],
    PRIVATE: [1000, 50],
    "ProcedureCodeSequence.CodeValue": [["X1"], ["X2", "X3"]],
    "ProcedureCodeSequence": [1],
}

_INSTANCE = st.fixed_dictionaries({}, optional={name: st.sampled_from(v) for name, v in _ATTRIBUTES.items()})


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """A study of up to three series with up to three instances each."""
    series = draw(st.lists(st.lists(_INSTANCE, min_size=1, max_size=3), min_size=1, max_size=3))
    return Study(
        site=draw(st.sampled_from(["a", "b", "gone"])),
        study_instance_uid="1.2",
        revision=1,
        inbound=draw(st.sampled_from(["pacs", "web", "gone"])),
        calling_ae_title=draw(st.sampled_from(["A", "B", ""])),
        called_ae_title=draw(st.sampled_from(["PONS", ""])),
        received_at=datetime(2026, 3, 1, draw(st.sampled_from([3, 6, 12, 22]))),
        instances=tuple(
            InstanceFacts(f"1.2.{n}", f"1.2.{n}.{m}", "1.2.3", "1.2.840.10008.1.2.1", attributes)
            for n, members in enumerate(series)
            for m, attributes in enumerate(members)
        ),
    )


# ── routes as read, whatever `check` says of them ───────────────────────────────────────────────


CATALOG = Catalog()


@dataclass(frozen=True)
class Rules:
    """Just what deciding needs of a table."""

    routes: tuple[Route, ...]
    version: str = "sha256:000000000000"

    @cached_property
    def index(self) -> RouteIndex:
        return RouteIndex(self.routes)


def rules(folder: Path, routes: Sequence[dict[str, Any]]) -> Rules:
    """Routes read from a table: also such as a person would not write, for they contradict themselves."""
    path = folder / "routes.yaml"
    path.write_text(HEAD + yaml.safe_dump({"routes": list(routes)}))
    reading = read_sections(read(path), CATALOG)
    assert [one.message for one in reading.findings if one.severity == "error"] == []
    return Rules(tuple(reading.routes[index] for index in sorted(reading.routes)))


# ── the grammar once more, read off its description word by word ────────────────────────────────


def holds(match: dict[str, Any], study: Study, scope: Sequence[InstanceFacts]) -> bool:
    """Whether a mapping holds, straight from plain data: nothing of the engine's predicates is in here."""
    return all(_holds(key, wanted, study, scope) for key, wanted in match.items())


def _holds(key: str, wanted: Any, study: Study, scope: Sequence[InstanceFacts]) -> bool:
    if key == "all":
        return all(holds(part, study, scope) for part in wanted)
    if key == "any":
        return any(holds(part, study, scope) for part in wanted)
    if key == "not":
        return not holds(wanted, study, scope)
    if key == "series":
        uids = {one.series_instance_uid for one in study.instances}
        return any(
            holds(wanted, study, [one for one in study.instances if one.series_instance_uid == uid])
            for uid in uids
        )
    if key == "instance":
        return any(holds(wanted, study, [one]) for one in scope)
    if key == "instances":
        return _passes(wanted, [str(len(scope))])
    if key == "time":
        start, end = wanted["between"]
        now = study.received_at.strftime("%H:%M")
        return bool(start <= now < end if start < end else now >= start or now < end)
    if key in ("site", "inbound", "calling_ae_title", "called_ae_title"):
        return _passes(wanted, [getattr(study, key)] if getattr(study, key) else [])
    values = []
    for one in scope:
        value = one.attributes.get(NAMES.get(key, key), [])
        values += value if isinstance(value, list) else [value]
    return _passes(wanted, [str(value) for value in values])


def _passes(wanted: Any, values: list[str]) -> bool:
    """One value passes every test but `not`, and none passes what stands under `not`."""
    tests = dict(wanted) if isinstance(wanted, dict) else {"equals": wanted}
    if "not" in tests and _passes(tests.pop("not"), values):
        return False
    if "exists" in tests and tests.pop("exists") is not bool(values):
        return False
    return not tests or any(all(_is(how, what, one) for how, what in tests.items()) for one in values)


def _is(how: str, what: Any, value: str) -> bool:
    if how in ("equals", "in"):
        options = what if how == "in" else [what]
        return any(
            Decimal(value) == option if isinstance(option, int) else value == option for option in options
        )
    if how == "matches":
        return re.search(what, value) is not None
    low, high = {"between": what, "at_least": [what, "Infinity"], "at_most": ["-Infinity", what]}[how]
    return Decimal(low) <= Decimal(value) <= Decimal(high)
