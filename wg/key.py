"""Keys: made, read, kept (WireGuard whitepaper 5.4; Curve25519, RFC 7748).

Enter: nothing, or text from outside. Leave: keys as WireGuard writes them (44 characters of base64),
private ones only as files of mode 0600. A private or preshared key is never part of an argument list,
a log line or an error.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from wireguard_tools import WireguardKey

KEY_BYTES = 32


def make_private_key() -> str:
    """A new private key."""
    return str(WireguardKey.generate())


def make_preshared_key() -> str:
    """A new preshared key: 256 bits that both ends mix in, against a day when Curve25519 falls."""
    return base64.standard_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def public_key(private_key: str) -> str:
    """The public key of a private one."""
    return str(WireguardKey(private_key).public_key())


def checked_key(text: str) -> str:
    """A key as others sent it, in the one form that WireGuard takes.

    Raises:
        ValueError: it is none; the message does not repeat it, for somebody may have sent a private one.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != KEY_BYTES or not any(raw):
        raise ValueError("a WireGuard key is 32 bytes in base64, 44 characters that end in =")
    return base64.standard_b64encode(raw).decode()


def write_secret(path: Path, text: str, *, durable: bool = True) -> None:
    """A secret in a file that nobody else can read, whole or not at all, durable unless told otherwise."""
    make_private_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            give_to_owner_of(path.parent, descriptor)
            file.write(text + "\n")
            file.flush()
            if durable:
                os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_private_folder(folder: Path) -> None:
    """A folder of mode 0700 that belongs to whom the folder above belongs; left as it is where it stands."""
    if folder.exists():
        return
    make_private_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    give_to_owner_of(folder.parent, folder)


def give_to_owner_of(folder: Path, made: int | Path) -> None:
    """Hand what root has made over to the owner of the folder: an operator's `sudo` must not shut the
    services out of their own files. Does nothing for anybody but root."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def read_secret(path: Path) -> str:
    """A secret key from its file.

    Raises:
        PermissionError: somebody else may read it.
        ValueError: it holds no key.
    """
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} may be read by others: chmod 600 it")
    return checked_key(path.read_text())
