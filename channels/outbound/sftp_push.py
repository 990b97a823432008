"""Reports as files on a hospital's own SFTP server (SSH: RFC 4251 to 4254; SFTP version 3 as OpenSSH has it).

Enter: a result. Leave: a file for each format, whole under its name or not there at all; acknowledged when
every one of them has its name and its size. The server's host key is pinned. An attempt that was cut off is
gone on with by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import asyncssh
from pydantic import AfterValidator, Field, field_validator, model_validator

from channels.content import report_files, report_path
from channels.transport.sftp_put import mark, put
from channels.transport.ssh import Server, Session, session
from engine.channel import OutboundContext, OutboundSettings, OutboundType, Port, Secret
from engine.errors import Refused
from engine.model import Acknowledgement, Delivery, History, Payload, Result, Study

_SAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDCb5lH1+RBSBV6uk6y28j5LJuvSEO1V33YO4RHTg3XX"

PathTemplate = Annotated[str, AfterValidator(report_path.checked)]


class Settings(OutboundSettings):
    """A hospital's SFTP server."""

    host: str = Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$", examples=["10.90.7.2"])
    """Address or name of the server."""
    port: Port = Field(22, examples=[22])
    """TCP port of the server."""
    user: str = Field(min_length=1, max_length=128, examples=["pons"])
    """Our user there."""
    key: Secret | None = Field(None, examples=[{"file": "secrets/stm-sftp-key"}])
    """Our OpenSSH private key, without passphrase."""
    password: Secret | None = Field(None, examples=[{"file": "secrets/stm-sftp-password"}])
    """Our password, for a server that takes no keys."""
    host_keys: tuple[str, ...] = Field((), examples=[[_SAMPLE]])
    """The server's public host keys, each a line as in a `.pub` file; or `known_hosts`, or both."""
    known_hosts: Secret | None = Field(None, examples=[{"file": "keys/stm-known-hosts"}])
    """A file in OpenSSH's known_hosts format, as `ssh-keyscan` writes it; or `host_keys`, or both."""
    path: PathTemplate = report_path.DEFAULT
    """Where a report is filed there, with fields in braces; folders are made."""
    formats: tuple[str, ...] = Field(("pdf",), min_length=1, examples=[["pdf", "json"]])
    """File formats of the result, one file each."""
    marker: str = Field("", pattern=r"^(\.[A-Za-z0-9._-]{1,32})?$", examples=[".done"])
    """Ending of an empty file that is put beside each report once that is complete; none when empty."""

    @field_validator("host_keys")
    @classmethod
    def _host_keys(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for number, line in enumerate(lines, 1):
            try:
                asyncssh.import_public_key(line)
            except ValueError:
                raise ValueError(
                    f"key {number} is no public key: give what ssh-keyscan says, from ssh-… on"
                ) from None
        return lines

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if not self.host_keys and self.known_hosts is None:
            raise ValueError("give host_keys or known_hosts: reports go only to a server that is known")
        if self.key is None and self.password is None:
            raise ValueError("give key, or password for a server that takes no keys")
        if len(set(self.formats)) > 1 and "{ext}" not in self.path:
            raise ValueError("path: several formats would share a file; put {ext} into it")
        return self


class SftpPush:
    """Renders by `channels.content.report_files`, delivers by `channels.transport.sftp_put`."""

    def __init__(self, settings: Settings, context: OutboundContext) -> None:
        self._settings = settings
        self._exports = tuple(context.exports(settings.formats))
        given = settings.model_dump(include={"host", "port", "user", "timeout"})
        self._server = Server(
            **given,
            key=settings.key,
            password=settings.password,
            host_keys=settings.host_keys,
            known_hosts=settings.known_hosts,
        )

    def cautions(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """A path by accession number alone is one file for all studies of it."""
        if not {f"{{{name}}}" for name in report_path.DISTINCT - {"accession_number"}}.intersection(
            _fields(self._settings.path)
        ):
            yield (
                ("path",),
                "studies with one accession number replace each other's reports; {study} keeps them apart",
            )

    def render(self, subject: Result | Study, history: History) -> Payload:
        """A file for each format, its identifier derived from this delivery."""
        assert isinstance(subject, Result)  # the type carries results
        return report_files.render(subject, history, self._exports, self._settings.path)

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Put every file; returns when all of them have their names."""
        if not payload.parts:
            raise Refused("there is no file to send", code="empty")
        async with session(self._server) as there:
            for part in payload.parts:
                path = part.facts["path"]
                await put(there, path, part.identifier, part.content)
                if self._settings.marker:
                    await mark(there, path + self._settings.marker)
        return Acknowledgement(code="0", detail=f"{len(payload.parts)} files put")

    async def probe(self) -> None:
        """Sign in and ask where we are; nothing is written."""
        async with session(self._server) as there:
            await _look(there)


async def _look(there: Session) -> None:
    await there.sftp.realpath(".")
    there.progress()


def _fields(template: str) -> set[str]:
    return {f"{{{name}}}" for name in report_path.FIELDS if f"{{{name}}}" in template}


def build(settings: Settings, context: OutboundContext) -> SftpPush:
    """Make the channel; opens nothing."""
    return SftpPush(settings, context)


CHANNEL = OutboundType("sftp_push", "result", Settings, build)
