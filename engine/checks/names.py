"""Names that one part of a table uses must be declared in another.

Enters: a name and where it stands. Leaves: whether it is declared; if not, a finding with the nearest one.
"""

from __future__ import annotations

from engine.finding import Location, did_you_mean, shown
from engine.reading import Reading

_WORDS = {
    "sites": ("site", "unknown-site"),
    "inbound": ("inbound channel", "unknown-inbound"),
    "processors": ("processor", "unknown-processor"),
    "outbound": ("destination", "unknown-destination"),
}


def is_known(reading: Reading, section: str, name: str, location: Location) -> bool:
    """Whether a section declares a name, be it readable or not; a finding where it does not."""
    declared = reading.document.data.get(section)
    if isinstance(declared, dict) and name in declared:  # thousands ask: no list is made
        return True
    known = reading.names(section)
    word, code = _WORDS[section]
    hint = did_you_mean(name, known) if known else f"; the table declares none under {section}"
    reading.complain(location, f"no {word} {shown(name)}{hint}", code)
    return False
