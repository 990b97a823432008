"""The system calls of a process and its children, as `strace -f -yy` wrote them down.

Enter: strace's lines. Leave: calls with the place in the file where each began and where it returned, so
that "before" means: had returned before the other began. What a call was done to is the path that strace
names beside the descriptor, or the connection.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

TRACED = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "write,writev,pwrite64,pwritev,pwritev2,sendfile,splice,copy_file_range,"
    "fsync,fdatasync,sync,syncfs,sendto,sendmsg"
)
"""Whatever can make a name, write bytes, make them durable or answer."""

WHOLE_PAGE = 8192  # bytes of a buffer that strace writes down: a page of the database and more

_LINE = re.compile(r"(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)(?P<opened><.*>)?.*", re.DOTALL)
_BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<((?:->|[^<>])*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One call, done."""

    began: int  # line
    ended: int
    at: float  # seconds
    name: str
    arguments: str
    result: int
    opened: str = ""  # path of the descriptor that it returned

    @property
    def target(self) -> str:
        """The path or connection of its first descriptor."""
        found = _DESCRIPTOR.match(self.arguments)
        return found[1] if found else ""

    @property
    def paths(self) -> list[str]:
        """Its paths, whole: what is relative stands in the folder before it."""
        found: list[str] = []
        folder = ""
        for match in re.finditer(f"{_DESCRIPTOR.pattern}|{_TEXT.pattern}", self.arguments):
            if match[2] is None:
                folder = match[1]
            else:
                found.append(match[2] if match[2].startswith("/") else f"{folder}/{match[2]}")
        return found

    @property
    def content(self) -> bytes:
        """What it wrote, as far as strace shows it."""
        return b"".join(codecs.escape_decode(text.encode())[0] for text in _TEXT.findall(self.arguments))


def read(lines: Iterable[str]) -> Iterator[Call]:
    """The calls that did not fail, in the order in which they returned."""
    begun: dict[str, Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:
            continue
        thread, rest = found["thread"], found["rest"]
        if match := _BEGUN.fullmatch(rest):
            at = float(found["at"])
            begun[thread] = Call(number, number, at, match["name"], match["arguments"], -1)
            continue
        if (match := _RESUMED.fullmatch(rest)) and thread in begun:
            first = begun.pop(thread)
            rest = f"{first.name}({first.arguments}{match['rest']}"
        else:
            first = Call(number, number, float(found["at"]), "", "", -1)
        done = _CALL.fullmatch(rest)
        if done is not None and int(done["result"]) >= 0:
            yield replace(
                first,
                ended=number,
                name=done["name"],
                arguments=done["arguments"],
                result=int(done["result"]),
                opened=(done["opened"] or "")[1:-1],
            )
