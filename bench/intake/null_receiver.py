"""Our own associations with a service that takes every instance and keeps none: how far intake could go.

Run as `python -m bench.intake.null_receiver PORT [CERTIFICATE KEY]`; with a certificate it speaks TLS.
"""

from __future__ import annotations

import signal
import ssl
import sys
from collections import deque
from collections.abc import Iterator

from channels.transport.dimse_acceptor import Acceptor
from channels.transport.dimse_command import Command
from channels.transport.dimse_negotiation import Context, Rejection
from channels.transport.dimse_scp import Association, Limits, Status
from engine.listening_sockets import bound

LIMITS = Limits(
    max_pdu=131072,
    max_associations=64,
    acse_timeout=30.0,
    network_timeout=300.0,
    dimse_timeout=60.0,
    max_drain=1 << 40,
)


class Null:
    """A service that forgets."""

    normalized = frozenset[str]()

    def admit(self, association: Association) -> Rejection | None:
        """Everybody is welcome."""
        return None

    def is_served(self, abstract_syntax: str) -> bool:
        """Everything is taken."""
        return True

    def store(
        self, association: Association, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        """Read to the end."""
        deque(fragments, maxlen=0)
        return Status(0x0000)

    def perform(
        self, association: Association, context_id: int, context: Context, command: Command, data: bytes
    ) -> Status:
        """Nothing else is done."""
        return Status(0x0211)

    def ended(self, association: Association) -> None:
        """Nothing was kept."""


def main(port: int, certificate: str = "", key: str = "") -> None:
    """Serve until killed."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls is not None:
        tls.load_cert_chain(certificate, key)
    Acceptor(lambda: bound("127.0.0.1", port), Null(), LIMITS, tls).start()
    signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
