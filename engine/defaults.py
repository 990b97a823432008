"""What many blocks of a table have in common, written once: its `defaults:`.

Enter: a document whose files have been put together, and the installed types. Leave: the document with what
`defaults:` says put under each block it is for, and findings about the defaults themselves. A block's own
keys win; mappings are merged key by key, lists and single values are replaced whole, and so is a reference to
a secret. What came from the defaults keeps its position, so whatever is wrong with it is told there, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from engine.catalog import Catalog
from engine.document import Document, Node
from engine.errors import ConfigurationError
from engine.finding import Finding, Location, Mark, did_you_mean, keys_of, path_of, shown
from engine.route_sections import RouteSettings
from engine.sections import SiteSettings

ANY = "*"
"""Stands for every type that knows the key."""

TYPED = ("inbound", "processors", "outbound")
SECTIONS = ("sites", *TYPED, "routes")
_OWN = {"sites": (), "routes": ("name",), **dict.fromkeys(TYPED, ("type",))}  # what no two blocks can share
_REFERENCE = frozenset({"env", "file"})


class Tell(Protocol):
    """Where findings about the defaults go (`engine.reading.Reading`)."""

    document: Document

    def complain(self, location: Location, message: str, code: str = "") -> None: ...
    def complain_of_key(self, location: Location, message: str, code: str = "") -> None: ...
    def warn_of_key(self, location: Location, message: str, code: str = "") -> None: ...


def apply_defaults(tell: Tell, catalog: Catalog) -> None:
    """Put the defaults of a document under its blocks."""
    root = tell.document.root
    defaults = root.children.get("defaults") if isinstance(root.children, dict) else None
    if defaults is None or not isinstance(defaults.children, dict):
        return
    for section, given in defaults.children.items():
        here: Location = ("defaults", section)
        if section not in SECTIONS:
            message = f"no defaults for {shown(section)}{did_you_mean(section, SECTIONS)}"
            tell.complain_of_key(here, message, "unknown-key")
        elif not isinstance(given.children, dict):
            if given.data is not None:
                tell.complain(here, "must be a mapping", "wrong-kind")
        else:
            _Section(tell, section, catalog).take(given, here)


class _Section:
    """The blocks of one section, and what becomes of them."""

    def __init__(self, tell: Tell, section: str, catalog: Catalog) -> None:
        self._tell = tell
        self._section = section
        self._load: Callable[[str], object] | None = {
            "inbound": catalog.inbound,
            "processors": catalog.processor,
            "outbound": catalog.outbound,
        }.get(section)
        children = tell.document.root.children
        self._node = children.get(section) if isinstance(children, dict) else None
        inner = self._node.children if self._node is not None else None
        pairs: Iterable[tuple[str | int, Node]] = ()
        if isinstance(inner, dict) and section != "routes":
            pairs = inner.items()
        elif isinstance(inner, list) and section == "routes":
            pairs = enumerate(inner)
        self._blocks: dict[str | int, Node] = dict(pairs)

    def take(self, given: Node, here: Location) -> None:
        """Put what is given under the blocks, and the blocks back into the document."""
        if self._load is None:
            model = SiteSettings if self._section == "sites" else RouteSettings
            self._of(given, here, keys_of(model, ()), list(self._blocks))
        else:
            self._of_types(given, here, self._load)
        if self._node is None or not self._blocks:
            return
        node: Node
        if isinstance(self._node.children, dict):
            named = {str(name): block for name, block in self._blocks.items()}
            data = {name: block.data for name, block in named.items()}
            node = replace(self._node, data=data, children=named)
        else:
            blocks = list(self._blocks.values())
            node = replace(self._node, data=[block.data for block in blocks], children=blocks)
        root = self._tell.document.root
        assert isinstance(root.children, dict)
        root.children[self._section], root.data[self._section] = node, node.data

    def _of_types(self, given: Node, here: Location, load: Callable[[str], object]) -> None:
        """Defaults by type; those of a type go before those of any."""
        assert isinstance(given.children, dict)
        types = {name: _type_of(block) for name, block in self._blocks.items()}
        known: dict[str, list[str]] = {}
        for one in dict.fromkeys((*given.children, *types.values())):
            try:
                settings = getattr(load(one), "settings", None) if one not in ("", ANY) else None
            except ConfigurationError as error:
                if one in given.children:
                    self._tell.complain_of_key((*here, one), str(error), "unknown-type")
                continue
            if settings is not None:
                known[one] = keys_of(settings, ())
        for one, block in sorted(given.children.items(), key=lambda pair: pair[0] == ANY):
            inner: Location = (*here, one)
            if not isinstance(block.children, dict):
                self._tell.complain(inner, "must be a mapping", "wrong-kind")
            elif one == ANY:
                for key in block.children:
                    able = [name for name, each in types.items() if key in known.get(each, ())]
                    self._put(block, inner, key, able)
            elif one in known:
                self._of(block, inner, known[one], [name for name, each in types.items() if each == one])

    def _of(self, given: Node, here: Location, known: Sequence[str], names: Sequence[str | int]) -> None:
        """Defaults for some blocks that know the same keys."""
        assert isinstance(given.children, dict)
        for key in given.children:
            if key in _OWN[self._section]:
                message = f"every block has its own {key}; take it out of the defaults"
                self._tell.complain_of_key((*here, key), message, "unknown-key")
            elif key not in known:
                message = f"unknown key {shown(key)}{did_you_mean(key, known)}"
                self._tell.complain_of_key((*here, key), message, "unknown-key")
            else:
                self._put(given, here, key, names)

    def _put(self, given: Node, here: Location, key: str, names: Sequence[str | int]) -> None:
        """One key of the defaults under some blocks."""
        assert isinstance(given.children, dict)
        child = given.children[key]
        only = Node({key: child.data}, given.mark, {key: child}, {key: given.keys[key]})
        taken = False
        for name in names:
            before = self._blocks[name]
            self._blocks[name] = _under(before, only)
            taken = taken or self._blocks[name] is not before
        if not taken:
            why = "every block that knows it has its own" if names else "no block here knows it"
            self._tell.warn_of_key((*here, key), f"nothing takes it: {why}", "unused-default")


def _type_of(block: Node) -> str:
    value = block.data.get("type") if isinstance(block.data, dict) else None
    return value if isinstance(value, str) else ""


def _under(own: Node, default: Node) -> Node:
    """A block with a default under it; the block itself when it takes nothing of it."""
    if not isinstance(own.children, dict) or not isinstance(default.children, dict):
        return own
    if own.children and (own.children.keys() <= _REFERENCE or default.children.keys() <= _REFERENCE):
        return own  # {env: NAME} with a file under it would be two secrets
    children, keys = dict(own.children), dict(own.keys)
    for name, child in default.children.items():
        if name in children:
            children[name] = _under(children[name], child)
        else:
            children[name], keys[name] = child, default.keys[name]
    if all(children[name] is own.children.get(name) for name in children):
        return own
    data = {name: child.data for name, child in children.items()}
    return replace(own, data=data, children=children, keys=keys)


# ── findings about what came from the defaults ──────────────────────────────────────────────────


def told_once(document: Document, findings: Sequence[Finding]) -> list[Finding]:
    """Findings with those about a value of the defaults told once, with its path there.

    A value that a hundred blocks have taken would be told of a hundred times.
    """
    root = document.root
    node = root.children.get("defaults") if isinstance(root.children, dict) else None
    if node is None:
        return list(findings)
    where = dict(_marks(node, ("defaults",)))
    found: dict[Finding, None] = {}
    for one in findings:
        location = where.get(Mark(one.file, one.line, one.column))
        found[one if location is None else replace(one, path=path_of(location))] = None
    return list(found)


def _marks(node: Node, location: Location) -> Iterator[tuple[Mark, Location]]:
    """Where the values of the defaults stand; not those of an alias, which stand elsewhere."""
    children: Iterable[tuple[str | int, Node]] = ()
    if isinstance(node.children, dict):
        children = node.children.items()
    elif isinstance(node.children, list):
        children = enumerate(node.children)
    keys: Mapping[str, Mark] = node.keys
    for name, child in children:
        inner = (*location, name)
        key = keys.get(str(name))
        for mark in (key, child.mark):
            if mark is not None and mark.file == node.mark.file and mark >= node.mark:
                yield mark, inner
        if child.mark >= node.mark:
            yield from _marks(child, inner)
