"""What headers say of a body: digests that are compared, and what cannot be read."""

from __future__ import annotations

import base64
import hashlib

import pytest

from channels.inbound.uploads.announced import Announced, announced
from channels.inbound.uploads.refusal import Reason, UploadRefused

BODY = b"what was sent"


def encoded(name: str, content: bytes = BODY) -> str:
    return base64.b64encode(hashlib.new(name, content).digest()).decode()


SHA256, SHA512, MD5 = encoded("sha256"), encoded("sha512"), encoded("md5")


def fed(said: Announced, content: bytes = BODY) -> None:
    hashes = said.hashes()
    for one in hashes.values():
        one.update(content)
    said.check(len(content), hashes)


@pytest.mark.parametrize(
    ("content_digest", "content_md5"),
    [
        ([], []),
        ([f"sha-256=:{SHA256}:"], []),
        ([f"sha-512=:{SHA512}:"], []),
        ([f"sha-256=:{SHA256}:, sha-512=:{SHA512}:"], []),  # RFC 9530 2: several in one field
        ([f"sha-256=:{SHA256}:", f"sha-512=:{SHA512}:"], [MD5]),  # and in several
        ([f"sha-256=:{SHA256}:", f"sha-256=:{SHA256}:"], []),  # the same twice says nothing else
        (["unixsum=:AAA=:"], []),  # an algorithm that is not known is passed over
        ([], [MD5]),  # RFC 1864
    ],
)
def test_what_arrived_is_what_was_announced(content_digest: list[str], content_md5: list[str]) -> None:
    said = announced(str(len(BODY)), content_digest, content_md5)
    fed(said)
    if said.digests:
        with pytest.raises(UploadRefused) as refused:
            fed(said, BODY[:-1] + b"T")
        assert refused.value.reason is Reason.DIGEST
    with pytest.raises(UploadRefused):
        fed(said, BODY + b"!")


@pytest.mark.parametrize(
    ("length", "content_digest", "content_md5"),
    [
        ("-1", [], []),
        ("١٢", [], []),  # digits, and none of ours
        ("9" * 19, [], []),
        (None, ["sha-256"], []),
        (None, [f"sha-256={SHA256}"], []),  # no byte sequence (RFC 8941 3.3.5)
        (None, ["sha-256=:AAAA:"], []),  # too short
        (None, [f"sha-256=:{SHA512}:"], []),
        (None, ["sha-256=:" + "A" * 43 + "!:"], []),
        (None, [f"sha-256=:{SHA256}:", f"sha-256=:{encoded('sha256', b'other')}:"], []),
        (None, [], ["AAAA"]),
        (None, [], [MD5, MD5]),
    ],
)
def test_what_cannot_be_read_is_refused(
    length: str | None, content_digest: list[str], content_md5: list[str]
) -> None:
    with pytest.raises(UploadRefused) as refused:
        announced(length, content_digest, content_md5)
    assert refused.value.reason is Reason.MALFORMED
