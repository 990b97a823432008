"""The tests that a table carries: studies it must decide as told.

Enter: the `tests:` of a table. Leave: for each test the study that is given and what is expected of it;
what they name must be there. They are run in `engine.trial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.attribute import UNKNOWN, Named, resolve
from engine.finding import Location, did_you_mean, shown
from engine.given import GivenReader
from engine.grammar import MatchReader
from engine.predicate import Attribute
from engine.reading import Reading
from engine.sections import ExpectSettings
from engine.table import Expectation, TableTest
from engine.values import Test

ABSENT = Test(exists=False)


def read_tests(reading: Reading) -> tuple[TableTest, ...]:
    """The tests of a table; what they name must be there."""
    tests = []
    seen: dict[str, int] = {}
    for index, settings in reading.tests.items():
        location: Location = ("tests", index)
        if settings.name in seen:
            reading.complain((*location, "name"), f"test {shown(settings.name)} is there already; rename one")
        seen.setdefault(settings.name, index)
        expect = _Expected(reading, (*location, "expect")).read(settings.expect)
        given = GivenReader(reading, (*location, "given"), settings.name).read(settings.given)
        if given is not None:
            position = str(reading.document.value_at(location))
            tests.append(TableTest(settings.name, position, given, expect))
    return tuple(tests)


class _Expected:
    """Reads the `expect:` of one test."""

    def __init__(self, reading: Reading, location: Location) -> None:
        self._reading = reading
        self._location = location
        self._values = MatchReader(reading.document.key_at, reading.complain, reading.complain_of_key)

    def read(self, settings: ExpectSettings) -> Expectation:
        """What is expected; what cannot be is complained of and left out."""
        self._check_names(settings)
        written = settings.model_fields_set
        return Expectation(
            routes=settings.routes,
            shadow=settings.shadow,
            deliver=settings.deliver,
            held=settings.held,
            holds=settings.holds,
            transformed=dict(self._demands("transformed", settings.transformed)),
            rendered=dict(self._demands("rendered", settings.rendered)),
            positions={key: str(self._reading.document.key_at((*self._location, key))) for key in written},
        )

    def _check_names(self, expect: ExpectSettings) -> None:
        routes = self._reading.document.data.get("routes") or []
        names = [str(route.get("name")) for route in routes if isinstance(route, dict)]
        for key, wanted in (("routes", expect.routes), ("shadow", expect.shadow)):
            self._check_known(key, wanted or (), names, "route")
        self._check_known("deliver", expect.deliver or (), self._reading.names("outbound"), "destination")

    def _check_known(self, key: str, wanted: Sequence[str], known: Sequence[str], word: str) -> None:
        for index, name in enumerate(wanted):
            if name not in known:
                message = f"no {word} {shown(name)}{did_you_mean(name, known)}"
                self._reading.complain((*self._location, key, index), message)

    def _demands(
        self, key: str, wanted: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[str, tuple[Attribute, ...]]]:
        """The tests of single values: of edited attributes, or of the fields of a payload."""
        for holder, fields in wanted.items():
            location: Location = (*self._location, key, holder)
            if self._check_holder(key, holder, location):
                yield holder, tuple(self._of_fields(key, fields, location))

    def _check_holder(self, key: str, holder: str, location: Location) -> bool:
        known = list(self._reading.names("outbound"))
        if key == "transformed":
            processors = self._reading.names("processors")
            if holder in known and holder in processors:
                self._reading.complain_of_key(location, "is a destination and a processor; rename one")
            known += processors
        if holder not in known:
            word = "destination" if key == "rendered" else "destination or processor"
            hint = did_you_mean(holder, known)
            self._reading.complain_of_key(location, f"no {word} {shown(holder)}{hint}")
        return holder in known

    def _of_fields(self, key: str, fields: Mapping[str, Any], location: Location) -> Iterator[Attribute]:
        for name, value in fields.items():
            here: Location = (*location, name)
            named = Named(name, UNKNOWN)
            if key == "transformed":
                try:
                    named = resolve(name)
                except ValueError as error:
                    self._reading.complain_of_key(here, str(error))
                    continue
            test = ABSENT if value == "absent" else self._values.value(value, here, named)
            if test is not None:
                yield Attribute(str(self._reading.document.key_at(here)), named.name, test)
