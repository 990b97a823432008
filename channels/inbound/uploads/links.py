"""Signed addresses to which one upload may be sent, and nothing read from: HMAC-SHA256 (RFC 2104).

The signature is over the upload, the time until which it holds and the bytes that it lets in, by a key that
never leaves the folder of the channel's uploads; who has the address may send that upload until then, so it
is passed on over TLS only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import uuid
from pathlib import Path
from urllib.parse import urlencode

from channels.inbound.uploads.folder import sync_folder
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import Upload
from engine.errors import ConfigurationError

_BYTES = 32
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


def signing_key(root: Path) -> bytes:
    """The key of this folder, made at the first call and private (0600); blocks."""
    path = root / "link.key"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = root / f"link.key.{uuid.uuid4().hex}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # of several that make one at once, the first counts
            os.link(new, path)
        new.unlink()
        sync_folder(root)
    key = path.read_bytes()
    if len(key) != _BYTES:
        raise ConfigurationError(f"{path}: not a key of {_BYTES} bytes; remove it and every address ends")
    return key


def signed(key: bytes, upload: Upload, expires: int) -> str:
    """The query of an address that lets this upload in until a time, in seconds since 1970."""
    return urlencode(
        {"expires": expires, "signature": _signature(key, upload.upload_id, expires, upload.max_size)}
    )


def check(key: bytes, upload_id: str, max_size: int, expires: str, signature: str, now: float) -> None:
    """Refuse an address that is not ours, or not any more; says the same of both, and takes the same time."""
    until = int(expires) if _EXPIRES.fullmatch(expires) else 0
    expected = _signature(key, upload_id, until, max_size)
    genuine = hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode())
    if not genuine or now >= until:
        raise UploadRefused(
            Reason.LINK, "this address has expired or is not one of ours; ask for another for the order"
        )


def _signature(key: bytes, upload_id: str, expires: int, max_size: int) -> str:
    said = f"upload\n{upload_id}\n{expires}\n{max_size}"
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
