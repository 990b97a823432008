"""Three receivers that nobody here wrote, which keep every receipt, and the engine's way to them.

`sinks` is a plugin of the whole tree: a test that asks for it gets a PACS, a HIS and a webhook receiver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.webhook import WebhookReceiver

RETRY = {"first": "300ms", "cap": "1s"}


@dataclass
class Sinks:
    """A PACS, a HIS and a webhook receiver of one site."""

    pacs: Storescp
    his: MllpServer
    hook: WebhookReceiver

    @property
    def environment(self) -> dict[str, str]:
        """What the engine needs to sign for the webhook."""
        return {"HOOK_SECRET": self.hook.secret}

    def table(
        self,
        dicom_port: int,
        *,
        pacs: str = "dicom_forward",
        stable_after: str = "1s",
        ae_titles: tuple[str, ...] = ("STORESCU",),
        addresses: tuple[str, ...] = ("127.0.0.1",),
        **receiver: Any,
    ) -> dict[str, Any]:
        """Every MR series is judged, and all three are told.

        Args:
            pacs: the type of what the PACS gets; `dicom_sr` is a result, `dicom_forward` the study.
            receiver: more settings of all three.
        """
        to = {"site": "st-marys", "retry": RETRY, **receiver}
        here = {**to, "host": "127.0.0.1"}
        return {
            "assembly": {"stable_after": stable_after},
            "sites": {
                "st-marys": {
                    "name": "St. Mary's",
                    "ae_titles": list(ae_titles),
                    "addresses": list(addresses),
                }
            },
            "inbound": {
                "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
                "web": {"type": "stow_rs"},
            },
            "processors": {"dti-qc": {"type": "quality_control"}},
            "outbound": {
                "archive": {"type": pacs, **here, "port": self.pacs.port, "ae_title": self.pacs.ae_title},
                "his": {"type": "hl7_oru", **here, "port": self.his.port},
                "hook": {"type": "webhook", **to, "url": self.hook.url, "secret": {"env": "HOOK_SECRET"}},
            },
            "routes": [
                {
                    "name": "mr",
                    "match": {"series": {"Modality": "MR"}},
                    "process": "dti-qc",
                    "deliver": ["archive", "his", "hook"],
                }
            ],
        }

    def webhook_ids(self) -> dict[str, set[str]]:
        """Study Instance UID -> the ids under which its results came."""
        found: dict[str, set[str]] = {}
        for call in self.hook.accepted:
            found.setdefault(call.event["data"]["study"]["uid"], set()).add(call.webhook_id)
        return found

    def control_ids(self) -> dict[str, set[str]]:
        """Study Instance UID -> the MSH-10 under which its results came."""
        found: dict[str, set[str]] = {}
        for message in self.his.messages:
            [uid] = [str(obx[5]) for obx in message.segments("OBX") if "113014" in str(obx[3])]
            found.setdefault(uid, set()).add(str(message.segment("MSH")[10]))
        return found


@pytest.fixture
def sinks(
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
) -> Callable[..., Sinks]:
    """Factory: ``sinks(*options)`` starts the three; the options are those of DCMTK's `storescp`."""

    def make(*options: str) -> Sinks:
        return Sinks(storescp("ARCHIVE", options=options), hl7_mllp_server(), webhook_receiver())

    return make
