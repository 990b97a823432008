"""pynetdicom's own acceptor, which says success to every C-STORE.

Run as `python pynetdicom_scp.py PORT CONTEXTS`, the contexts as JSON: pairs of abstract
and transfer syntax.
A process of its own: bytes that still come after it has aborted may kill one of its threads.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pynetdicom import AE, evt

entity = AE("PONS")
for abstract_syntax, transfer_syntax in json.loads(sys.argv[2]):
    entity.add_supported_context(abstract_syntax, transfer_syntax)
entity.maximum_pdu_size = 131072
handlers: list[Any] = [(evt.EVT_C_STORE, lambda event: 0x0000)]
entity.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=handlers)
