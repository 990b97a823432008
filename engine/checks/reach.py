"""Routes that no study can ever fire, and parts of them that no study can ever pass.

Enters: a reading and its sound routes. Leave: findings at the very predicate that makes it impossible.
"""

from __future__ import annotations

from functools import cached_property

from engine.checks.contradiction import dead_parts, never
from engine.checks.narrowing import Names, facts_of, narrowed
from engine.checks.standing import Routes, Standing, tell
from engine.finding import did_you_mean, shown
from engine.predicate import Fact, demands
from engine.reading import Reading


def check_reach(reading: Reading, routes: Routes) -> None:
    """Every route can fire for some study that the table lets in."""
    titles = _Titles(reading, routes)
    for one in routes.sound:
        _check_one(reading, one, routes, titles)


def _check_one(reading: Reading, one: Standing, routes: Routes, titles: _Titles) -> None:
    where = (*one.location, "match")
    facts = tuple(facts_of(one.route.match))
    if routes.sites and not one.sites and demands(one.route.match).get("site") == frozenset():
        tell(reading, where, "", "asks for two sites at once, so it never holds", "never-matches")
        return
    impossible = never(one.route.match)
    if impossible is not None:
        tell(reading, where, impossible.position, f"never holds: {impossible.why}", "never-matches")
        return
    if facts and not (_can_come(reading, one, facts, routes) and titles.can_come(one, facts)):
        return
    for dead in dead_parts(one.route.match):
        tell(reading, where, dead.position, dead.why, "never-matches", "warning")
    if one.route.select is not None:
        impossible = never(one.route.select.part, "series")
        if impossible is not None:
            message = f"selects no series, ever: {impossible.why}"
            tell(reading, (*one.location, "select"), impossible.position, message, "never-matches")


def _can_come(reading: Reading, one: Standing, facts: tuple[Fact, ...], routes: Routes) -> bool:
    """Whether a site and a way in are left."""
    where = (*one.location, "match")
    if routes.sites and not one.sites:
        tell(
            reading,
            where,
            _last(facts, "site"),
            "no site of the table passes, so it never fires",
            "never-matches",
        )
        return False
    if routes.inbound and not one.inbound and any(fact.name == "inbound" for fact in facts):
        listened = ", ".join(one.route.inbound or sorted(routes.inbound))
        message = f"the route listens to {listened}, and none of these passes, so it never fires"
        tell(reading, where, _last(facts, "inbound"), message, "never-matches")
        return False
    return True


def _last(facts: tuple[Fact, ...], name: str) -> str:
    return next((fact.position for fact in reversed(facts) if fact.name == name), "")


_NONE: Names = frozenset({""})


class _Titles:
    """AE titles that a study can come with: those of the sites that call, and of the listeners they call."""

    def __init__(self, reading: Reading, routes: Routes) -> None:
        self._reading = reading
        self._routes = routes
        self._called = {
            name: title
            for name, declared in reading.inbound.items()
            if isinstance(title := getattr(declared.settings, "ae_title", None), str)
        }

    @cached_property
    def _known(self) -> bool:
        """Whether every site and way in could be read, so that a title which is not there is nobody's."""
        read = self._reading
        return len(read.sites) == len(self._routes.sites) and len(read.inbound) == len(self._routes.inbound)

    @cached_property
    def _calling(self) -> Names:
        return frozenset(title for site in self._reading.sites.values() for title in site.ae_titles)

    def can_come(self, one: Standing, facts: tuple[Fact, ...]) -> bool:
        """Whether AE titles are left with which a study of this route can come."""
        asked = [fact for fact in facts if fact.name in ("calling_ae_title", "called_ae_title")]
        if not asked or not self._known or not self._routes.sites or not self._routes.inbound:
            return True
        return self._are_known(one, asked) and self._are_left(one, asked)

    def _are_known(self, one: Standing, asked: list[Fact]) -> bool:
        sound = True
        for fact in asked:
            calling = fact.name == "calling_ae_title"
            known = self._calling if calling else frozenset(self._called.values())
            for title in sorted((fact.test.texts or frozenset()) - known):
                whose = "no site of the table" if calling else "no inbound channel"
                message = f"{whose} has the AE title {shown(title)}{did_you_mean(title, sorted(known))}"
                tell(
                    self._reading,
                    (*one.location, "match", fact.name),
                    fact.position,
                    message,
                    "unknown-ae-title",
                )
                sound = False
        return sound

    def _are_left(self, one: Standing, asked: list[Fact]) -> bool:
        by_dimse = [name for name in one.inbound if name in self._called]
        for name in dict.fromkeys(fact.name for fact in asked):
            there: Names = frozenset()
            if name == "called_ae_title":
                there = frozenset(self._called[inbound] for inbound in by_dimse)
            elif by_dimse and one.sites is self._routes.sites:
                there = self._calling
            elif by_dimse:
                sites = self._reading.sites
                there = frozenset(title for site in one.sites for title in sites[site].ae_titles)
            # Over HTTP a study comes without a title.
            passing = narrowed(one.route.match, name, there)
            if len(by_dimse) < len(one.inbound):
                passing |= narrowed(one.route.match, name, _NONE)
            if not passing:
                what = "calls with" if name == "calling_ae_title" else "is called by"
                message = f"no study that the route can have {what} such an AE title, so it never fires"
                position = next(fact.position for fact in reversed(asked) if fact.name == name)
                tell(self._reading, (*one.location, "match", name), position, message, "never-matches")
                return False
        return True
