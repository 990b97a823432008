"""What a client says of the bytes that it sends: headers in, digests to be compared with out.

`Content-Digest` and `Repr-Digest` are those of RFC 9530 (sha-256, sha-512; other algorithms are passed over,
as 9530 2 has it), `Content-MD5` is that of RFC 1864, which tools for object stores send. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from channels.inbound.uploads.refusal import Reason, UploadRefused

_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):\s*")  # RFC 8941 3.2, byte sequences
_SIZES = {"sha256": 32, "sha512": 64, "md5": 16}
_NAMES = {"sha-256": "sha256", "sha-512": "sha512"}


@dataclass(frozen=True, slots=True)
class Announced:
    """What the bytes must come to."""

    length: int | None = None
    digests: Mapping[str, bytes] = field(default_factory=dict)  # of hashlib's names

    def hashes(self) -> dict[str, Any]:
        """One hash for each digest, and always SHA-256; to be fed with every byte."""
        return {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", *self.digests}}

    def check(self, size: int, hashes: Mapping[str, Any]) -> None:
        """Refuse what is something else."""
        if self.length is not None and size != self.length:
            raise UploadRefused(
                Reason.DIGEST, f"{size} bytes arrived, {self.length} were announced; send them again"
            )
        for name, expected in self.digests.items():
            if not hmac.compare_digest(hashes[name].digest(), expected):
                raise UploadRefused(
                    Reason.DIGEST, f"the {name} of what arrived is another than announced; send it again"
                )


def announced(
    length: str | None, content_digest: Sequence[str] = (), content_md5: Sequence[str] = ()
) -> Announced:
    """The announcement that headers make.

    Raises:
        UploadRefused: they cannot be read, or contradict each other.
    """
    digests: dict[str, bytes] = {}
    for line in content_digest:
        for member in line.split(","):
            found = _MEMBER.fullmatch(member)
            if found is None:
                raise _malformed("Content-Digest", "sha-256=:base64:, as RFC 9530 has it")
            name = _NAMES.get(found[1])
            if name is not None:
                _take(digests, name, _decoded(found[2], name, "Content-Digest"))
    if len(content_md5) > 1:
        raise _malformed("Content-MD5", "given once")
    for line in content_md5:
        _take(digests, "md5", _decoded(line.strip(), "md5", "Content-MD5"))
    if length is not None and not re.fullmatch(r"[0-9]{1,18}", length, re.ASCII):
        raise _malformed("Content-Length", "a number of bytes")
    return Announced(None if length is None else int(length), digests)


def _take(digests: dict[str, bytes], name: str, value: bytes) -> None:
    if digests.setdefault(name, value) != value:
        raise _malformed("Content-Digest", "one digest of each algorithm")


def _decoded(text: str, name: str, header: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != _SIZES[name]:
        raise _malformed(header, f"{_SIZES[name]} bytes in base64")
    return value


def _malformed(header: str, expected: str) -> UploadRefused:
    return UploadRefused(Reason.MALFORMED, f"{header} cannot be read: it must be {expected}")
