"""What `oauth:` means on this machine: keys that can sign, and an address at which a token is not overheard.

Enters: a reading. Leave: findings about its `oauth:` section, and about ways in that take tokens.
"""

from __future__ import annotations

from engine.checks.surroundings import missing_in, readable_secrets
from engine.directory import parse_address
from engine.errors import ConfigurationError
from engine.finding import Location
from engine.oauth.signing_key import read_pem
from engine.oauth_section import issuer_of, travels_in_clear
from engine.reading import Reading
from engine.settings import Secret


def check_oauth(reading: Reading) -> None:
    """Secrets and tokens do not travel in clear where somebody means to use them."""
    issuer = issuer_of(reading.oauth, reading.engine.public_url, reading.engine.http)
    unread = any(one.severity == "error" and one.path.startswith("oauth") for one in reading.findings)
    if unread or not travels_in_clear(issuer) or _in_a_tunnel(reading):
        return
    message = (
        f"clients would send their secrets to {issuer} in clear; put TLS in front, and name it in issuer"
    )
    if reading.document.data.get("oauth") is not None:
        reading.warn(("oauth",), message, "tokens-in-the-clear")
    for name, declared in reading.inbound.items():
        if getattr(declared.settings, "auth", "address") in ("token", "either"):
            reading.warn(("inbound", name, "auth"), message, "tokens-in-the-clear")


def check_oauth_keys(reading: Reading) -> None:
    """The keys that the table names are there, private, and of the kind that signs."""
    settings = reading.oauth
    named: list[tuple[Location, Secret | None, bool]] = [
        (("oauth", "signing_key"), settings.signing_key, True)
    ]
    named += [
        (("oauth", "verifying_keys", index), one, False) for index, one in enumerate(settings.verifying_keys)
    ]
    for location, secret, signs in named:
        if secret is None:
            continue
        missing = list(missing_in(secret))
        for inner, message, code in missing:
            reading.complain((*location, *inner), message, code)
        if missing:
            continue
        try:
            read_pem(secret.reveal(), "", signs=signs)
        except ConfigurationError as error:
            reading.complain(location, str(error).removeprefix(": "), "bad-signing-key")
        for inner in readable_secrets(secret) if signs else ():
            message = "can be read by every user of this machine; chmod 600 and give it to the engine's user"
            reading.warn((*location, *inner), message, "secret-readable")


def _in_a_tunnel(reading: Reading) -> bool:
    """Whether the server listens on the hub's address inside the tunnels, which are enciphered."""
    if reading.tunnel is None or reading.oauth.issuer or reading.engine.public_url:
        return False
    address = parse_address(reading.engine.http.rpartition(":")[0].strip("[]"))
    block = reading.tunnel.block
    return address is not None and (address in block.ipv4 or address in block.ipv6)
