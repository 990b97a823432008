"""What `people:` means on this machine: a key that enciphers, and a secret of the identity provider.

Enters: a reading. Leave: findings about its `people:` section.
"""

from __future__ import annotations

from engine.checks.surroundings import missing_of, readable_secrets
from engine.errors import ConfigurationError
from engine.people.key import read_key
from engine.reading import Reading


def check_people(reading: Reading) -> None:
    """The secrets that the section names are there, and the key is one."""
    settings = reading.people
    missing = list(missing_of(settings, reading.document.base))
    for inner, message, code in missing:
        reading.complain(("people", *inner), message, code)
    for inner in readable_secrets(settings):
        message = "can be read by every user of this machine; chmod 600 and give it to the engine's user"
        reading.warn(("people", *inner), message, "secret-readable")
    if settings.key is None or any(inner[0] == "key" for inner, _, _ in missing):
        return
    try:
        read_key(settings.key.reveal(), "")
    except ConfigurationError as error:
        reading.complain(("people", "key"), str(error).removeprefix(": "), "bad-people-key")
