"""What guards every page: headers, cookies, where a request comes from, and where it may be sent on to.

Enter: requests and settings. Leave: facts about them. A request that changes something must come from a page
of ours: by what the browser says of its origin (Fetch Metadata, RFC 6454), and by a token that only our pages
know, compared in constant time. Session tokens are in a cookie that no script reads (RFC 6265bis).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from channels.inbound.portal.settings import LOOPBACK, PortalSettings

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_NOTHING = "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()"
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_LONGEST_TOKEN = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Guard:
    """The guard of one portal."""

    def __init__(self, settings: PortalSettings, public_url: str | None = None) -> None:
        """
        Args:
            public_url: where the engine's own server is reached, for a portal whose block says nothing.
        """
        self._origin = _origin_of(settings.public_url or public_url)
        self._https = (self._origin or "").startswith("https://")
        prefix = "__Host-" if self._https else ""  # a browser takes that prefix by https only
        self.session_cookie = f"{prefix}pons-session"
        self.visitor_cookie = f"{prefix}pons-visitor"
        self.said_cookie = f"{prefix}pons-said"
        self.outside_cookie = f"{prefix}pons-outside"
        self._proxies = [ipaddress.ip_network(one) for one in settings.trusted_proxies]

    def headers(self) -> dict[str, str]:
        """Those that every answer carries."""
        told = {
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",  # with none at all a browser names no origin to its own forms
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "SAMEORIGIN",
            "Permissions-Policy": _NOTHING,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Robots-Tag": "noindex",
        }
        if self._https:
            told["Strict-Transport-Security"] = "max-age=31536000"
        return told

    def origin(self, request: Request) -> str:
        """Where browsers reach the portal: scheme, host and port."""
        return self._origin or f"http://{request.headers.get('host', '')}"

    def is_reachable_by(self, request: Request) -> bool:
        """Whether it answers at the address that a browser asked: no password crosses a wire in clear."""
        if self._origin is not None:
            return True
        try:
            return urlsplit(f"//{request.headers.get('host', '')}").hostname in LOOPBACK
        except ValueError:
            return False

    def is_from_us(self, request: Request) -> bool:
        """Whether a request that changes something comes of a page of ours, as far as its browser tells."""
        site = request.headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = request.headers.get("origin")
        return origin is None or origin.lower() == self.origin(request).lower()

    def address(self, request: Request) -> str:
        """Who asks: the connection's address, or what the nearest proxy that is not trusted was."""
        here = request.client.host.removeprefix("::ffff:") if request.client else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        while self._is_proxy(here) and forwarded:
            shown = forwarded.pop().strip()
            if not _is_address(shown):
                break
            here = shown
        return here

    def _is_proxy(self, address: str) -> bool:
        return _is_address(address) and any(
            ipaddress.ip_address(address) in network for network in self._proxies
        )

    def set_cookie(self, response: Response, name: str, value: str, max_age: float) -> None:
        """Give the browser a cookie that it shows to this host alone and to no script."""
        response.set_cookie(
            name, value, max_age=int(max_age), path="/", secure=self._https, httponly=True, samesite="lax"
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Take a cookie back."""
        response.delete_cookie(name, path="/", secure=self._https, httponly=True, samesite="lax")

    def token(self, cookies: Mapping[str, str]) -> str | None:
        """The session token that a request shows, as far as it can be one."""
        shown = cookies.get(self.session_cookie, "")
        return shown if 0 < len(shown) <= _LONGEST_TOKEN and shown.isascii() and shown.isprintable() else None

    def visitor(self, cookies: Mapping[str, str]) -> str | None:
        """The secret of a browser that is not signed in: its forms show it, too."""
        shown = cookies.get(self.visitor_cookie, "")
        return shown if _VISITOR.fullmatch(shown) else None


def new_visitor() -> str:
    """A secret nobody has had before."""
    return secrets.token_urlsafe(32)


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same and not empty; in constant time."""
    fits = hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
    return fits and bool(one)


def has_control(text: str) -> bool:
    """Whether a text holds what no path and no query of ours does."""
    return _CONTROL.search(text) is not None


def local(target: str, base: str) -> str | None:
    """A path of the portal that somebody may be sent on to; None for anything else."""
    if not target.startswith("/") or target.startswith("//") or "\\" in target or len(target) > 2000:
        return None
    if not target.isascii() or not target.isprintable() or " " in target:
        return None
    path = target.partition("?")[0].partition("#")[0]
    if base and path != base and not path.startswith(f"{base}/"):
        return None
    return target


def _origin_of(url: str | None) -> str | None:
    """Scheme, host and port of an address; None where that is this machine, by whichever of its names."""
    parts = urlsplit(url or "")
    if not parts.netloc or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
