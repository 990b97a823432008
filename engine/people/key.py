"""The key of what must be read again, secrets of authenticators, and of digests that nobody else can make.

Enter: the data folder, `people.key`. Leaves: a `Key`. One is made in the data folder (0600) where the table
names none; engines with folders of their own that share a database need one that all of them have. A key is
32 bytes in base64, one a line: the first enciphers, all decipher.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from engine.errors import ConfigurationError, PonsError
from engine.people_section import PeopleSettings
from wg.key import give_to_owner_of, make_private_folder, write_secret

FILE = "people.key"


class WrongKey(PonsError):
    """Something was enciphered with a key that is not among ours."""


class Key:
    """Enciphers, deciphers and makes digests."""

    def __init__(self, keys: Sequence[str]) -> None:
        """
        Args:
            keys: at least one; the first enciphers.
        """
        self._box = MultiFernet([Fernet(one) for one in keys])
        self._digests = hashlib.sha256(f"digests {keys[0]}".encode()).digest()

    def enciphered(self, secret: str) -> str:
        """A text that says nothing without the key."""
        return self._box.encrypt(secret.encode()).decode()

    def deciphered(self, text: str) -> str:
        """The secret again; WrongKey where it was enciphered with another key."""
        try:
            return self._box.decrypt(text.encode()).decode()
        except InvalidToken:
            raise WrongKey(
                "a second factor was enciphered with another key than people.key: bring that key back,"
                " or reset those people"
            ) from None

    def digest(self, purpose: str, text: str) -> bytes:
        """32 bytes that only this key makes of a text, for one purpose."""
        return hmac.digest(self._digests, f"{purpose}\n{text}".encode("utf-8", "replace"), "sha256")


def people_key(settings: PeopleSettings, data: Path) -> Key:
    """The key that a table means; that of the data folder is made where there is none.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    if settings.key is not None:
        try:
            return read_key(settings.key.reveal(), "people.key")
        except (LookupError, ValueError) as error:
            raise ConfigurationError(f"people.key: {error}") from None
    file = data / FILE
    if not file.exists():
        _make(data)
    try:
        return read_key(file.read_text(), str(file))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {(error.strerror or 'unknown').lower()}") from None


def read_key(text: str, where: str) -> Key:
    """The key in a text; ConfigurationError says how one is made where it is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        if not lines:
            raise ValueError
        return Key(lines)
    except ValueError:
        raise ConfigurationError(
            f"{where}: no key of 32 bytes in base64; make one by `openssl rand -base64 32 | tr +/ -_`"
        ) from None


def _make(data: Path) -> None:
    with _alone(data):
        if not (data / FILE).exists():
            write_secret(data / FILE, Fernet.generate_key().decode())


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Nobody else makes a key here."""
    make_private_folder(data)
    descriptor = os.open(data / f"{FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_to_owner_of(data, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
