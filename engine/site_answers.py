"""What an operator may answer about a hospital, checked word by word as the table would be.

Enter: texts of a flag or of a prompt. Leave: values, or ValueError that says how one is written, so
that a prompt can ask again before anything is written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.first_site import DicomPeer, Socket
from engine.route_sections import Words
from engine.sections import NAME, Address, Network, TimeZone
from engine.settings import AETitle, HostPort

_HOST = r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:]+\])"
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s#]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _by(annotation: Any) -> Callable[[str], str]:
    adapter: TypeAdapter[str] = TypeAdapter(annotation)

    def read(text: str) -> str:
        try:
            return adapter.validate_python(text.strip())
        except ValidationError as error:
            (first, *_) = error.errors()
            raise ValueError(str(first["msg"]).removeprefix("Value error, ")) from None

    return read


name, timezone, ae_title, listen = _by(Words), _by(TimeZone), _by(AETitle), _by(HostPort)
address, tunnel = _by(Network), _by(Address)


def key(text: str) -> str:
    """A site's key: it appears in file names, metrics and addresses."""
    if not re.fullmatch(NAME, text.strip()):
        raise ValueError("a key has up to 64 lower-case letters, digits, - and _, for example st-marys")
    return text.strip()


def pacs(text: str) -> DicomPeer:
    """HOST:PORT:AE-TITLE."""
    found = re.fullmatch(rf"{_HOST}:(?P<port>[0-9]{{1,5}}):(?P<title>.+)", text.strip())
    if found is None:
        raise ValueError("a PACS is HOST:PORT:AE-TITLE, for example 10.90.7.2:104:STM_PACS")
    return DicomPeer(found["host"].strip("[]"), _port(found["port"]), ae_title(found["title"]))


def ris(text: str) -> Socket:
    """HOST:PORT."""
    found = re.fullmatch(rf"{_HOST}:(?P<port>[0-9]{{1,5}})", text.strip())
    if found is None:
        raise ValueError("a RIS is HOST:PORT, for example 10.90.7.2:2575")
    return Socket(found["host"].strip("[]"), _port(found["port"]))


def url(text: str) -> str:
    """An address of HTTP, without user or fragment."""
    if not _URL.fullmatch(text.strip()):
        raise ValueError("an address is https://HOST[:PORT]/PATH, without user or password")
    return text.strip()


def variable(text: str) -> str:
    """The name of an environment variable: where a secret is, not the secret."""
    if not _VARIABLE.fullmatch(text.strip()):
        raise ValueError("give the name of an environment variable, for example STM_FHIR_TOKEN")
    return text.strip()


def processor(text: str) -> tuple[str, dict[str, Any]]:
    """`quality_control`, or a command line with `{in}` and `{out}`: its key and its block."""
    if text.strip() == "quality_control":
        return "qc", {"type": "quality_control"}
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words or not {"{in}", "{out}"} <= set(re.findall(r"\{\w+\}", text)):
        raise ValueError("quality_control, or a command such as 'run-model {in} {out}'")
    return "model", {"type": "command", "command": words}


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise ValueError("a port is between 1 and 65535")
    return int(text)
