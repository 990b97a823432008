"""The field types of the table: durations, sizes, secrets by reference, TLS, AE titles, addresses.

Enter: YAML scalars and small mappings. Leave: typed, frozen values. Nothing here opens a file or
a socket when it is validated; a secret is read when it is revealed.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FEWEST = {"d": 7, "h": 1, "m": 2, "s": 1}  # as people say it: 72h, 60s
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*([smhd])")
_POWERS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}
# As schemas for editors; `x-sample` and `x-kind` are for `engine.schema_fields`.
_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$",
    "x-sample": "30s",
    "x-kind": "duration",
}
_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[kMGT]?i?B?\s*$"},
    ],
    "x-sample": "64MB",
    "x-kind": "size",
}
_RATE_SCHEMA = {
    "type": "string",
    "pattern": r"^\s*\d+(\.\d+)?\s*/\s*[smhd]\s*$",
    "x-kind": "rate",
    "x-sample": "10/s",
}


class Settings(BaseModel):
    """Base of every block in the table: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def parse_duration(value: Any) -> float:
    """Seconds from `60s`, `20m`, `1h30m`, `250ms`; a bare number is refused: it has no unit."""
    if isinstance(value, str):
        text = value.replace(" ", "")
        if text and _DURATION.sub("", text) == "":
            return sum(float(n) * _UNITS[u] for n, u in _DURATION.findall(text))
    raise ValueError("a duration needs a unit, for example 250ms, 60s, 20m, 72h")


def parse_size(value: Any) -> int:
    """Bytes from `4GB`, `512MB`, `64kB` (powers of 1024) or a whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size is a number of bytes or, for example, 64kB, 512MB, 4GB")
    return int(float(match[1]) * 1024 ** _POWERS[match[2]])


def duration_text(seconds: float) -> str:
    """A duration as an operator writes it: `45m` for 2700.0, `72h`, `250ms`."""
    for unit in ("d", "h", "m", "s"):
        whole = seconds / _UNITS[unit]
        if whole == int(whole) and whole >= _FEWEST[unit]:
            return f"{int(whole)}{unit}"
    return f"{round(seconds * 1000)}ms"


def size_text(size: float) -> str:
    """A number of bytes as an operator writes it: `8GB`, `64kB`; bytes where no unit fits."""
    for prefix in ("T", "G", "M", "k"):
        whole, rest = divmod(int(size), 1024 ** _POWERS[prefix])
        if whole and not rest:
            return f"{whole}{prefix}B"
    return str(int(size))


def _check_ae_title(value: str) -> str:
    title = value.strip()
    if not title or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash (PS3.5 6.2)")
    return title


def _check_host_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("an address to listen on is HOST:PORT, for example 127.0.0.1:11112")
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
AETitle = Annotated[
    str,
    AfterValidator(_check_ae_title),
    Field(json_schema_extra={"x-kind": "AE title", "x-sample": "STM_PACS"}),
]
HostPort = Annotated[
    str,
    AfterValidator(_check_host_port),
    Field(json_schema_extra={"x-kind": "HOST:PORT", "x-sample": "127.0.0.1:8080"}),
]
Port = Annotated[int, Field(ge=1, le=65535, json_schema_extra={"x-kind": "port", "x-sample": 104})]


class Secret(Settings):
    """A secret by reference: `{env: NAME}` or `{file: path}`. Never the secret itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"env": "STM_HOOK_SECRET"}]})

    env: str | None = Field(None, examples=["STM_HOOK_SECRET"])
    """Name of the environment variable that holds it."""
    file: Path | None = Field(None, examples=["secrets/stm-hook"])
    """File that holds it; relative to the table's folder."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_literals(cls, value: Any) -> Any:
        if not isinstance(value, dict | Secret):
            raise ValueError("a secret is given by reference: {env: NAME} or {file: path}")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret names exactly one of env and file")
        return self

    def reveal(self) -> str:
        """The secret's text, a trailing newline removed; LookupError names the reference, never the value."""
        if self.env is not None:
            if self.env not in os.environ:
                raise LookupError(f"environment variable {self.env} is not set")
            return os.environ[self.env]
        assert self.file is not None
        try:
            return self.file.read_text().rstrip("\r\n")
        except OSError as error:
            raise LookupError(f"secret file {self.file} cannot be read: {error.strerror}") from None


class Tls(Settings):
    """TLS towards a peer: certificates are checked, TLS 1.2 at least."""

    ca: Secret | None = Field(None, examples=[{"file": "secrets/stm-ca.pem"}])
    """PEM of the authority that signs the peer; the system's authorities when absent."""
    certificate: Secret | None = Field(None, examples=[{"file": "secrets/pons.pem"}])
    """Our own PEM certificate chain, `file:` only."""
    key: Secret | None = Field(None, examples=[{"file": "secrets/pons.key"}])
    """Our own PEM private key, `file:` only."""

    def client_context(self) -> ssl.SSLContext:
        """A context that verifies the peer's certificate and host name."""
        context = ssl.create_default_context(cadata=self.ca.reveal() if self.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_own(context)
        return context

    def server_context(self) -> ssl.SSLContext:
        """A context for a listener; with ``ca`` the peer must show a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_own(context)
        if self.ca:
            context.load_verify_locations(cadata=self.ca.reveal())
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        if self.certificate and self.certificate.file:
            key = self.key.file if self.key else None
            context.load_cert_chain(self.certificate.file, key)


def parse_rate(value: Any) -> float:
    """Deliveries a second from `10/s`, `120/m`, `1000/h`; a bare number is refused: it has no unit."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError("a rate is a number per unit of time, for example 10/s, 120/m, 1000/h")
    return float(match[1]) / _UNITS[match[2]]


Rate = Annotated[float, BeforeValidator(parse_rate), WithJsonSchema(_RATE_SCHEMA)]


class Breaker(Settings):
    """When a destination that fails counts as down: nothing but a probe goes out until one succeeds."""

    failures: int = Field(5, ge=1, le=1000)
    """Failures in a row, of the destination and not of one payload, at which the circuit opens."""
    open_for: Duration = 30.0
    """How long it stays open before one delivery may try; doubles at each probe that fails."""
    cap: Duration = 300.0
    """The longest it stays open between two probes."""


class Retry(Settings):
    """How often a delivery is tried again: jittered exponential backoff."""

    first: Duration = 5.0
    """Wait before the second attempt."""
    factor: float = Field(2.0, ge=1, le=10)
    """Each further wait is this many times longer."""
    cap: Duration = 900.0
    """The longest wait between two attempts."""
    give_up_after: Duration = 259200.0
    """Age at which a delivery becomes a dead letter."""
    turned_down: int = Field(20, ge=1, le=1000)
    """How often a peer that is well may turn one payload down (AE, 0110, 409) before it is a dead letter."""
