"""A PACS for loopback: C-ECHO and C-STORE in (PS3.4 B, PS3.7 9.1), one Part 10 file per instance out.

    python -m examples.peers.pacs --port 11113 --folder received/pacs

Every storage SOP Class is taken in every transfer syntax, private ones included, as a PACS of
a hospital would. A file is complete once it has its name: it is written beside it and renamed.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

logger = logging.getLogger("peers.pacs")

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
CANNOT_UNDERSTAND = 0xC000
OUT_OF_RESOURCES = 0xA700


def store(event: Event, folder: Path) -> int:
    """File one instance under its SOP Instance UID; answer a C-STORE status (PS3.4 B.2.3)."""
    assert isinstance(event.request, C_STORE)
    uid = str(event.request.AffectedSOPInstanceUID)
    if not uid.replace(".", "").isdigit():  # it becomes a file name
        return CANNOT_UNDERSTAND
    unfinished = folder / f".{uid}.part"
    try:
        unfinished.write_bytes(event.encoded_dataset(include_meta=True))
        unfinished.replace(folder / f"{uid}.dcm")
    except OSError as error:
        logger.error("cannot file %s: %s", uid, error.strerror)
        return OUT_OF_RESOURCES
    logger.info("stored %s", uid)
    return SUCCESS


def serve(host: str, port: int, ae_title: str, folder: Path, stop: threading.Event) -> None:
    """Answer associations until ``stop`` is set."""
    folder.mkdir(parents=True, exist_ok=True)
    _config.UNRESTRICTED_STORAGE_SERVICE = True  # private and future SOP Classes too
    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    ae.add_supported_context(VERIFICATION)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), list(AllTransferSyntaxes))
    server = ae.start_server((host, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store, [folder])])
    assert isinstance(server, ThreadedAssociationServer)  # what block=False gives
    logger.info("pacs %s listens on %s:%d", ae_title, host, port)
    try:
        stop.wait()
    finally:
        server.shutdown()


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="a PACS that files what it receives")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11113)
    parser.add_argument("--ae-title", default="DEMO_PACS")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serve(arguments.host, arguments.port, arguments.ae_title, arguments.folder, stop)


if __name__ == "__main__":
    main()
