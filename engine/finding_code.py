"""The kinds of findings: short codes that stay the same while their words may become better.

Enters: nothing. Leaves: for each code what it means, as docs/check.md lists it and SARIF rules carry it
(SARIF 2.1.0, 3.49). A finding whose author gave no code has one by the place that it is about.
"""

from __future__ import annotations

from collections.abc import Mapping

MEANING: Mapping[str, str] = {
    # files
    "unreadable": "a file cannot be read: it is not there, not UTF-8, or too large",
    "not-yaml": "a file is not YAML",
    "not-plain": "a file is YAML, but not the plain kind that a table is written in",
    "bad-include": "`include:` names no file, or the included file holds what it may not",
    "duplicate-key": "a mapping has the same key twice",
    "duplicate-name": "two files declare the same name, or two routes have it",
    # blocks
    "bad-version": "the table does not name a version of the grammar that this engine reads",
    "unknown-section": "no section of a table is called so",
    "unknown-key": "a block has a key that its type does not know",
    "missing-key": "a block lacks a key that its type demands",
    "unknown-type": "no channel or processor of this type is installed",
    "wrong-kind": "a mapping, a list, a text or a number stands where another kind is demanded",
    "bad-value": "a value is of the right kind, but not one that can be used",
    "bad-name": "a name has characters that cannot stand in file names, metrics and URLs",
    "literal-secret": "a secret is written in the table; it must be given by reference",
    # predicates and edits
    "bad-predicate": "`match:` or `select:` holds what is not of the grammar",
    "unknown-attribute": "no DICOM attribute has this keyword or tag",
    "bad-pattern": "a regular expression cannot be used, or not in linear time",
    "costly-pattern": "a regular expression is so large that a long text would be felt",
    "bad-transform": "an edit cannot be made: an unknown attribute, a value it cannot hold, an identity",
    "bad-test": "a test of the table describes a study or an outcome that cannot be",
    # names
    "unknown-site": "no site has this name",
    "unknown-inbound": "no inbound channel has this name",
    "unknown-processor": "no processor has this name",
    "unknown-destination": "no destination has this name",
    "unknown-ae-title": "the site has no such AE title",
    # sites, listeners, tunnels
    "ambiguous-site": "two sites share an address and an AE title: a study could be from either",
    "shared-address": "two sites share an address: only a calling AE title tells them apart",
    "site-takes-everything": "a site's addresses are every address there is",
    "port-taken": "two listeners of the table want the same port",
    "path-taken": "two services want the same path of the HTTP server",
    "limits-at-odds": "two limits of intake contradict each other, so that one of them never holds",
    "idle-workers": "processes that receive would have nothing to do, or no core to do it on",
    "listens-everywhere": "a listener takes connections on every address of the machine",
    "tunnel-address": "a site's tunnel address is none that a site may have",
    "no-forward": "a destination behind a tunnel calls a port that leads nowhere",
    "register-disagrees": "the table and this machine's register of tunnels do not agree",
    "commitment-unheard": "a report of storage commitment would be turned away",
    # routes
    "after-otherwise": "an ordinary route stands behind an `otherwise` route",
    "takes-everything": "a route has neither `match`, `from` nor `otherwise`",
    "never-matches": "no study can be such that the route fires",
    "never-sent": "a destination would not get some results, or any, whatever they are",
    "identical-route": "two routes differ in nothing but their names",
    "shadowed-otherwise": "other routes leave nothing to an `otherwise` route",
    "does-nothing": "a route neither processes, delivers nor holds",
    "holds-and-acts": "a route that holds would also process or deliver",
    "result-unused": "a route makes results and sends them nowhere",
    "schedule-unused": "a route has hours, but neither processes nor delivers",
    "private-block": "a private attribute is named by a block that another device may have given elsewhere",
    "select-unused": "a route selects series for a processor that it does not have",
    "objects-refused": "a processor that is shown another Patient ID writes objects that are then refused",
    "edits-differ": "two routes edit what one destination gets in different ways; the first decides",
    "transform-unused": "a route edits what does not go onward",
    "duplicate-destination": "a route names a destination twice",
    "bad-after": "`after` names what is no destination of the same route",
    "waits-in-a-ring": "destinations wait for each other",
    "no-result": "a destination that carries results stands in a route that makes none",
    "no-status": "`when` is asked of a study, which has no status",
    "across-sites": "a result or study would go to another site than it is from",
    "other-sites-left-out": "a destination gets only some of what its route takes",
    # destinations
    "sends-to-itself": "a destination is a listener of the same table",
    "own-ae-title": "a peer is called by the AE title that is ours",
    "in-the-clear": "a destination on the internet is reached without TLS",
    "times-at-odds": "two times of a destination contradict each other",
    "cannot-carry": "a destination cannot take something as it is, and what becomes of it",
    # access tokens
    "tokens-in-the-clear": "clients would send secrets and tokens without TLS",
    "bad-signing-key": "a key of `oauth:` cannot be used for access tokens",
    # people
    "bad-people-key": "the key of `people:` cannot encipher second factors",
    # what nothing uses
    "unused-destination": "no route delivers to a destination",
    "unused-default": "nothing takes a value of the defaults",
    "unused-processor": "no route processes with a processor",
    "unrouted-inbound": "no route takes what comes by an inbound channel",
    "unrouted-site": "no route, or only `otherwise`, takes what comes from a site",
    # this machine
    "bad-data-folder": "the data folder cannot be made or written where the table wants it",
    "unknown-address": "a listener's address has a name that this machine does not know",
    "missing-secret": "a secret's variable or file is not there",
    "missing-file": "a file that the table names is not there",
    "missing-command": "a program that the table names is not there, or cannot be run",
    "port-in-use": "another process has the port, or this machine lacks the address (`--online`)",
    "no-answer": "a destination does not answer, or turns us away (`--online`)",
    "secret-readable": "a file with a secret can be read by every user of this machine",
    "cannot-be-built": "a channel or processor refuses its settings",
}


def derived(location: tuple[str | int, ...]) -> str:
    """The code of a finding that was given none."""
    words = [part for part in location if isinstance(part, str)]
    if words[:1] == ["include"]:
        return "bad-include"
    if words[:1] == ["tests"]:
        return "bad-test"
    if words[:1] == ["routes"]:
        if "transform" in words:
            return "bad-transform"
        if "matches" in words:
            return "bad-pattern"
        if "match" in words or "select" in words:
            return "bad-predicate"
    return "bad-value" if words else "not-plain"
