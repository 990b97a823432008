"""The settings of the portal's block in the table; validating opens nothing."""

from __future__ import annotations

import ipaddress
import zoneinfo
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from channels.inbound.uploads.settings import UploadSettings
from engine.channel import Duration, Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be scheme, host and perhaps a port, such as https://pons.example")
    if not parts.netloc.isascii():
        raise ValueError("must be in ASCII: write an international name in its xn-- form")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _check_network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be an IP address or network, such as 127.0.0.1 or 10.0.0.0/24") from None


def _check_zone(value: str) -> str:
    if value not in zoneinfo.available_timezones():
        raise ValueError("must be a time zone of the IANA database, such as Europe/Dublin")
    return value


class PortalSettings(Settings):
    """`type: portal`"""

    path: str = Field("/", pattern=r"^/$|^(/[A-Za-z0-9._~-]+)+$")
    """Where the portal is mounted; what other channels serve below it stays theirs."""
    public_url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        None, examples=["https://pons.example"]
    )
    """How browsers reach it, without a path; `engine.public_url` when absent, else this machine only."""
    secure_cookie: bool = True
    """Whether a `public_url` must be https://; `false` only where something else encrypts, a tunnel."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_network)], ...] = Field(
        (), examples=[["127.0.0.1"]]
    )
    """Addresses of proxies whose `X-Forwarded-For` says who asks, for the audit trail and the lock-out."""
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field("UTC", examples=["Europe/Dublin"])
    """Zone of what is shown of no site in particular; what is of a site is in the site's own."""
    notice: str = Field("", max_length=1000, examples=["For authorised staff only."])
    """A sentence that the sign-in page shows."""
    max_requests: int = Field(64, ge=1, le=1000)
    """Requests served at once; one more is answered with 503 and Retry-After."""
    max_streams: int = Field(200, ge=1, le=10_000)
    """Pages that are kept up to date at once; a page beyond that is reloaded instead."""
    requests_per_second: float = Field(20.0, gt=0, le=10_000)
    """What one person, or one address that is not signed in, may ask in the long run, with bursts of
    twice as many; more is answered with 429."""
    receive_timeout: Duration = 30.0
    """How long a form may take to arrive."""
    uploads: UploadSettings = UploadSettings()
    """What may be uploaded, and for how long an interrupted upload waits to be gone on with."""

    @model_validator(mode="after")
    def _check_wire(self) -> PortalSettings:
        parts = urlsplit(self.public_url or "https://")
        if self.secure_cookie and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError(
                "public_url must begin with https://, or whoever reads along can use a sign-in; where a"
                " tunnel encrypts say secure_cookie: false"
            )
        return self

    @property
    def base(self) -> str:
        """The path as a prefix: empty for `/`."""
        return self.path.rstrip("/")
