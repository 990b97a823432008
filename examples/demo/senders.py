"""Two ways to send a study: C-STORE (PS3.4 B) as a scanner does, STOW-RS (PS3.18 10.5) as a web client.

Enter: the files of one study and the table that says where the engine listens. Leave: after each
success of the engine, the count of instances that it now holds; anything else raises.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from dicomweb_client import DICOMwebClient
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

CALLING_AE_TITLE = "DEMO_MR"
BATCH = 64  # instances a STOW request


class SendFailed(Exception):
    """The engine did not take an instance."""


def without_delay(event: Event) -> None:
    """Set TCP_NODELAY, which pynetdicom leaves off: small stores wait 40 ms each without it."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def by_c_store(files: list[Path], table: dict[str, Any]) -> Iterator[int]:
    """Send a study over one association."""
    channel = next(i for i in table["inbound"].values() if i["type"] == "c_store")
    host, _, port = channel["listen"].rpartition(":")
    kinds = {
        (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        for meta in (pydicom.dcmread(path, stop_before_pixels=True).file_meta for path in files)
    }
    scu = AE(ae_title=CALLING_AE_TITLE)
    for sop_class, transfer_syntax in sorted(kinds):
        scu.add_requested_context(sop_class, transfer_syntax)
    association = scu.associate(
        host, int(port), ae_title=channel["ae_title"], evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)]
    )
    if not association.is_established:
        raise SendFailed(f"the engine refused the association of {CALLING_AE_TITLE}")
    with held_reactor(association):
        for path in files:
            answer = association.send_c_store(path)
            if "Status" not in answer:
                raise SendFailed(f"C-STORE of {path.name} was not answered; see the engine's log")
            if answer.Status != 0x0000:
                raise SendFailed(f"C-STORE of {path.name} was answered {answer.Status:04X}")
            yield 1
    association.release()


class Checkpoint(threading.Event):
    """The gate of an association's reactor, shut until it is opened for good."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """The reactor has come to the gate."""
        self.reached.set()
        return super().wait(timeout)

    def set(self) -> None:
        """Stay shut: pynetdicom opens the gate after each message."""


@contextmanager
def held_reactor(association: Association) -> Iterator[None]:
    """Keep the reactor of a requestor still, which has nothing to do while we ask and wait.

    pynetdicom 3.0.4 lets it run between two messages. On a busy machine it resumes late, while the
    next message is under way, and takes that answer from whoever waits for it (a lost wake-up).
    """
    free = association._reactor_checkpoint
    association._reactor_checkpoint = gate = Checkpoint()
    gate.reached.wait(10)  # one whose association has ended comes no more
    try:
        yield
    finally:
        threading.Event.set(gate)
        association._reactor_checkpoint = free


def by_stow_rs(files: list[Path], table: dict[str, Any]) -> Iterator[int]:
    """Post a study in requests of a few instances each."""
    client = DICOMwebClient(f"http://{table['engine']['http']}/dicomweb")
    for start in range(0, len(files), BATCH):
        some = [pydicom.dcmread(path) for path in files[start : start + BATCH]]
        answer = client.store_instances(some)
        if failed := answer.get("FailedSOPSequence"):
            raise SendFailed(f"STOW-RS refused {len(failed)} of {len(some)} instances")
        yield len(some)
