"""Run the tests that a table carries, and say how the table differs from what they expect.

Enter: a table with its tests. Leave: a verdict on each: what it decided, what would have gone out, and
each difference with the place in the table where the expectation stands. Nothing is opened or sent;
files are read where a test's study is in them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.coverage import Coverage, cover
from engine.errors import PonsError
from engine.given_files import read_files
from engine.model import Study
from engine.outgoing import NothingSent, Outgoing
from engine.predicate import Attribute
from engine.route import Decision, RouteOutcome, decide, decide_in_full
from engine.study_context import tolerate_sloppy_values
from engine.table import Table, TableTest


@dataclass(frozen=True, slots=True)
class Difference:
    """One expectation that is not met."""

    what: str  # "routes", "held", "rendered stm-ris OBX-5"
    expected: tuple[str, ...]
    got: tuple[str, ...]
    position: str = ""  # where the expectation stands


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one test of the table ended."""

    test: TableTest
    decision: Decision | None = None  # None when there is no study to decide
    differences: tuple[Difference, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)  # destinations that do not want the result, why
    trouble: str = ""  # why the test could not be run to its end
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the table did as told."""
        return not self.differences and not self.trouble

    @property
    def told(self) -> tuple[RouteOutcome, ...]:
        """The routes that fired, and those that are missing or too many, each with its reason."""
        if self.decision is None:
            return ()
        about = [one for one in self.differences if " " not in one.what]
        named = {name for one in about for name in set(one.expected) ^ set(one.got)}
        hits = {outcome.route for outcome in self.decision.hits}
        return tuple(one for one in self.decision.outcomes if one.route in named or one.route in hits)

    @property
    def lines(self) -> tuple[str, ...]:
        """What an author needs to know of a failure: expected, got, where, and why each route decided so."""
        lines = [f"{self.trouble} ({self.test.position})"] if self.trouble else []
        for one in self.differences:
            told = f"{one.what}: expected {in_words(one.expected)}; got {in_words(one.got)}"
            lines.append(f"{told} ({one.position})")
        reasons = (f"{one.route}: {'fired' if one.hit else 'did not fire'}, {one.why}" for one in self.told)
        about = {name for one in self.differences if one.what == "deliver" for name in one.expected}
        unwanted = (f"{name}: not sent, {why}" for name, why in self.left_out.items() if name in about)
        return (*lines, *reasons, *unwanted)


def in_words(names: Collection[str]) -> str:
    """What was expected, or came, for people."""
    return ", ".join(names) or "none"


def run_tests(table: Table, only: Collection[str] = ()) -> tuple[Verdict, ...]:
    """Run every test, or only those that are named."""
    tolerate_sloppy_values()  # as a running engine does
    return tuple(_run(test, table) for test in table.tests if not only or test.name in only)


def study_of(test: TableTest, table: Table, folder: Path) -> Study:
    """The study of a test; what has to be written as files goes to ``folder``.

    Raises:
        PonsError: its files hold no study that can be decided.
    """
    if test.given.files is None:
        return test.given.study
    return read_files(test.given.study, test.given.files, test.given.changed, table.keywords(), folder)


def cover_tests(table: Table, only: Collection[str] = ()) -> Coverage:
    """What the tests exercise of the table; a study that cannot be read exercises nothing."""
    studies = []
    for test in table.tests:
        if only and test.name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="pons-test-") as folder, suppress(PonsError, OSError):
            studies.append(study_of(test, table, Path(folder)))
    return cover(table, studies, {"site": table.sites, "inbound": table.inbound})


def _run(test: TableTest, table: Table) -> Verdict:
    started = time.monotonic()
    decision: Decision | None = None
    differences: list[Difference] = []
    left_out: dict[str, str] = {}
    trouble = ""
    with tempfile.TemporaryDirectory(prefix="pons-test-") as name:
        folder = Path(name)
        try:
            study = study_of(test, table, folder / "study")
            decision = decide(study, table)
            outgoing = Outgoing(table, study, decision, test.given.result, folder)
            differences.extend(_of_decision(test, decision, outgoing))
            left_out = outgoing.left_out
            if differences and decision.passed_over:
                decision = decide_in_full(study, table)
            differences.extend(_of_values(test, "transformed", outgoing))
            differences.extend(_of_values(test, "rendered", outgoing))
        except PonsError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{error.filename or 'a file'}: {(error.strerror or 'cannot be read').lower()}"
    return Verdict(test, decision, tuple(differences), left_out, trouble, time.monotonic() - started)


def _of_decision(test: TableTest, decision: Decision, outgoing: Outgoing) -> Iterator[Difference]:
    expect = test.expect
    named = expect.routes or ()
    live = [hit for hit in decision.hits if not hit.shadow]
    compared: list[tuple[str, tuple[str, ...] | None, tuple[str, ...]]] = [
        (
            "routes",
            expect.routes,
            tuple(hit.route for hit in decision.hits if not hit.shadow or hit.route in named),
        ),
        ("shadow", expect.shadow, tuple(hit.route for hit in decision.hits if hit.shadow)),
        ("deliver", expect.deliver, outgoing.destinations),
        ("held", None if expect.held is None else (expect.held,), _holds(live)),
        ("holds", expect.holds, _holds(live)),
    ]
    for what, wanted, got in compared:
        if wanted is not None and wanted != got:
            yield Difference(what, wanted, got, expect.positions.get(what, test.position))


def _of_values(test: TableTest, what: str, outgoing: Outgoing) -> Iterator[Difference]:
    demanded: dict[str, tuple[Attribute, ...]] = dict(getattr(test.expect, what))
    for holder, demands in demanded.items():
        look = outgoing.edited if what == "transformed" else outgoing.rendered
        for demand in demands:
            title = f"{what} {holder} {demand.name}"
            try:
                wrong = next((one for one in look(holder, demand.name) if not demand.test.holds(one)), None)
            except NothingSent as error:
                wrong = (str(error),)
            if wrong is not None:
                yield Difference(title, (str(demand.test),), wrong, demand.position)


def _holds(live: Sequence[RouteOutcome]) -> tuple[str, ...]:
    """The reasons with which a study is held; one that no route takes is held for that."""
    return tuple(dict.fromkeys(hit.hold for hit in live if hit.hold)) if live else ("no route matched",)
