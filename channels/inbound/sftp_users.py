"""Users of the SFTP server: what the table says of them in, whether a key or certificate is theirs out.

A user shows a public key, or a certificate (OpenSSH's PROTOCOL.certkeys) that an authority of this user has
signed, that is valid now and names the user among its principals: one that names nobody is nobody's. What is
among the revoked keys, as key, as certified key or as authority, is refused, and a connection by it is cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import asyncssh
from asyncssh.public_key import CERT_TYPE_USER, SSHOpenSSHCertificate, decode_ssh_certificate
from pydantic import Field

from channels.inbound.sftp_keys import public_keys
from engine.channel import InboundContext, Secret, Settings
from engine.errors import ConfigurationError


class SftpUser(Settings):
    """A user of the SFTP server, and the site that it is of."""

    site: str = Field(examples=["st-marys"])
    """Key of the site whose root the user sees."""
    keys: tuple[str, ...] = Field((), examples=[["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGK... stm"]])
    """Public keys, each the line that `ssh-keygen` wrote to the `.pub` file."""
    authorized_keys: Secret | None = Field(None, examples=[{"file": "keys/stm.pub"}])
    """A file with more of them, one a line."""
    certificate_authorities: tuple[str, ...] = Field(
        (), examples=[["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5... ca"]]
    )
    """Public keys of authorities whose certificates let this user in, where they name it as a principal."""
    any_address: bool = False
    """Let the user in from an address that is no site's; only where the site has no tunnel."""


@dataclass(frozen=True, slots=True)
class User:
    """One user of the table."""

    site: str
    keys: frozenset[bytes]
    any_address: bool
    authorities: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Guest:
    """Who has come in, and by what: the key, and the authority of its certificate."""

    user: str
    site: str
    key: bytes
    authority: bytes = b""

    @property
    def shown(self) -> frozenset[bytes]:
        """The public keys that it depends on."""
        return frozenset((self.key, self.authority)) - {b""}

    def is_of(self, user: User | None) -> bool:
        """Whether a table with this user lets it stay."""
        if user is None or user.site != self.site:
            return False
        return self.authority in user.authorities if self.authority else self.key in user.keys


def by_certificate(name: str, user: User, data: bytes) -> Guest | None:
    """Who a certificate says that its holder is; None where it is not this user's."""
    try:
        certificate = decode_ssh_certificate(data)
        if not isinstance(certificate, SSHOpenSSHCertificate) or not certificate.principals:
            return None
        certificate.validate(CERT_TYPE_USER, name)  # its kind, its time, its principals
    except ValueError:  # asyncssh's errors of import are ValueErrors
        return None
    authority = certificate.signing_key.public_data
    if authority not in user.authorities:
        return None
    return Guest(name, user.site, certificate.key.public_data, authority)


def revoked_keys(secret: Secret | None) -> frozenset[bytes]:
    """The keys of the file as it is now; ConfigurationError where it cannot be read."""
    if secret is None:
        return frozenset()
    try:
        return public_keys(secret.reveal().splitlines(), "revoked_keys")
    except (LookupError, ValueError) as error:
        raise ConfigurationError(f"revoked_keys: {error}") from None


def user_of(name: str, user: SftpUser, context: InboundContext) -> User:
    """A user as the table has it; ConfigurationError says what cannot be."""
    where = f"users.{name}"
    try:
        site = context.sites.get(user.site)
    except KeyError:
        raise ConfigurationError(f"{where}.site: there is no site {user.site!r}; add it to sites") from None
    if user.any_address and site.tunnel:
        raise ConfigurationError(
            f"{where}.any_address: {user.site} has a tunnel, whose address is who it is; remove any_address"
        )
    keys = set(public_keys(user.keys, f"{where}.keys"))
    if user.authorized_keys is not None:
        try:
            text = user.authorized_keys.reveal()
        except (LookupError, ValueError) as error:
            raise ConfigurationError(f"{where}.authorized_keys: {error}") from None
        keys |= public_keys(text.splitlines(), f"{where}.authorized_keys")
    authorities = public_keys(user.certificate_authorities, f"{where}.certificate_authorities")
    if not keys and not authorities:
        raise ConfigurationError(
            f"{where}: has no key, so nobody could come in; give it keys, authorized_keys or "
            "certificate_authorities"
        )
    return User(user.site, frozenset(keys), user.any_address, authorities)


def cut(
    guests: Iterable[tuple[asyncssh.SSHServerConnection, Guest]], staying: Collection[Guest], why: str
) -> int:
    """End the connections of those who do not stay; returns how many there were."""
    leaving = [connection for connection, guest in guests if guest not in staying]
    for connection in leaving:
        connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, why)
    return len(leaving)
