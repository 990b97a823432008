"""One HTTP request, bounded in time and size, and what its status means (RFC 9110).

Enter: an endpoint, a method, a path and a body. Leave: an `Answer`, or TryAgain when none came.
Certificates are checked, redirects are not followed (a moved endpoint is the operator's to
confirm), proxies and credentials of the environment are not used, and of an answer no more than
a megabyte is read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import ssl
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from engine.channel import Secret, Tls
from engine.errors import PonsError, Refused, TryAgain

LONGEST_ANSWER = 1 << 20  # bytes

# httpx logs every URL, and httpcore every header: searches name identifiers, headers name tokens.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a URL is https://HOST[:PORT]/PATH; host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("a URL starts with https:// (or http://) and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL carries no user or password; give them as secrets")
    if parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("a URL has no fragment, no spaces and no control characters")
    return value


Url = Annotated[
    str,
    AfterValidator(_check_url),
    Field(json_schema_extra={"x-kind": "URL", "x-sample": "https://his.st-marys.example"}),
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go."""

    url: str
    tls: Tls | None = None
    timeout: float = 30.0  # seconds for one attempt as a whole; kept by `within`

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered; header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, or None (RFC 9110 10.2.3)."""
        return parse_retry_after(self.headers.get("retry-after", ""), datetime.now(UTC))

    def json(self) -> Any:
        """The body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds from now; a date in the past is 0, what cannot be read is None."""
    text = value.strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


async def request(
    endpoint: Endpoint,
    method: str,
    path: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | AsyncIterable[bytes] | None = None,
) -> Answer:
    """Send one request and read its answer.

    Args:
        path: appended to the endpoint's URL, query included.

    Raises:
        TryAgain: no connection, no valid HTTP answer, or the endpoint's timeout passed.
    """
    import httpx  # late: it takes 80 ms and `pons check` needs none of it

    try:
        async with (
            asyncio.timeout(endpoint.timeout),
            httpx.AsyncClient(
                verify=await asyncio.to_thread(_context, endpoint),
                timeout=endpoint.timeout,
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream(
                method,
                endpoint.url.rstrip("/") + path if path else endpoint.url,
                # What is not compressed cannot be a decompression bomb.
                headers={"Accept-Encoding": "identity", "User-Agent": "Pons", **(headers or {})},
                content=body,
            ) as response,
        ):
            return Answer(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await _read(response),
            )
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise TryAgain(f"no connection to {endpoint}: {_cause(error)}", code="connection") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TryAgain(f"{endpoint} did not answer within {endpoint.timeout:g} s", code="timeout") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        message = f"no answer from {endpoint}: {_cause(error)}"
        raise TryAgain(message, code="connection", uncertain=True) from error


async def _read(response: Any) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            return b""  # status and headers still count; a body this long is no acknowledgement
    return bytes(body)


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    if not endpoint.url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; loading the authorities takes 30 ms
    try:
        return (endpoint.tls or Tls()).client_context()
    except LookupError as error:
        raise TryAgain(f"TLS towards {endpoint}: {error}", code="tls") from error


def _cause(error: BaseException) -> str:
    """The system's own words: those of httpx may quote a URL with an identifier in it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return f"TLS failed, {seen.reason or 'no reason given'}"
        if isinstance(seen, OSError) and seen.errno and seen.errno > 0:
            return os.strerror(seen.errno).lower()  # asyncio's own words repeat the address
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()


def reveal(secret: Secret) -> str:
    """A secret's text; TryAgain when the reference leads nowhere, for that is mended here, not there."""
    try:
        return secret.reveal()
    except LookupError as error:
        raise TryAgain(str(error), code="secret") from error


def failure(
    endpoint: Endpoint, answer: Answer, *, also: str = "", transient: tuple[int, ...] = ()
) -> PonsError:
    """The error for a status that is no success: 408, 429 and 5xx are transient, everything else is not.

    Args:
        also: what more is known, without patient data.
        transient: further statuses that are worth another try: this payload met trouble, the server is well.
    """
    message = f"{endpoint} answered {answer.status}{also and ': '}{also}"
    if answer.status in (408, 429, *transient) or answer.status >= 500 or answer.status < 200:
        of_payload = answer.status in transient
        return TryAgain(message, code=str(answer.status), after=answer.retry_after, of_payload=of_payload)
    if 300 <= answer.status < 400:
        message += "; redirects are not followed, put the new address into the table"
    return Refused(message, code=str(answer.status))
