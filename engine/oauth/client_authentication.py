"""Who asks: client authentication at the token and the revocation endpoint (RFC 6749 2.3). Pure.

Enter: the `Authorization` header and the form. Leaves: what was shown, in one of the three ways that we
offer; then, beside the stored client, whether it fits. Whoever shows two things at once is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_plus

from engine.oauth.assertion import Used, subject_of, verified
from engine.oauth.client import NOBODY, Client, secret_fits
from engine.oauth.denial import Denied, not_the_client

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of its client."""

    client_id: str
    method: Literal["client_secret_basic", "client_secret_post", "private_key_jwt"]
    proof: str  # the secret or the assertion: never to be logged

    def __repr__(self) -> str:
        return f"Shown({self.client_id!r}, {self.method!r})"


def shown_by(authorization: str | None, form: Mapping[str, str]) -> Shown:
    """What a request shows; Denied when it shows nothing, or more than one thing."""
    in_header, in_form, signed = (
        authorization is not None,
        "client_secret" in form,
        "client_assertion" in form,
    )
    if in_header + in_form + signed > 1:
        raise Denied("invalid_request", "authenticate in one way only")
    if in_header:
        found = _basic(authorization or "")
    elif signed:
        found = _signed(form)
    elif in_form:
        found = Shown(form.get("client_id", ""), "client_secret_post", form["client_secret"])
    else:
        raise not_the_client("no client authentication")
    if not 0 < len(found.client_id) <= LONGEST_ID:
        raise not_the_client("no client_id")
    if form.get("client_id", found.client_id) != found.client_id:
        raise Denied("invalid_request", "client_id is not that of the authentication")
    return found


def authenticated(
    client: Client | None, shown: Shown, audiences: Collection[str], now: float
) -> tuple[Client, Used | None]:
    """The client, where it is known and what was shown is its own; Denied in the same words where not.

    Returns it with the assertion that must be used up, where it showed one.
    """
    if client is None or client.revoked_at is not None:
        secret_fits(NOBODY, shown.proof, now)  # takes as long as with a client that there is
        raise not_the_client("no such client" if client is None else "the client was revoked")
    if shown.method == "private_key_jwt":
        if client.method != "private_key_jwt":
            raise not_the_client("the client has no keys")
        return client, verified(shown.proof, client.client_id, client.keys, audiences, now)
    if not secret_fits(client, shown.proof, now):
        raise not_the_client("not the client's secret")
    return client, None


def _basic(authorization: str) -> Shown:
    """RFC 6749 2.3.1: both parts are form-encoded before they are joined."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise not_the_client("another scheme than Basic")
    try:
        both = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise not_the_client("the Basic credentials cannot be read") from None
    client_id, colon, secret = both.partition(":")
    if not colon:
        raise not_the_client("the Basic credentials cannot be read")
    return Shown(unquote_plus(client_id), "client_secret_basic", unquote_plus(secret))


def _signed(form: Mapping[str, str]) -> Shown:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise Denied("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
    assertion = form["client_assertion"]
    return Shown(subject_of(assertion), "private_key_jwt", assertion)
