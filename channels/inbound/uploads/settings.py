"""How uploads are taken in: what a site may have under way, how long it waits, what one may be."""

from __future__ import annotations

from pydantic import Field

from engine.channel import Duration, PackageLimits, Settings, Size


class UploadSettings(Settings):
    """Uploads, whole or in parts."""

    package: PackageLimits = PackageLimits()
    """Limits of what is in one upload."""
    max_size: Size = 64 << 30
    """Most bytes of one upload."""
    max_part: Size = 1 << 30
    """Most bytes of one part."""
    max_parts: int = Field(10_000, ge=1, le=10_000)
    """Most parts of one upload."""
    max_open: int = Field(100, ge=1, le=10_000)
    """Most uploads of one site that have begun and are not taken in yet."""
    max_waiting: Size = 256 << 30
    """Most bytes of one site that are not taken in yet."""
    max_bodies: int = Field(32, ge=1, le=1000)
    """Uploads and parts received at once; of one site, three quarters of them."""
    idle_timeout: Duration = 30.0
    """How long a body may stand still before it is given up; what came of a part is dropped."""
    min_rate: Size = 1024
    """Bytes per second that a client must keep up over each `idle_timeout` of waiting for it; 0: any."""
    link_life: Duration = 3600.0
    """How long the address of an upload that comes whole can be used."""
    expire_after: Duration = 86400.0
    """How long nothing of an upload may come until it is dropped."""
    keep: Duration = 86400.0
    """How long is told what became of an upload."""
