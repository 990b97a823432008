"""The site stories of `examples/`, copied to where an operator wants one.

Enter: the name of a story and a folder that does not hold one yet. Leave: its files, complete in
themselves: secrets made anew (mode 0600), the schema for editors beside them. The stories are beside
the packages in a checkout, and under `share/pons/examples` where Pons was installed from a wheel.
"""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from pathlib import Path

import engine
from engine.errors import ConfigurationError
from engine.finding import did_you_mean, shown
from engine.first_site import SCHEMA_FOLDER

_SCHEMA_LINE = re.compile(r"\A# yaml-language-server: \$schema=(?:\.\./)+docs/reference/")
_PLACES = (
    Path(engine.__file__).resolve().parent.parent / "examples",
    Path(sys.prefix) / "share/pons/examples",
)
_LEFT_OUT = ("__pycache__", "data")


def examples() -> dict[str, Path]:
    """The stories by name."""
    folders = [table.parent for place in _PLACES for table in sorted(place.glob("*/routes.yaml"))]
    return {folder.name: folder for folder in reversed(folders)}


def copy_example(name: str, folder: Path, schemas: dict[str, str]) -> list[Path]:
    """Copy a story; every file that was made, in order.

    Args:
        name: of the story.
        folder: where it goes; files of the same names must not be there.
        schemas: what editors read, by path below the folder.

    Raises:
        ConfigurationError: no such story, or a file is there already.
    """
    known = examples()
    if name not in known:
        raise ConfigurationError(
            f"no example {shown(name)}{did_you_mean(name, known)}; there are {', '.join(sorted(known))}"
        )
    source = known[name]
    names = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    names = [one for one in names if not set(one.parts) & set(_LEFT_OUT)]
    there = [one for one in (*names, *map(Path, schemas)) if (folder / one).exists()]
    if there:
        raise ConfigurationError(f"{folder / there[0]} is there already and is not overwritten")
    made = []
    for one in names:
        made.append(folder / one)
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        if one.suffix == ".yaml":
            up = "../" * (len(one.parts) - 1)
            text = (source / one).read_text("utf-8")
            made[-1].write_text(
                _SCHEMA_LINE.sub(f"# yaml-language-server: $schema={up}{SCHEMA_FOLDER}/", text), "utf-8"
            )
        elif "secrets" in one.parts:
            made[-1].touch(mode=0o600)
            prefix = "whsec_" if (source / one).read_text().startswith("whsec_") else ""
            made[-1].write_text(f"{prefix}{secrets.token_hex(24)}\n")
        else:
            shutil.copyfile(source / one, made[-1])
    for relative, text in schemas.items():
        made.append(folder / relative)
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        made[-1].write_text(text, "utf-8")
    return made
