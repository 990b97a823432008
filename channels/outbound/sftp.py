"""Reports for users of our own SFTP server: a result in, a file for each format below `/output` of its site.

A file is there whole or not at all, and durable before the delivery counts as delivered. The way in (`sftp`
under `inbound:`) shows it, keeps it for its `keep_output`, and nobody but the site's users sees it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from channels.content import report_files, report_path
from channels.transport.sftp_layout import FILES, GROUPS, OUTPUT, publish, site_folder
from engine.channel import OutboundContext, OutboundSettings, OutboundType
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, Delivery, History, Part, Payload, Result, Study

PathTemplate = Annotated[str, AfterValidator(report_path.checked_relative)]


class Settings(OutboundSettings):
    """The `/output` folder of the site's users of our own SFTP server."""

    through: str = Field(min_length=1, max_length=64, examples=["drop"])
    """Key of the `sftp` way in whose users fetch the reports."""
    path: PathTemplate = report_path.DEFAULT
    """Where a report is filed below `/output`, with fields in braces."""
    formats: tuple[str, ...] = Field(("pdf", "json"), min_length=1, examples=[["pdf", "json"]])
    """File formats of the result, one file each."""

    @model_validator(mode="after")
    def _distinct(self) -> Settings:
        if len(set(self.formats)) > 1 and "{ext}" not in self.path:
            raise ValueError("path: several formats would share a file; put {ext} into it")
        if self.path.split("/")[0] == GROUPS:
            raise ValueError(f"path: {GROUPS}/ is where the reports of groups are; choose another folder")
        return self


class SftpOutput:
    """Renders by `channels.content.report_files`, files by `channels.transport.sftp_layout`."""

    def __init__(self, settings: Settings, context: OutboundContext) -> None:
        self._settings = settings
        self._site = context.site.key
        self._data = context.data
        self._exports = tuple(context.exports(settings.formats))

    def render(self, subject: Result | Study, history: History) -> Payload:
        """A file for each format, its identifier derived from this delivery."""
        assert isinstance(subject, Result)  # the type carries results
        return report_files.render(subject, history, self._exports, self._settings.path)

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Returns when every file is durable under its name."""
        if not payload.parts:
            raise Refused("there is no file to put out", code="empty")
        await self.probe()
        try:
            for part in payload.parts:
                await asyncio.to_thread(self._file, part)
        except OSError as error:  # a full disk, as a rule
            raise TryAgain(f"cannot file the report: {error.strerror}", code="disk") from None
        return Acknowledgement("0", f"{len(payload.parts)} files put out")

    async def probe(self) -> None:
        """The way in has a folder for this site: there is nobody else to ask."""
        if not await asyncio.to_thread(self._is_there):
            raise TryAgain(
                f"there is no SFTP way in {self._settings.through!r} with a user of {self._site}: "
                "see `through` and the `users` of that way in",
                code="no_users",
            )

    def _is_there(self) -> bool:
        return self._data is not None and (self._folder / FILES / OUTPUT).is_dir()

    def _file(self, part: Part) -> None:
        publish(self._folder, f"{OUTPUT}/{part.facts['path']}", part.read())

    @property
    def _folder(self) -> Path:
        assert self._data is not None
        return site_folder(self._data, self._settings.through, self._site)


def build(settings: Settings, context: OutboundContext) -> SftpOutput:
    """Make the channel; opens nothing."""
    return SftpOutput(settings, context)


CHANNEL = OutboundType("sftp", "result", Settings, build)
