"""How a destination reached by HTTP is shown who we are: nothing, a bearer token, a password.

Enter: the `auth` field of a destination. Leave: the Authorization header of one request (RFC 6750
2.1, RFC 7617 2). Secrets are read anew for every request, so that a rotated file is used at once.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from channels.transport.http import reveal
from engine.channel import Secret, Settings
from engine.errors import TryAgain


class NoAuthentication(Settings):
    """Requests carry no credentials."""

    type: Literal["none"] = "none"
    """Nothing is shown."""


class Bearer(Settings):
    """Requests carry a bearer token (RFC 6750)."""

    type: Literal["bearer"] = "bearer"
    """A token is shown."""
    token: Secret = Field(examples=[{"env": "STM_FHIR_TOKEN"}])
    """The token."""


class Basic(Settings):
    """Requests carry a user name and a password (RFC 7617)."""

    type: Literal["basic"] = "basic"
    """Name and password are shown."""
    username: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f]+$", examples=["pons"])
    """The user name."""
    password: Secret = Field(examples=[{"env": "STM_FHIR_PASSWORD"}])
    """The password."""


def _expand(value: Any) -> Any:
    """`none` for `{type: none}`."""
    return {"type": value} if isinstance(value, str) else value


BY_NAME = BeforeValidator(_expand)
"""Lets a kind without fields be written as its name alone."""

Authentication = Annotated[Annotated[NoAuthentication | Bearer | Basic, Field(discriminator="type")], BY_NAME]


def authorization(authentication: Authentication) -> dict[str, str]:
    """The headers for one request; TryAgain when a secret cannot be read or be a header."""
    if isinstance(authentication, Bearer):
        token = reveal(authentication.token)
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise TryAgain("the bearer token is empty or has characters that no header takes", code="secret")
        return {"Authorization": f"Bearer {token}"}
    if isinstance(authentication, Basic):
        pair = f"{authentication.username}:{reveal(authentication.password)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
