"""What a table needs of the machine it is to run on: secrets, files, commands, parts that can be built.

Enters: a reading. Leave: findings about what this machine lacks. It is a dry run of the start: whatever
a part refuses to be built from is told with its line and column.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.catalog import installed_exports
from engine.channel import Cautious, InboundContext, OutboundContext, ProcessorContext
from engine.directory import Directory, is_here
from engine.finding import Location, shown
from engine.reading import Reading
from engine.settings import Secret, Settings
from engine.table import Declared
from engine.tunnel import called_of

Missing = tuple[Location, str, str]
"""Where in the settings, what is missing, and the code of the finding."""


def check_surroundings(reading: Reading) -> None:
    """Secrets, files and commands are there, and every declared part can be built."""
    directory = Directory(reading.sites)
    for name, inbound in reading.inbound.items():
        lent = InboundContext(name, directory, reading.engine.max_instance)
        _try_to_build(reading, ("inbound", name), inbound, lent)
    for name, processor in reading.processors.items():
        _try_to_build(reading, ("processors", name), processor, ProcessorContext(name, reading.document.base))
    for name, outbound in reading.outbound.items():
        site = reading.sites.get(outbound.settings.site)
        if site is not None:
            context = OutboundContext(name, site, reading.engine.ae_title, exports=installed_exports)
            _try_to_build(reading, ("outbound", name), outbound, context)


def _try_to_build(reading: Reading, location: Location, declared: Declared[Any], context: object) -> None:
    """A dry run of the start: what a part cannot be built from is a finding."""
    before = len(reading.findings)
    for inner, message, code in missing_of(declared.settings, reading.document.base):
        reading.complain((*location, *inner), message, code)
    if len(reading.findings) > before:
        return
    called = called_of(declared.settings)
    for inner in readable_secrets(declared.settings) if called is None or not is_here(called[0]) else ():
        message = "can be read by every user of this machine; chmod 600 and give it to the engine's user"
        reading.warn((*location, *inner), message, "secret-readable")
    try:
        built = declared.type.build(declared.settings, context)
        cautions = list(built.cautions()) if isinstance(built, Cautious) else []
    except Exception as error:  # a part may refuse its settings in any way; the operator gets one line
        cause = (str(error) or type(error).__name__).splitlines()[0]
        reading.complain(location, f"cannot be built: {cause}", "cannot-be-built")
        return
    for inner, message in cautions:
        reading.warn((*location, *inner), message, "cannot-carry")


def readable_secrets(value: Any, name: str | int = "") -> Iterator[Location]:
    """Where settings name a file with a secret that other users can read; certificates are no secret."""
    if isinstance(value, Secret):
        if value.file is not None and name not in _PUBLIC and _is_readable_by_all(value.file):
            yield ("file",)
    elif isinstance(value, Settings):
        for field in type(value).model_fields:
            for inner in readable_secrets(getattr(value, field), field):
                yield (field, *inner)
    elif isinstance(value, dict):
        for key, one in value.items():
            for inner in readable_secrets(one, key):
                yield (key, *inner)
    elif isinstance(value, tuple | list):
        for index, one in enumerate(value):
            for inner in readable_secrets(one, index):
                yield (index, *inner)


_PUBLIC = ("authorized_keys", "ca", "certificate")


def _is_readable_by_all(file: Path) -> bool:
    """Whether everybody may read a file and pass every folder on the way to it."""
    path = file.resolve()
    try:
        open_folders = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
        return open_folders and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def missing_of(settings: Settings, base: Path) -> Iterator[Missing]:
    """What settings name that this machine does not have: secrets, files, commands."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for inner, message, code in missing_in(value):
            yield (name, *inner), message, code
        if name == "command" and isinstance(value, tuple | list) and value:
            program = str(value[0])
            found = shutil.which(str(base / program) if "/" in program else program)
            if found is None:
                message = f"no program {shown(program)} on this machine; install it or give its path"
                if "/" in program and (base / program).is_file():
                    message = f"{shown(program)} cannot be run; chmod +x"
                yield (name, 0), message, "missing-command"


def missing_in(value: Any) -> Iterator[Missing]:
    """The same of one value, whatever holds it."""
    if isinstance(value, Secret):
        try:
            value.reveal()
        except LookupError as error:
            remedy = (
                "set it where the engine runs"
                if value.env is not None
                else "create it, readable for the engine"
            )
            yield ("env" if value.env is not None else "file",), f"{error}; {remedy}", "missing-secret"
        except ValueError:
            yield ("file",), f"secret file {value.file} is not text", "missing-secret"
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            for inner, message, code in missing_in(getattr(value, name)):
                yield (name, *inner), message, code
    elif isinstance(value, Path):
        if not value.exists():
            yield (), f"no file {shown(value.name)} in {value.parent}", "missing-file"
    elif isinstance(value, dict):
        for key, one in value.items():
            for inner, message, code in missing_in(one):
                yield (key, *inner), message, code
    elif isinstance(value, tuple | list):
        for index, one in enumerate(value):
            for inner, message, code in missing_in(one):
                yield (index, *inner), message, code
