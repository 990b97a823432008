"""pynetdicom's receiver as its documentation shows it: the raw data set goes to a file, nothing is synced.

Run as `python -m bench.intake.plain_receiver PORT FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

FOLDER = Path(sys.argv[2])


def store(event: Event) -> int:
    """Write what came, with its file meta, and say so."""
    with (FOLDER / event.request.AffectedSOPInstanceUID).open("wb") as file:
        file.write(event.encoded_dataset())
    return 0x0000


application = AE("BENCH")
application.supported_contexts = AllStoragePresentationContexts
application.maximum_pdu_size = 131072
application.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, store)])
