"""An SFTP session with a server that is who it should be: address and keys in, a client out (RFC 4251-4254).

Enter: a server's address, the host keys that are its own, our key. Leaves: an asyncssh SFTP client, for as
long as answers come in time. Nothing is sent to a server whose host key is not pinned. Whatever goes wrong
inside the session becomes TryAgain or Refused here; what the server says in words is not told on, for it
may hold a file's name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncssh
from asyncssh.known_hosts import SSHKnownHosts

from channels.transport.ssh_algorithms import ALGORITHMS
from engine.channel import Secret
from engine.errors import PonsError, Refused, TryAgain


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to call."""

    host: str
    port: int
    user: str
    key: Secret | None
    password: Secret | None
    host_keys: tuple[str, ...]
    known_hosts: Secret | None
    timeout: float = 30.0  # seconds that each answer may take

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Session:
    """A client, and what to call when an answer has come: the time for the next one starts anew."""

    sftp: asyncssh.SFTPClient
    progress: Callable[[], None]


@asynccontextmanager
async def session(server: Server) -> AsyncIterator[Session]:
    """Enter: connected, and the server is who it should be. Left: the connection is closed.

    Raises:
        TryAgain: no connection, no answer in time, hung up, our key not accepted, full, a secret is away.
        Refused: another host key than the pinned ones (and the way is paused), or a file's refusal.
    """
    asyncssh.set_log_level(logging.WARNING)  # below that it tells of users, and of names of files
    caller = _Caller()
    connection: asyncssh.SSHClientConnection | None = None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(server.timeout) as patience:
            connection = await asyncssh.connect(**_arguments(server, caller))
            sftp = await connection.start_sftp_client()
            yield Session(sftp, lambda: patience.reschedule(loop.time() + server.timeout))
            sftp.exit()
            connection.close()
            await connection.wait_closed()
    except TimeoutError as error:
        words = "answer" if connection else "connect"
        raise TryAgain(
            f"{server} did not {words} within {server.timeout:g} s",
            code="timeout",
            uncertain=connection is not None,
        ) from error
    except OSError as error:
        if connection is not None:
            raise TryAgain(f"{server} closed the connection", code="closed", uncertain=True) from error
        why = (error.strerror or type(error).__name__).lower()
        raise TryAgain(f"{server} cannot be reached: {why}", code="connection") from error
    except asyncssh.Error as error:
        raise _meaning(server, error, caller) from error
    finally:
        if connection is not None:
            connection.abort()


class _Caller(asyncssh.SSHClient):
    """Remembers which host key was shown that is none of the pinned ones."""

    shown = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Asked about a key that is not pinned: never trusted."""
        self.shown = key.get_fingerprint()
        return False


def _arguments(server: Server, caller: _Caller) -> dict[str, Any]:
    key = _revealed(server.key)
    return {
        "host": server.host,
        "port": server.port,
        "username": server.user,
        "client_keys": [_private(key)] if key else None,
        "password": _revealed(server.password) or None,
        "known_hosts": trust(server.host_keys, _revealed(server.known_hosts)),
        "client_factory": lambda: caller,
        "client_version": "Pons",
        "config": None,  # nothing of this account's own ~/.ssh counts
        "agent_path": None,
        "gss_auth": False,
        "gss_kex": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "connect_timeout": server.timeout,
        "login_timeout": server.timeout,
        **ALGORITHMS,
    }


def trust(host_keys: Sequence[str], known_hosts: str) -> SSHKnownHosts:
    """The keys that the server may have; TryAgain where a file holds none, for that is mended here."""
    pinned = (f"* {line.strip()}" for line in host_keys)  # whatever the server is called
    try:
        return asyncssh.import_known_hosts("\n".join((known_hosts, *pinned)) + "\n")
    except ValueError:
        raise TryAgain("known_hosts cannot be read: write it with ssh-keyscan", code="secret") from None


def _revealed(secret: Secret | None) -> str:
    try:
        return secret.reveal() if secret is not None else ""
    except (LookupError, ValueError) as error:
        raise TryAgain(str(error), code="secret") from None


def _private(text: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(text + "\n")
    except ValueError:  # asyncssh's errors of import are ValueErrors
        raise TryAgain("the key is no OpenSSH private key without passphrase", code="secret") from None


_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_FORBIDDEN = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)
_GONE = (asyncssh.ConnectionLost, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)


def _meaning(server: Server, error: asyncssh.Error, caller: _Caller) -> PonsError:
    """What an error of asyncssh is to a delivery, in words that are ours."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            shown = f" ({caller.shown})" if caller.shown else ""
            return Refused(
                f"{server} has another host key{shown} than the pinned ones, so nothing was sent; ask the "
                "hospital, put its new key into the table if it has one, and resume the destination",
                code="host_key",
                pause=True,
            )
        case asyncssh.PermissionDenied():
            words = "does not accept our user and key: ask the hospital to enter our public key"
            return TryAgain(f"{server} {words}", code="authentication")
        case asyncssh.KeyExchangeFailed():
            return TryAgain(f"{server} has no algorithm that is taken: it is too old", code="algorithms")
        case _ if isinstance(error, _FULL):
            return TryAgain(f"{server} is full, or its quota is used up", code="no_space")
        case _ if isinstance(error, _FORBIDDEN):
            return Refused(
                f"{server} denies permission to write there: ask the hospital to let our user write, then "
                "resume the destination and replay",
                code="permission_denied",
                pause=True,
            )
        case _ if isinstance(error, _GONE):
            return TryAgain(f"{server} closed the connection", code="closed", uncertain=True)
        case asyncssh.SFTPFailure():  # all that version 3 has for a full disk, a quota, a file limit
            return TryAgain(f"{server} cannot write: its disk or our quota may be full", code="failure")
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return TryAgain(f"{server} lost a file or folder of ours in the middle", code="no_such_file")
        case asyncssh.SFTPError():
            return TryAgain(f"{server} answered with SFTP error {error.code}", code=f"sftp {error.code}")
    return TryAgain(f"{server} ended the SSH connection: {type(error).__name__}", code="ssh")
