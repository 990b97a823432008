"""Whether an upload is what it was to be: its facts and its parts in, nothing or a refusal out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import Part, Upload, UploadState

_SHOWN = 10  # numbers


def refuse_incomplete(parts: Sequence[Part], listed: Mapping[int, str | None] | None) -> None:
    """Raise unless the parts are 1 to the last, and those that are listed.

    Args:
        listed: SHA-256 by number, None where none is given; None for whatever parts are here.
    """
    here = {one.number: one.sha256 for one in parts}
    wanted: Mapping[int, str | None] = here if listed is None else listed
    last = max(wanted, default=1)
    missing = [number for number in range(1, last + 1) if number not in here or number not in wanted]
    if missing:
        said = ", ".join(str(number) for number in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UploadRefused(
            Reason.PARTS, f"of the parts 1 to {last} these are missing: {said}{more}; send them"
        )
    over = sorted(here.keys() - wanted.keys())
    if over:
        raise UploadRefused(Reason.PARTS, f"part {over[0]} is here and not listed; list every part")
    for number, sha256 in wanted.items():
        if sha256 not in (None, here[number]):
            raise UploadRefused(Reason.PARTS, f"part {number} is another than listed; send it again")


def refuse_unless_open(upload: Upload) -> None:
    """Raise when no byte may come any more."""
    if upload.state is not UploadState.OPEN:
        said = {UploadState.TAKING: "is complete", UploadState.TAKEN: "was taken in"}
        why = said.get(upload.state, f"has {upload.state}")
        raise UploadRefused(Reason.STATE, f"this upload {why}; begin another")


def refuse_other_size(upload: Upload, size: int) -> None:
    """Raise when it was announced with other bytes than these."""
    if upload.size is not None and size != upload.size:
        raise UploadRefused(
            Reason.DIGEST, f"it has {size} bytes, {upload.size} were announced; send it again"
        )


def refuse_too_large(size: int, limit: int) -> None:
    """Raise when it is over a limit."""
    if size > limit:
        raise UploadRefused(Reason.TOO_LARGE, f"it has more than {limit} bytes; send it in parts, or less")
