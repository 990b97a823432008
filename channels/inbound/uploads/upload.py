"""An upload as it stands: the facts of it, and what of it there is on disk and is told to people."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["single", "multipart"]


class UploadState(StrEnum):
    """Where an upload stands."""

    OPEN = "open"  # bytes are still to come
    TAKING = "taking"  # complete; it is looked at and taken in
    TAKEN = "taken"  # every instance is durable and recorded
    FAILED = "failed"  # it cannot be taken; nothing of it is kept
    ABORTED = "aborted"  # given up by who began it
    EXPIRED = "expired"  # given up, for nothing of it came any more


class Failure(BaseModel):
    """Why an upload was not taken in; names no patient."""

    model_config = ConfigDict(frozen=True)

    reason: str = Field(description="a reason of docs/uploads.md, `digest`, `order`, `rejected` or `defect`")
    detail: str = Field(description="where, what, and what to do")


class Part(BaseModel):
    """A part that is here, durable."""

    model_config = ConfigDict(frozen=True)

    number: int
    size: int
    sha256: str


class Upload(BaseModel):
    """What is known of an upload; the file `upload.json` of its folder."""

    model_config = ConfigDict(frozen=True)

    upload_id: str
    order_id: str
    site: str
    kind: Kind
    state: UploadState = UploadState.OPEN
    size: int | None = Field(None, description="bytes that it must have, where that was announced")
    sha256: str | None = Field(None, description="of all of it, where that was announced")
    max_size: int = Field(description="bytes that it may have")
    created_at: datetime
    changed_at: datetime
    study_instance_uid: str = ""
    instances: int = 0
    known: int = Field(0, description="of the instances, those that were here before")
    skipped: int = Field(0, description="files of operating systems and disc writers")
    failure: Failure | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in (UploadState.OPEN, UploadState.TAKING)

    def changed(self, now: float, **facts: object) -> Upload:
        """The same with other facts, from this time on."""
        return self.model_copy(update={**facts, "changed_at": moment(now)})


def moment(now: float) -> datetime:
    """Seconds since 1970 as a time of UTC."""
    return datetime.fromtimestamp(now, UTC)
