"""A webhook receiver that believes only what the `standardwebhooks` library verifies."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.peers.process import binary, wait_until

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Call:
    """One request, and whether its signature held."""

    webhook_id: str
    headers: dict[str, str]
    body: bytes
    verified: bool
    answered: int

    @property
    def event(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class WebhookReceiver:
    """Answers 204 to what verifies, 401 to what does not.

    ``answers`` are the statuses of the first verified calls, in order; after them 204.
    """

    def __init__(self, port: int, answers: Sequence[int] = ()) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.answers = list(answers)
        self.calls: list[Call] = []
        verifier = Webhook(self.secret)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    verifier.verify(body, headers)
                    verified = True
                except WebhookVerificationError:
                    verified = False
                status = 401 if not verified else receiver.answers.pop(0) if receiver.answers else 204
                # Noted before it is answered: whoever has the answer finds the note.
                receiver.calls.append(Call(headers.get("webhook-id", ""), headers, body, verified, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: the calls are kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def accepted(self) -> list[Call]:
        """The calls that verified and were answered 2xx."""
        return [call for call in list(self.calls) if call.verified and 200 <= call.answered < 300]

    def wait_for_accepted(self, count: int, timeout: float = 60.0) -> list[Call]:
        """Wait until at least ``count`` calls have been accepted."""
        wait_until(lambda: len(self.accepted) >= count, f"{count} webhook calls", timeout)
        return self.accepted

    def verifies_in_node(self, call: Call) -> bool:
        """Whether the npm package of the same standard, another implementation, agrees."""
        told = {"secret": self.secret, "headers": call.headers, "body": call.body.decode()}
        done = subprocess.run(
            [binary("node", "nodejs"), str(HERE / "verify_webhook.mjs")],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "ERR_MODULE_NOT_FOUND" not in done.stderr, "run npm install --prefix tests/peers first"
        return done.returncode == 0

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def webhook_receiver(free_port: Callable[[], int]) -> Iterator[Callable[..., WebhookReceiver]]:
    """Factory: ``webhook_receiver(answers=(503, 204), port=None)``; its ``secret`` goes into the table."""
    running: list[WebhookReceiver] = []

    def make(answers: Sequence[int] = (), *, port: int | None = None) -> WebhookReceiver:
        peer = WebhookReceiver(port or free_port(), answers)
        running.append(peer)
        return peer

    yield make
    for peer in running:
        peer.stop()
