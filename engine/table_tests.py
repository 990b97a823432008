"""The tests that a table carries: studies it must decide as told.

Enter: the `tests:` of a table, or the table itself. Leave: studies built from what is given, and
for each test how the decision differs from what was expected.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.attribute import resolve
from engine.finding import Location, did_you_mean, shown
from engine.model import InstanceFacts, Study, uid_from
from engine.reading import Reading
from engine.route import Decision, decide
from engine.sections import ExpectSettings
from engine.table import Expectation, Table, TableTest

MAX_INSTANCES = 100_000  # in the studies of one test

_FACTS = ("site", "inbound", "calling_ae_title", "called_ae_title", "time")
_STRUCTURE = (*_FACTS, "series")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def read_tests(reading: Reading) -> tuple[TableTest, ...]:
    """The tests of a table; what they name must be there."""
    tests = []
    seen: dict[str, int] = {}
    for index, settings in reading.tests.items():
        location: Location = ("tests", index)
        if settings.name in seen:
            reading.complain((*location, "name"), f"test {shown(settings.name)} is there already; rename one")
        seen.setdefault(settings.name, index)
        _check_expected(reading, settings.expect, (*location, "expect"))
        study = _Given(reading, (*location, "given"), settings.name).study(settings.given)
        if study is not None:
            position = str(reading.document.value_at(location))
            expect = Expectation(
                settings.expect.routes,
                settings.expect.shadow,
                settings.expect.deliver,
                settings.expect.held,
            )
            tests.append(TableTest(settings.name, position, study, expect))
    return tuple(tests)


def _check_expected(reading: Reading, expect: ExpectSettings, location: Location) -> None:
    routes = reading.document.data.get("routes") or []
    names = [str(route.get("name")) for route in routes if isinstance(route, dict)]
    for key, wanted in (("routes", expect.routes), ("shadow", expect.shadow or ())):
        for index, name in enumerate(wanted):
            if name not in names:
                reading.complain(
                    (*location, key, index), f"no route {shown(name)}{did_you_mean(name, names)}"
                )
    known = reading.names("outbound")
    for index, name in enumerate(expect.deliver or ()):
        if name not in known:
            hint = did_you_mean(name, known)
            reading.complain((*location, "deliver", index), f"no destination {shown(name)}{hint}")


class _Given:
    """Builds the study of one test."""

    def __init__(self, reading: Reading, location: Location, name: str) -> None:
        self._reading = reading
        self._location = location
        self._name = name
        self._before = len(reading.findings)
        self._left = MAX_INSTANCES

    def study(self, given: Mapping[str, Any]) -> Study | None:
        """The study, or None when what is given has errors."""
        facts = {fact: self._fact(fact, given) for fact in _FACTS}
        own = dict(self._attributes(given, self._location, _STRUCTURE))
        instances = tuple(self._instances(given, own))
        if len(self._reading.findings) > self._before:
            return None
        return Study(
            site=facts["site"],
            study_instance_uid=uid_from("table test", self._name),
            revision=1,
            inbound=facts["inbound"],
            calling_ae_title=facts["calling_ae_title"],
            called_ae_title=facts["called_ae_title"],
            received_at=datetime.fromisoformat(f"2000-01-01T{facts['time']}:00"),
            instances=instances,
        )

    def _complain(self, location: Location, message: str) -> None:
        self._reading.complain(location, message)

    def _fact(self, fact: str, given: Mapping[str, Any]) -> str:
        """A fact as given, or what it most likely is."""
        location = (*self._location, fact)
        if fact not in given:
            return self._default(fact, given)
        value = given[fact]
        if not isinstance(value, str) or not value:
            self._complain(location, "must be text")
        elif fact == "time" and not _CLOCK.fullmatch(value):
            self._complain(location, 'must be a time of day such as "06:30"')
        elif fact in ("site", "inbound"):
            known = self._reading.names("sites" if fact == "site" else "inbound")
            if value not in known:
                self._complain(location, f"no {fact} {shown(value)}{did_you_mean(value, known)}")
        return str(value)

    def _default(self, fact: str, given: Mapping[str, Any]) -> str:
        reading = self._reading
        if fact == "time":
            return "12:00"
        if fact == "inbound":
            return next(iter(reading.names("inbound")), "")
        if fact == "site":
            sites = reading.names("sites")
            if len(sites) != 1:
                self._complain(
                    self._location, "missing key 'site'; the study must come from one of the sites"
                )
            return next(iter(sites), "")
        if fact == "calling_ae_title":
            names = reading.names("sites")
            site = reading.sites.get(str(given.get("site", names[0] if names else "")))
            return site.ae_titles[0] if site and site.ae_titles else ""
        declared = reading.inbound.get(str(given.get("inbound", next(iter(reading.inbound), ""))))
        title = getattr(declared.settings, "ae_title", None) if declared else None
        return title if isinstance(title, str) else reading.engine.ae_title

    def _attributes(
        self, given: Mapping[str, Any], location: Location, structure: Sequence[str]
    ) -> Iterator[tuple[str, Any]]:
        for name, value in given.items():
            if name in structure:
                continue
            try:
                resolve(name)
            except ValueError as error:
                hint = "" if "did you mean" in str(error) else did_you_mean(name, structure)
                self._complain((*location, name), f"{error}{hint}")
                continue
            if isinstance(value, dict) or value is None or isinstance(value, bool):
                self._complain((*location, name), "must be a value or a list of values")
                continue
            yield name, value

    def _instances(self, given: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[InstanceFacts]:
        series = given.get("series", [{}])
        location = (*self._location, "series")
        if not isinstance(series, list) or not all(isinstance(one, dict) for one in series):
            self._complain(
                location, "must be a list of mappings, for example [{Modality: MR, instances: 60}]"
            )
            return
        for number, block in enumerate(series, 1):
            here = (*location, number - 1)
            shared = {**own, **dict(self._attributes(block, here, ("instances",)))}
            uid = str(shared.get("SeriesInstanceUID") or uid_from("table test", self._name, str(number)))
            members = self._members(block.get("instances", 1), (*here, "instances"))
            for count, member in enumerate(members, 1):
                attributes = {**shared, **member}
                yield InstanceFacts(
                    series_instance_uid=uid,
                    sop_instance_uid=uid_from("table test", self._name, str(number), str(count)),
                    sop_class_uid=str(attributes.get("SOPClassUID", _CT)),
                    transfer_syntax_uid=str(attributes.get("TransferSyntaxUID", _EXPLICIT_LITTLE)),
                    attributes=attributes,
                )

    def _members(self, value: Any, location: Location) -> Iterator[dict[str, Any]]:
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            count = len(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
            count = value
        else:
            self._complain(location, "must be a count, or a list with a mapping for each instance")
            return
        self._left -= count
        if self._left < 0:
            self._complain(location, f"a test has at most {MAX_INSTANCES} instances")
            return
        if isinstance(value, list):
            for index, one in enumerate(value):
                yield dict(self._attributes(one, (*location, index), ()))
        else:
            yield from itertools.repeat({}, count)


# ── running ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Difference:
    """One expectation that the decision does not meet."""

    what: str  # routes, shadow, deliver, held
    expected: tuple[str, ...]
    got: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one test of the table ended."""

    test: TableTest
    decision: Decision
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether the table decided as told."""
        return not self.differences

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each route that is missing or too many decided as it did."""
        named = {name for one in self.differences for name in set(one.expected) ^ set(one.got)}
        hits = {outcome.route for outcome in self.decision.hits}
        told = [one for one in self.decision.outcomes if one.route in named or one.route in hits]
        return tuple(f"{one.route}: {'fired' if one.hit else 'did not fire'}, {one.why}" for one in told)


def run_tests(table: Table) -> tuple[Verdict, ...]:
    """Decide every test's study and compare."""
    return tuple(_run(test, table) for test in table.tests)


def _run(test: TableTest, table: Table) -> Verdict:
    decision = decide(test.study, table)
    expect = test.expect
    live = [hit for hit in decision.hits if not hit.shadow]
    named = [hit for hit in decision.hits if not hit.shadow or hit.route in expect.routes]
    compared: list[tuple[str, tuple[str, ...] | None, tuple[str, ...]]] = [
        ("routes", expect.routes, tuple(hit.route for hit in named)),
        ("shadow", expect.shadow, tuple(hit.route for hit in decision.hits if hit.shadow)),
        ("deliver", expect.deliver, tuple(dict.fromkeys(one.to for hit in live for one in hit.deliver))),
        ("held", None if expect.held is None else (expect.held,), _held(live)),
    ]
    return Verdict(
        test,
        decision,
        tuple(
            Difference(what, wanted, got)
            for what, wanted, got in compared
            if wanted is not None and wanted != got
        ),
    )


def _held(live: Sequence[Any]) -> tuple[str, ...]:
    """The reasons with which a study is held; one that no route takes is held for that."""
    return tuple(dict.fromkeys(hit.hold for hit in live if hit.hold)) if live else ("no route matched",)
