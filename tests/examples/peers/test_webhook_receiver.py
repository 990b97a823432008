"""The example webhook receiver, against signatures made by the Standard Webhooks library."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

Peer = Callable[..., tuple[int, Path]]
SECRET = "whsec_" + "bG9vcGJhY2stZGVtby1zZWNyZXQtMDEyMzQ1Njc="
EVENT = '{"type": "result.final"}'


@pytest.fixture
def receiver(start_peer: Peer, tmp_path: Path) -> tuple[str, Path]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    port, folder = start_peer("webhook_receiver", "--secret-file", str(tmp_path / "secret"))
    return f"http://127.0.0.1:{port}/events", folder


def signed(event_id: str, body: str, at: datetime, secret: str = SECRET) -> dict[str, str]:
    signature = Webhook(secret).sign(event_id, at, body)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def test_a_genuine_event_is_filed_once_however_often_it_comes(receiver: tuple[str, Path]) -> None:
    url, folder = receiver
    for _ in range(2):
        answer = httpx.post(url, content=EVENT, headers=signed("evt_1", EVENT, datetime.now(UTC)))
        assert answer.status_code == 204
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("evt_1.json", EVENT)]


NOW = datetime.now(UTC)
FORGED = [
    pytest.param(signed("evt_1", "{}", NOW), id="another body"),
    pytest.param(signed("evt_1", EVENT, NOW, "whsec_b3RoZXI="), id="another secret"),
    pytest.param(signed("evt_1", EVENT, NOW - timedelta(hours=1)), id="an old timestamp"),
    pytest.param({**signed("evt_1", EVENT, NOW), "webhook-id": "../evil"}, id="an id that is a path"),
    pytest.param({}, id="no signature"),
]


@pytest.mark.parametrize("headers", FORGED)
def test_a_forged_event_is_refused_and_not_filed(receiver: tuple[str, Path], headers: dict[str, str]) -> None:
    url, folder = receiver
    assert httpx.post(url, content=EVENT, headers=headers).status_code == 401
    assert list(folder.iterdir()) == []


def test_an_event_larger_than_twenty_kilobytes_is_refused(receiver: tuple[str, Path]) -> None:
    url, _ = receiver
    assert httpx.post(url, content="x" * 30_000).status_code == 413
