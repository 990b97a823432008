"""Secrets stand in a table by reference only: what looks like one that is written out is refused.

Enters: a reading. Leave: findings about values with a password or a private key, which they do not repeat.
Fields that take a secret refuse a literal by themselves; here is every other value, whatever its field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.document import Node
from engine.finding import Location
from engine.reading import Reading

_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")  # RFC 3986 3.2.1: user:password@
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")


def check_literals(reading: Reading) -> None:
    """No address holds a password, and no value a private key."""
    told = {(one.file, one.line, one.column) for one in reading.findings if one.severity == "error"}
    for location, node in _texts(reading.document.root, ()):
        if tuple(node.mark) in told:
            continue  # its field has refused it
        if "://" in node.data and _PASSWORD.search(node.data):
            message = "holds a password; give it by reference, where the type takes a secret"
            reading.complain(location, message, "literal-secret")
        elif "-----BEGIN" in node.data and _PRIVATE_KEY.search(node.data):
            message = "holds a private key; put it into a file of its own and refer to that: {file: path}"
            reading.complain(location, message, "literal-secret")


def _texts(node: Node, location: Location) -> Iterator[tuple[Location, Node]]:
    if isinstance(node.data, str):
        yield location, node
    elif isinstance(node.children, dict):
        for name, child in node.children.items():
            yield from _texts(child, (*location, name))
    elif isinstance(node.children, list):
        for index, child in enumerate(node.children):
            yield from _texts(child, (*location, index))
