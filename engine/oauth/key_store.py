"""Where the signing keys are kept: made once in the data folder (0600), or named by the table.

Enter: the data folder, `oauth:`. Leaves: the `KeyRing` of this moment. Files are looked at whenever a key is
needed and read again when they have changed, so a rotation counts at once on every engine that sees them;
one that cannot be read leaves the keys as they were, and the log says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from engine.errors import ConfigurationError
from engine.oauth.signing_key import KeyRing, SigningKey, new_pem, read_pem
from engine.oauth_section import OAuthSettings
from wg.key import give_to_owner_of, make_private_folder, write_secret

logger = logging.getLogger("pons.oauth")

FILE = "oauth.keys"
CLOCKS = 60.0  # seconds that a key before outlives the last token that it signed


class KeyStore(Protocol):
    """The keys of an engine."""

    def ring(self) -> KeyRing:
        """Those of this moment. Raises ConfigurationError when there never were any."""
        ...


class Watched(KeyStore):
    """Keys in files, read again when one of them has changed."""

    def __init__(self, files: tuple[Path, ...], load: Callable[[], KeyRing]) -> None:
        self._files = files
        self._load = load
        self._seen: object = None
        self._ring: KeyRing | None = None

    def ring(self) -> KeyRing:
        """As the files are now; as they were, where they cannot be read."""
        seen = [_stamp(file) for file in self._files]
        if self._ring is None:
            self._seen, self._ring = seen, self._load()
        elif seen != self._seen:
            self._seen = seen
            try:
                self._ring = self._load()
            except ConfigurationError as error:
                logger.error("signing keys stay as they were", extra={"pons": {"reason": str(error)}})
        return self._ring


def key_store(settings: OAuthSettings, data: Path, now: float) -> KeyStore:
    """The keys that a table means; those of the data folder are made where there are none."""
    if settings.signing_key is not None:
        return Watched(settings.key_files, lambda: named_by_table(settings))
    file = data / FILE
    if not file.exists():
        make_keys(data, now)
    return Watched((file, *settings.key_files), lambda: KeyRing((*_kept(file), *_verifying(settings))))


def named_by_table(settings: OAuthSettings) -> KeyRing:
    """The keys that a table names; ConfigurationError says which cannot be used."""
    assert settings.signing_key is not None
    try:
        pem = settings.signing_key.reveal()
    except (LookupError, ValueError) as error:
        raise ConfigurationError(f"oauth.signing_key: {error}") from None
    return KeyRing((read_pem(pem, "oauth.signing_key", signs=True), *_verifying(settings)))


def _verifying(settings: OAuthSettings) -> list[SigningKey]:
    found = []
    for index, secret in enumerate(settings.verifying_keys):
        where = f"oauth.verifying_keys[{index}]"
        try:
            pem = secret.reveal()
        except (LookupError, ValueError) as error:
            raise ConfigurationError(f"{where}: {error}") from None
        found.append(read_pem(pem, where, signs=False))
    return found


# ── in the data folder ──────────────────────────────────────────────────────────────────────────


def make_keys(data: Path, now: float) -> None:
    """The first key of a data folder; harmless where another engine has made it."""
    with _alone(data):
        if not (data / FILE).exists():
            _keep(data, [{"pem": new_pem(), "since": now, "until": None}])


def rotate(data: Path, now: float, token_life: float) -> tuple[str, float]:
    """A new key signs from now on; those before verify until their last token has ended.

    Returns the new key's id and that moment.
    """
    until = now + token_life + CLOCKS
    with _alone(data):
        before = _entries(data / FILE) if (data / FILE).exists() else []
        kept = [one for one in before if one["until"] is None or one["until"] > now]
        for one in kept:
            one["until"] = until if one["until"] is None else one["until"]
        pem = new_pem()
        _keep(data, [{"pem": pem, "since": now, "until": None}, *kept])
    return read_pem(pem, FILE, signs=True).key_id, until


def _keep(data: Path, entries: list[dict[str, Any]]) -> None:
    write_secret(data / FILE, json.dumps({"keys": entries}, indent=1))


def _kept(file: Path) -> list[SigningKey]:
    return [
        read_pem(one["pem"], str(file), signs=True, since=one["since"], until=one["until"])
        for one in _entries(file)
    ]


def _entries(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text())["keys"]
        entries = [{"pem": one["pem"], "since": one["since"], "until": one["until"]} for one in found]
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {(error.strerror or 'unknown').lower()}") from None
    except (ValueError, KeyError, TypeError):
        entries = []
    if not entries:
        raise ConfigurationError(f"{file}: holds no keys; remove it and every access token ends")
    return entries


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Nobody else makes or rotates keys here."""
    make_private_folder(data)
    descriptor = os.open(data / f"{FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_to_owner_of(data, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
