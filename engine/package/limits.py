"""How much one uploaded package may be; what comes past a limit is refused before it is read."""

from __future__ import annotations

from pydantic import Field

from engine.settings import Settings, Size


class PackageLimits(Settings):
    """Limits of one uploaded package."""

    max_entries: int = Field(50_000, ge=1, le=64_999)
    """Most files and folders in it; a NIfTI image counts one for each slice of each volume."""
    max_unpacked: Size = 64 << 30
    """Most bytes that it unpacks to."""
    max_ratio: int = Field(200, ge=2, le=10_000)
    """Most times that it may unpack to its own size, past the first 256 MB: images come to 2 to 10."""
    max_sidecar: Size = 64 << 10
    """Most bytes of its JSON sidecar."""


LEEWAY = 256 << 20
"""Bytes that any package may unpack to: an empty mask packs a thousandfold and harms nobody."""


def is_bomb(packed: int, unpacked: int, limits: PackageLimits) -> bool:
    """Whether it becomes so much more than it is that somebody made it to do harm."""
    return unpacked > LEEWAY + packed * limits.max_ratio
