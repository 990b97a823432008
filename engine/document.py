"""YAML that remembers where everything stands.

Enter: a table file and the files it includes. Leave: plain data (mappings, lists, scalars), the
position of every key and value, and a version that changes when any byte of any file does.

It reads the YAML 1.2 core schema with two cautions for this field: `22:00`, `no` and `on` are
text, not numbers and booleans, and a number with a leading zero (`007`) stays text, as identifiers
are written so. Tags are refused, duplicate keys are refused, anchors and merge keys (`<<`) work
but may not expand past a limit, and nothing is ever executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.finding import Finding, Location, Mark, did_you_mean, shown
from engine.transform.map_file import files_named, label_of

MAX_BYTES = 32 * 1024 * 1024  # one file; ten thousand routes are about three
MAX_NODES = 2_000_000  # values in one file after its aliases are expanded
MAX_DEPTH = 40  # nesting of a table that a person can read
MAX_FILES = 5000

MAPPINGS = ("sites", "inbound", "processors", "outbound")
"""Sections whose entries may come from included files, by name."""
SEQUENCES = ("routes", "tests")
"""Sections whose entries may come from included files, in order."""

_FOR_THE_TABLE = {
    "include": "; name its files in the include of the table itself: one list says what it is made of",
    "defaults": "; write them in the table itself, for the blocks of every file",
}

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(
    r"[-+]?(?:0|[1-9][0-9]{0,30})?(?:\.[0-9]{1,30}(?:[eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})"
)
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value
    for value, words in ((True, "true True TRUE"), (False, "false False FALSE"))
    for word in words.split()
}


@dataclass(slots=True)
class Node:
    """A value and where it stands; ``children`` mirrors the shape of ``data``."""

    data: Any
    mark: Mark
    children: dict[str, Node] | list[Node] | None = None
    keys: dict[str, Mark] = field(default_factory=dict)
    size: int = 1


class _Broken(Exception):
    """A file cannot be read any further."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Document:
    """A table's files as one mapping."""

    base: Path
    version: str
    root: Node
    findings: tuple[Finding, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """The text of each file by its path below the table's folder, the table's own first."""

    @property
    def data(self) -> dict[str, Any]:
        """The merged table as plain data."""
        return self.root.data if isinstance(self.root.data, dict) else {}

    def value_at(self, location: Location) -> Mark:
        """The position of the value at a location, or of the nearest value that encloses it."""
        return _at(self.root, location).mark

    def key_at(self, location: Location) -> Mark:
        """The position of the key at a location; that of the value where there is no key."""
        node = self.root
        for part in location[:-1]:
            node = _child(node, part) or node
        key = node.keys.get(str(location[-1])) if location else None
        return key or self.value_at(location)


def _at(node: Node, location: Location) -> Node:
    """The node at a location, or the nearest that encloses it."""
    for part in location:
        node = _child(node, part) or node  # pydantic names branches of a union that the file does not
    return node


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.children, dict):
        return node.children.get(str(part))
    if isinstance(node.children, list) and isinstance(part, int) and part < len(node.children):
        return node.children[part]
    return None


def read(path: Path, base: Path | None = None) -> Document:
    """Read a table and all it includes; what is wrong with the files is in ``findings``.

    Args:
        path: the table's file; what it includes lies beside or below it.
        base: the folder that other relative paths in it start from; the table's own when absent.

    Raises:
        OSError: the table itself cannot be opened.
    """
    folder = path.resolve().parent
    base = base.resolve() if base else folder
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    files = {path.name: _text(content)}
    findings: list[Finding] = []
    root = _parse(content, path.name, findings)
    if root is None or not isinstance(root.children, dict):
        mark = root.mark if root else Mark(path.name, 1, 1)
        if not findings:
            message = "a table is a mapping and starts with version: 1"
            findings.append(Finding.at(mark, (), message, code="wrong-kind"))
        return Document(base, _version(digest), Node({}, mark, {}), tuple(findings), files)
    for included, label in _included(root, folder, path.resolve(), findings).items():
        try:
            content = included.read_bytes()
        except OSError as error:
            mark = root.keys["include"]
            message = f"{label} cannot be read: {error.strerror}"
            findings.append(Finding.at(mark, ("include",), message, code="unreadable"))
            continue
        digest.update(b"\0" + label.encode() + b"\0" + content)
        files[label] = _text(content)
        part = _parse(content, label, findings)
        if part is not None:
            _merge(root, part, findings)
    for location, name in files_named(root.data):
        try:
            label = label_of(name)
            content = (folder / label).read_bytes()
        except (OSError, ValueError) as error:
            why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            mark = _at(root, location).mark
            findings.append(Finding.at(mark, location, f"{shown(name)} {why}", code="missing-file"))
            continue
        if label not in files:
            digest.update(b"\0" + label.encode() + b"\0" + content)
            files[label] = _text(content)
    return Document(base, _version(digest), root, tuple(findings), files)


def _text(content: bytes) -> str:
    """The text whose UTF-8 is these bytes; what is none is found when it is parsed."""
    return content.decode("utf-8", "replace")


def _version(digest: Any) -> str:
    return f"sha256:{digest.hexdigest()[:12]}"


def _included(root: Node, folder: Path, own: Path, findings: list[Finding]) -> dict[Path, str]:
    """Files the table includes and their paths below its folder, by its globs and then by name."""
    assert isinstance(root.children, dict)
    node = root.children.get("include")
    if node is None:
        return {}
    found: dict[Path, str] = {}
    if not isinstance(node.children, list):
        findings.append(Finding.at(node.mark, ("include",), "must be a list of file patterns"))
        return {}
    for index, item in enumerate(node.children):
        location: Location = ("include", index)
        if not isinstance(item.data, str) or not item.data or Path(item.data).is_absolute():
            message = "must be a file pattern relative to the table, for example sites/*.yaml"
            findings.append(Finding.at(item.mark, location, message))
            continue
        try:
            matches = sorted(match for match in folder.glob(item.data) if match.is_file())
        except (ValueError, OSError):
            findings.append(Finding.at(item.mark, location, f"{shown(item.data)} is no file pattern"))
            continue
        if not matches:
            findings.append(Finding.at(item.mark, location, f"{shown(item.data)} matches no file"))
        labels = {match: os.path.relpath(match, folder) for match in matches}
        outside = next((label for label in labels.values() if label.startswith("../")), None)
        if outside is not None:
            message = f"{outside} is not below the table's folder; move it there: a version is kept whole"
            findings.append(Finding.at(item.mark, location, message))
            continue
        for match, label in labels.items():
            if match.resolve() != own:
                found.setdefault(match.resolve(), label)
    if len(found) > MAX_FILES:
        findings.append(Finding.at(node.mark, ("include",), f"includes more than {MAX_FILES} files"))
        return {}
    return found


def _merge(root: Node, part: Node, findings: list[Finding]) -> None:
    """Add an included file's sections to the table's; a name that both have is an error."""
    if not isinstance(part.children, dict):
        if part.data is not None:
            message = f"an included file is a mapping with {', '.join((*MAPPINGS, *SEQUENCES))}"
            findings.append(Finding.at(part.mark, (), message, code="bad-include"))
        return
    assert isinstance(root.children, dict)
    for section, node in part.children.items():
        if section not in MAPPINGS and section not in SEQUENCES:
            hint = _FOR_THE_TABLE.get(section) or did_you_mean(section, (*MAPPINGS, *SEQUENCES))
            message = f"an included file may not hold {shown(section)}{hint}"
            findings.append(Finding.at(part.keys[section], (section,), message, code="bad-include"))
            continue
        mine = root.children.get(section)
        if mine is None or mine.data is None:
            root.children[section], root.data[section] = node, node.data
            root.keys.setdefault(section, part.keys[section])
        elif isinstance(mine.children, dict) and isinstance(node.children, dict):
            for name, child in node.children.items():
                if name in mine.children:
                    message = f"{shown(name)} is declared already at {mine.keys[name]}; rename one of them"
                    there = node.keys[name]
                    findings.append(Finding.at(there, (section, name), message, code="duplicate-name"))
                    continue
                mine.children[name], mine.data[name] = child, child.data
                mine.keys[name] = node.keys[name]
        elif isinstance(mine.children, list) and isinstance(node.children, list):
            mine.children.extend(node.children)
            mine.data.extend(node.data)
        elif node.data is not None:
            kind = "a mapping of names" if section in MAPPINGS else "a list"
            findings.append(Finding.at(node.mark, (section,), f"must be {kind}", code="wrong-kind"))


# ── one file ────────────────────────────────────────────────────────────────────────────────────


def _parse(content: bytes, label: str, findings: list[Finding]) -> Node | None:
    """One file as nodes; None when it cannot be read, and then the reason is among the findings."""
    start = Mark(label, 1, 1)
    if len(content) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1024**2} MB; split it with include"
        findings.append(Finding.at(start, (), message, code="unreadable"))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = "not UTF-8; save the file as UTF-8"
        findings.append(Finding.at(Mark(label, line, 1), (), message, code="unreadable"))
        return None
    composer = _Composer(label, findings)
    try:
        return composer.compose(yaml.parse(text, Loader=_LOADER))
    except _Broken as broken:
        findings.append(Finding.at(broken.mark, (), str(broken)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Mark(label, mark.line + 1, mark.column + 1) if mark else start
        context = f" ({error.context})" if error.context else ""
        if mark and _is_tab(text, mark):
            context = "; a tab cannot indent, use spaces"
        message = f"not YAML: {error.problem or 'cannot be read'}{context}"
        findings.append(Finding.at(where, (), message, code="not-yaml"))
    except yaml.YAMLError:
        message = "not YAML: it holds a control character"
        findings.append(Finding.at(start, (), message, code="not-yaml"))
    return None


def _is_tab(text: str, mark: Any) -> bool:
    line: str = "".join(text.splitlines()[mark.line : mark.line + 1])
    return line[mark.column : mark.column + 1] == "\t"


class _Composer:
    """Builds nodes from YAML events and keeps their marks."""

    def __init__(self, label: str, findings: list[Finding]) -> None:
        self._label = label
        self._findings = findings
        self._anchors: dict[str, Node] = {}
        self._total = 0

    def compose(self, events: Iterator[Any]) -> Node | None:
        node: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise _Broken(self._mark(event), "a table is one YAML document; remove the second one")
                node = self._node(next(events), events, 0, ())
        return node

    def _mark(self, event: Any) -> Mark:
        return Mark(self._label, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, events: Iterator[Any], depth: int, location: Location) -> Node:
        mark = self._mark(event)
        if depth > MAX_DEPTH:
            raise _Broken(mark, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            target = self._anchors.get(str(event.anchor))
            if target is None:
                raise _Broken(mark, f"no anchor &{event.anchor} before this alias")
            node = Node(target.data, mark, target.children, target.keys, target.size)
            self._count(target.size, mark)
            return node
        self._count(1, mark)
        if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag == "!"):
            raise _Broken(mark, f"tag {shown(event.tag)} is not allowed; write plain values")
        if isinstance(event, yaml.ScalarEvent):
            node = Node(scalar(event.value) if event.implicit[0] else event.value, mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(mark, events, depth, location)
        else:
            node = self._mapping(mark, events, depth, location)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _count(self, size: int, mark: Mark) -> None:
        self._total += size
        if self._total > MAX_NODES:
            raise _Broken(mark, f"more than {MAX_NODES} values once its aliases are expanded")

    def _sequence(self, mark: Mark, events: Iterator[Any], depth: int, location: Location) -> Node:
        children: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            children.append(self._node(event, events, depth + 1, (*location, len(children))))
        size = 1 + sum(child.size for child in children)
        return Node([child.data for child in children], mark, children, size=size)

    def _mapping(self, mark: Mark, events: Iterator[Any], depth: int, location: Location) -> Node:
        children: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        merged: list[Node] = []
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            where = self._mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Broken(where, "a key must be a plain word")
            name, here = event.value, (*location, event.value)
            child = self._node(next(events), events, depth + 1, here)
            if name == "<<" and event.implicit[0]:
                merged.extend(self._merged(child, here))
            elif name in keys:
                message = f"duplicate key {shown(name)}, first at line {keys[name].line}; remove one of them"
                self._findings.append(Finding.at(where, here, message, code="duplicate-key"))
            else:
                children[name], keys[name] = child, where
        for source in merged:
            assert isinstance(source.children, dict)
            for name, child in source.children.items():
                if name not in children:
                    children[name], keys[name] = child, source.keys[name]
        size = 1 + sum(child.size for child in children.values())
        return Node({name: child.data for name, child in children.items()}, mark, children, keys, size)

    def _merged(self, node: Node, location: Location) -> list[Node]:
        sources = node.children if isinstance(node.children, list) else [node]
        if not all(isinstance(source.children, dict) for source in sources):
            message = "<< takes a mapping or a list of mappings, for example <<: *defaults"
            self._findings.append(Finding.at(node.mark, location, message, code="not-plain"))
            return []
        return sources


def scalar(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema; a number with a leading zero stays text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
