"""A version of the table that the database keeps, laid out as files again so that it can be read.

Enter: names and texts as `engine.store.table_versions` has them. Leave: a private folder with the same
bytes, and so the same version; what is relative in them starts where the running table's file lies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from engine.errors import ConfigurationError


def lay_out(folder: Path, main: str, files: Mapping[str, str]) -> Path:
    """Write a version's files into a folder of its own, the table's last; the path of the table.

    What lies there already and is the same stays untouched: several processes may do it at once.

    Raises:
        ConfigurationError: a name leads out of the folder, or the table itself is missing.
    """
    if main not in files:
        raise ConfigurationError(f"a kept version of the table lacks its file {main}")
    for name in sorted(files, key=lambda name: name == main):
        _write(folder, name, files[name].encode())
    return folder / main


def _write(folder: Path, name: str, content: bytes) -> None:
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or any(part in ("..", ".") for part in parts):
        raise ConfigurationError(f"a kept version of the table names a file outside its folder: {name}")
    path = folder.joinpath(*parts)
    below = folder
    for part in ("", *parts[:-1]):
        below = below / part
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == content:
        return
    unready = path.with_name(f".{path.name}.{os.getpid()}")
    unready.touch(mode=0o600)
    unready.write_bytes(content)
    unready.replace(path)
