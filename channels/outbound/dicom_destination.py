"""What every destination reached by DIMSE has in common: its fields, C-STORE and C-ECHO.

Enter: a payload of DICOM files. Leave: an acknowledgement when the peer has stored every one of
them (PS3.4 B.2.3) and, with `storage_commitment`, was asked to commit to them (PS3.4 J), see
`channels.transport.association`. What is sent is each channel's own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from channels.transport import association
from channels.transport.reencoding import Encoding
from engine.channel import AETitle, Duration, OutboundSettings, Port, Tls
from engine.model import Acknowledgement, Delivery, Payload


class DicomSettings(OutboundSettings):
    """Where the peer is and how it is called."""

    host: str = Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$", examples=["10.90.7.2"])
    """Address or name of the peer."""
    port: Port
    """TCP port of the peer; 104 and 11112 are usual."""
    ae_title: AETitle
    """The peer's AE title (called AE title)."""
    calling_ae_title: AETitle = "PONS"
    """Our own AE title, as the peer knows it."""
    tls: Tls | None = None
    """TLS towards the peer (PS3.15 B.9); plain DICOM when absent, for use inside a tunnel."""
    storage_commitment: bool = False
    """Whether the peer must also commit to what it stored (PS3.4 J) before it counts as delivered."""
    commitment_timeout: Duration = 3600.0
    """How long the peer's report may take before it is asked again."""
    commitment_wait: Annotated[Duration, Field(le=60)] = 5.0
    """How long the report is awaited on the same association; later it comes on one of the peer's own."""


class DicomDestination:
    """Delivers by C-STORE; a subclass renders."""

    encoding = Encoding.VALUE_REPRESENTATION  # our own objects, for a peer that takes implicit VR alone

    def __init__(self, settings: DicomSettings) -> None:
        self._peer = association.Peer(
            host=settings.host,
            port=settings.port,
            ae_title=settings.ae_title,
            calling_ae_title=settings.calling_ae_title,
            tls=settings.tls,
            timeout=settings.timeout,
        )
        self._commitment_wait = settings.commitment_wait
        self.commitment_timeout = settings.commitment_timeout if settings.storage_commitment else None

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """Store every part; returns when the peer has answered for all of them.

        Where it has to commit to them, it was asked to as well, and may have done so.
        """
        commitment = None
        if delivery.transaction_uid:
            commitment = association.Commitment(
                delivery.transaction_uid, delivery.stored, self._commitment_wait
            )
        return await association.store(
            self._peer, payload.parts, encoding=self.encoding, commitment=commitment
        )

    async def probe(self) -> None:
        """C-ECHO and, where the peer has to commit, whether it would take the request."""
        await association.echo(self._peer)
        if self.commitment_timeout is not None:
            await association.check_commitment(self._peer)
