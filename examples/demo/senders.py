"""Two ways to send a study: C-STORE (PS3.4 B) as a scanner does, STOW-RS (PS3.18 10.5) as a web client.

Enter: the files of one study and the table that says where the engine listens. Leave: after each
success of the engine, the count of instances that it now holds; anything else raises.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from dicomweb_client import DICOMwebClient
from pynetdicom import AE, evt
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
    try:
        for path in files:
            status = association.send_c_store(path).get("Status")
            if status != 0x0000:
                raise SendFailed(f"C-STORE of {path.name} was answered {status or 0:04X}")
            yield 1
    finally:
        association.release()


def by_stow_rs(files: list[Path], table: dict[str, Any]) -> Iterator[int]:
    """Post a study in requests of a few instances each."""
    client = DICOMwebClient(f"http://{table['engine']['http']}/dicomweb")
    for start in range(0, len(files), BATCH):
        some = [pydicom.dcmread(path) for path in files[start : start + BATCH]]
        answer = client.store_instances(some)
        if failed := answer.get("FailedSOPSequence"):
            raise SendFailed(f"STOW-RS refused {len(failed)} of {len(some)} instances")
        yield len(some)
