"""A program of a clinic: it gives an order, fetches the results that wait for it, and acknowledges them.

Enter: the engine's address, and the client's id and secret as `pons client add --json` tells them. Leave: an
order for an accession number, or a folder with the files of results. Python's own library is enough.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

FORMATS = {"pdf": ".pdf", "json": ".json", "sr": ".dcm"}
"""What the table's destination keeps, and what a file of it is called."""
TIMEOUT = 60.0
AT_ONCE = 100


class Api:
    """The REST API as one client sees it."""

    def __init__(self, engine: str, client: Path) -> None:
        self._engine = engine.rstrip("/")
        told = json.loads(client.read_text())
        shown = base64.b64encode(f"{told['client_id']}:{told['client_secret']}".encode()).decode()
        form = urlencode({"grant_type": "client_credentials"}).encode()
        answer = self._send("POST", "/oauth2/token", form, {"Authorization": f"Basic {shown}"})
        self._token = json.loads(answer)["access_token"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """What one resource answers."""
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        headers["Authorization"] = f"Bearer {self._token}"
        return self._send(method, f"/api/v1{path}", content, headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        request = Request(f"{self._engine}{path}", body, headers, method=method)
        with urlopen(request, timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
        return content


def order(api: Api, accession_number: str) -> str:
    """The id of the order for an accession number: a repetition gives the same one."""
    given = {"metadata": {"AccessionNumber": accession_number}}
    key = {"Idempotency-Key": f"order-{accession_number}"}
    made = json.loads(api.ask("POST", "/orders", given, **key))
    return str(made["order_id"])


def fetch(api: Api, folder: Path) -> int:
    """How many results were written and acknowledged."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    while waiting := json.loads(api.ask("GET", f"/results/unretrieved?limit={AT_ONCE}"))["results"]:
        for result in waiting:
            for name, suffix in FORMATS.items():
                content = api.ask("GET", f"/results/{result['result_id']}/{name}")
                write(folder / f"{result['result_id']}{suffix}", content)
            api.ask("POST", "/results/acknowledgements", {"seqs": [result["seq"]]})
            count += 1
    return count


def write(path: Path, content: bytes) -> None:
    """A file that only this user can read, whole or not at all; synced before anybody is told."""
    unfinished = path.with_suffix(".part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def main() -> None:
    """Give an order, or fetch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="http://127.0.0.1:8080", help="its address")
    parser.add_argument(
        "--client", type=Path, default=Path("client.json"), help="from `pons client add --json`"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("order").add_argument("accession_number")
    commands.add_parser("fetch").add_argument("folder", type=Path)
    asked = parser.parse_args()
    try:
        api = Api(asked.engine, asked.client)
        if asked.command == "order":
            print(order(api, asked.accession_number))
        else:
            print(f"{fetch(api, asked.folder)} results")
    except HTTPError as error:  # problem details (RFC 9457) say what is wrong, and repeat no value
        raise SystemExit(f"{error.code}: {error.read().decode(errors='replace')}") from None
    except (URLError, OSError) as error:
        raise SystemExit(f"the engine, or a file, cannot be reached: {error}") from None


if __name__ == "__main__":
    main()
