"""The JSON body of a request to the REST API, within its limits (RFC 8259).

Enter: a request. Leaves: the value, or `ProblemRaised`. What two readers may understand differently is
refused: a name twice in one object, NaN, text that is not UTF-8, half a surrogate pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from channels.inbound.rest_problem import ProblemRaised

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_SOME, _PATIENCE = 4 << 20, 2.0  # bytes, seconds that are read on of an upload that was refused
_READ_ON = 4  # times the limit: so much is read of what is refused, for the client to get to read the answer


async def read(request: Request, limit: int, patience: float) -> bytes:
    """The bytes of a small body."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemRaised("media-type", "a body with a content encoding is not taken")
    gathered = bytearray()
    size = 0
    try:
        async with asyncio.timeout(patience):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    gathered += chunk
                elif size > limit * _READ_ON:
                    break
    except TimeoutError:
        raise ProblemRaised("silent", f"the body was not whole in {patience:g} s") from None
    if size > limit:
        raise ProblemRaised("too-large", f"a body of JSON may have {limit} bytes")
    return bytes(gathered)


async def read_on(request: Request) -> None:
    """Read on a little of what was refused: a client that still sends would lose the answer.

    Who waits to be told to go on (RFC 9110 10.1.1) has not begun to send.
    """
    if request.headers.get("expect", "").lower() == "100-continue":
        return
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):  # it was read to its end
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _SOME:
                    return


def of_type(request: Request, taken: tuple[str, ...]) -> None:
    """Refuse a body of another media type."""
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence not in taken:
        headers = {"Accept-Patch" if request.method == "PATCH" else "Accept": ", ".join(taken)}
        raise ProblemRaised("media-type", f"the Content-Type must be {' or '.join(taken)}", headers=headers)


def parsed(content: bytes, max_depth: int) -> Any:
    """The value that a body holds."""
    if _depth(content) > max_depth:
        raise ProblemRaised("malformed", f"the body is nested deeper than {max_depth} levels")
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refused)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeError:
        raise ProblemRaised("malformed", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ProblemRaised("malformed", f"the body is not JSON ({where})") from None
    except ValueError as error:  # ours, or a number of more digits than are taken
        said = str(error) if isinstance(error, _Ambiguous) else "a number is too long"
        raise ProblemRaised("malformed", f"the body is not usable JSON: {said}") from None
    return value


class _Ambiguous(ValueError):
    """JSON that two readers may understand differently."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Ambiguous("a name stands twice in one object")
    return found


def _refused(_constant: str) -> Any:
    raise _Ambiguous("NaN and Infinity are no JSON")


def _depth(content: bytes) -> int:
    """How deep objects and arrays are nested, without building any."""
    depth = deepest = 0
    for one in _STRING.sub(b"", content):
        if one in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif one in b"]}":
            depth -= 1
    return deepest
