"""How one receiver wants its ORU^R01: version, character set, segments, placement, overrides.

The one list of what can be chosen; the settings of the channel and the renderer both read it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from channels.content.hl7 import Charset
from channels.content.hl7_override import Override

Version = Literal["2.3.1", "2.4", "2.5.1"]
AccessionField = Literal["OBR-18", "OBR-20", "OBR-3", "ORC-3"]
ProcessingId = Literal["P", "T", "D"]  # table 0103
OptionalSegment = Literal["ORC", "PV1", "NTE"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How one receiver wants its messages."""

    version: Version = "2.5.1"
    sending_application: str = "PONS"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    charset: Charset = "UNICODE UTF-8"  # MSH-18, table 0211
    accession_field: AccessionField = "OBR-18"
    timezone: str = ""  # IANA name; empty: the study's own site
    processing_id: ProcessingId = "P"
    include_pdf: bool = False
    segments: tuple[OptionalSegment, ...] = ("ORC", "NTE")
    overrides: tuple[Override, ...] = ()
