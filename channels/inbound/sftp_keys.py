"""Keys of the SFTP channel: the host key made once and kept, and the public keys of users (RFC 4253 6.6).

Enter: the channel's folder and the texts of keys. Leaves: what asyncssh is served with. A host key that
changed would have every hospital's client refuse us, so the first one made stays: it is written beside its
name, synced and linked, and of two engines that start at once the first wins.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import asyncssh

from engine.channel import Secret
from engine.errors import ConfigurationError

HOST_KEY = "host_key"
# What current OpenSSH has without options; neither DSA, nor SHA-1, nor short RSA.
KEY_TYPES = (
    *("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", "ssh-rsa"),
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
)
SIGNATURES = (*(kind for kind in KEY_TYPES if kind != "ssh-rsa"), "rsa-sha2-256", "rsa-sha2-512")
SHORTEST_RSA = 2048  # bits


def public_keys(lines: Iterable[str], where: str) -> frozenset[bytes]:
    """Public keys as they come over the wire, of lines as `ssh-keygen` writes them.

    Raises ConfigurationError with the place of a line that is none; it does not repeat the line, for
    somebody may have pasted a private key.
    """
    found = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            if "PRIVATE KEY" in line:
                raise ValueError("a private key does not belong here: remove it, and make a new pair")
            key = asyncssh.import_public_key(line.strip())
            found.add(_accepted(key))
        except (asyncssh.KeyImportError, ValueError) as error:
            why = str(error) if type(error) is ValueError else "not a public key"
            remedy = (
                "" if type(error) is ValueError else "; give the line that ssh-keygen wrote to the .pub file"
            )
            raise ConfigurationError(f"{where}, key {number}: {why}{remedy}") from None
    return frozenset(found)


def _accepted(key: asyncssh.SSHKey) -> bytes:
    kind = key.get_algorithm()
    if kind not in KEY_TYPES:
        raise ValueError(f"a key of type {kind[:40]} is not taken; make one with ssh-keygen -t ed25519")
    size = getattr(getattr(key, "pyca_key", None), "key_size", SHORTEST_RSA)
    if kind == "ssh-rsa" and size < SHORTEST_RSA:
        raise ValueError(f"an RSA key of {size} bits is not taken; make one with ssh-keygen -t ed25519")
    return key.public_data


def host_key(secret: Secret | None, folder: Path) -> asyncssh.SSHKey:
    """The key that the table names, or the one of the folder, made where there is none.

    Raises ConfigurationError where it cannot be read.
    """
    try:
        text = secret.reveal() + "\n" if secret is not None else _kept(folder)
        return asyncssh.import_private_key(text)
    except (LookupError, ValueError) as error:  # asyncssh's errors of import are ValueErrors
        why = str(error) if isinstance(error, LookupError) else "is no OpenSSH private key without passphrase"
        raise ConfigurationError(f"host_key: {why}") from None


def _kept(folder: Path) -> str:
    file = folder / HOST_KEY
    try:
        if not file.exists():
            _make(file)
        return file.read_text()
    except OSError as error:
        raise LookupError(f"{file} cannot be read or made: {error.strerror}") from None


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
            written.flush()
            os.fsync(written.fileno())
        with contextlib.suppress(FileExistsError):  # another engine was first: its key is ours too
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
