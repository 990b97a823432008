"""One study brought to the engine by each way over HTTP, until all of it is durable and recorded.

| subject | how | the clock ends when |
|---|---|---|
| `stow` | STOW-RS, all instances in one request | 200 is answered |
| `single` | a ZIP archive (stored) to a signed address | 200 is answered: taken in |
| `multipart` | the same in parts of 16 MB on four connections, then completed | it is `taken` |

Everything is encoded before the clock starts. An upload is written to disk, read to its end, and then stored,
where STOW-RS stores what it reads: it does three times the work for being taken whole or not at all.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.api.house import House
from bench.intake.objects import KINDS
from bench.intake.sender import PIXELS
from bench.stow.sender import answer, instance_head, post, request

KIND = KINDS["ct"]
PART = 16 << 20  # bytes
CONNECTIONS = 4


def archive(count: int, run: int) -> bytes:
    """The study as a ZIP archive, not compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as packed:
        for number in range(count):
            head = instance_head(KIND, run, 0, number)
            packed.writestr(f"{number}.dcm", head + bytes(PIXELS[: KIND.pixels]))
    return made.getvalue()


def stow(house: House, count: int, run: int) -> float:
    """Seconds that STOW-RS takes."""
    heads = [instance_head(KIND, run, 0, number) for number in range(count)]
    ready = request("/dicomweb/studies", heads, KIND.pixels)
    with socket.create_connection(("127.0.0.1", house.port), timeout=300) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        post(connection, ready, KIND.pixels)
        if answer(connection) != count:
            raise RuntimeError("not every instance was stored")
        return time.monotonic() - began


def single(house: House, count: int, run: int) -> float:
    """Seconds that one PUT to a signed address takes."""
    content = archive(count, run)
    begun = _begun(house, {"kind": "single", "size": len(content)})
    began = time.monotonic()
    told = _asked(house, "PUT", begun["url"], content, begun["headers"])
    _until_taken(house, begun, told["state"])
    return time.monotonic() - began


def multipart(house: House, count: int, run: int) -> float:
    """Seconds that parts on several connections take."""
    content = archive(count, run)
    begun = _begun(house, {"kind": "multipart", "size": len(content)})
    parts = [(n // PART + 1, content[n : n + PART]) for n in range(0, len(content), PART)]

    def send(part: tuple[int, bytes]) -> None:
        _asked(house, "PUT", begun["url"].format(number=part[0]), part[1], _bearer(house))

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        began = time.monotonic()
        list(threads.map(send, parts))
        path = f"/api/v1/uploads/{begun['upload']['upload_id']}/complete"
        told = _asked(house, "POST", path, b"", _bearer(house))
        _until_taken(house, begun, told["state"])
        return time.monotonic() - began


SUBJECTS: Mapping[str, Callable[[House, int, int], float]] = {
    "stow": stow,
    "single": single,
    "multipart": multipart,
}


def _begun(house: House, given: dict[str, Any]) -> dict[str, Any]:
    order = _asked(house, "POST", "/api/v1/orders", b"{}", _bearer(house))["order_id"]
    path = f"/api/v1/orders/{order}/uploads"
    return _asked(house, "POST", path, json.dumps(given).encode(), _bearer(house))


def _until_taken(house: House, begun: dict[str, Any], state: str) -> None:
    path = f"/api/v1/uploads/{begun['upload']['upload_id']}"
    until = time.monotonic() + 600
    while state == "taking" and time.monotonic() < until:
        time.sleep(0.02)
        state = _asked(house, "GET", path, b"", _bearer(house))["state"]
    if state != "taken":
        raise RuntimeError(f"the upload is {state}")


def _bearer(house: House) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.token}", "Content-Type": "application/json"}


def _asked(house: House, method: str, path: str, content: bytes, headers: dict[str, str]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=600)
    try:
        connection.request(method, path, content, headers)
        answered = connection.getresponse()
        body = answered.read()
    finally:
        connection.close()
    if answered.status not in (200, 201, 202):
        raise RuntimeError(f"the API answers {answered.status}: {body.decode()}")
    return json.loads(body)
