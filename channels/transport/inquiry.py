"""Ask a peer, without sending it anything, which images it would take (PS3.8 9.3.2 and 9.3.3).

Enters: a peer. Leave: sentences about what it would not take. One association proposes each of some image
SOP Classes in each of some transfer syntaxes, in a presentation context of its own; the answer says
which it accepts, and the association is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from channels.transport.reencoding import Encoding, alternatives
from channels.transport.upper_layer import Peer, associate
from engine.errors import TryAgain

IMAGES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR",
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.3.1": "US multi-frame",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
}
"""Image Storage SOP Classes (PS3.4 B.5) that hospitals send most, and what people call them."""

SYNTAXES = {
    "1.2.840.10008.1.2": "implicit VR little endian",
    "1.2.840.10008.1.2.1": "explicit VR little endian",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE lossless",
}
"""Transfer syntaxes of PS3.5 A that scanners and archives write."""


async def not_taken(peer: Peer, encoding: Encoding) -> list[str]:
    """What a peer would not take, a sentence each with the consequence for studies that are sent on.

    Args:
        encoding: how far an image may be encoded anew for the peer.

    Raises:
        TryAgain: no answer in time, or no connection.
        Refused: the peer rejects the association for good.
    """
    proposed = [(image, syntax) for image in IMAGES for syntax in SYNTAXES]
    try:
        async with asyncio.timeout(peer.timeout), associate(peer, proposed) as association:
            accepted = frozenset(association.accepted)
    except TimeoutError as error:
        raise TryAgain(f"{peer} did not answer within {peer.timeout:g} s", code="timeout") from error
    return list(_sentences(accepted, encoding))


def _sentences(accepted: frozenset[tuple[str, str]], encoding: Encoding) -> Iterator[str]:
    images = [uid for uid in IMAGES if any((uid, syntax) in accepted for syntax in SYNTAXES)]
    lacking = [IMAGES[uid] for uid in IMAGES if uid not in images]
    if lacking:
        yield f"takes no {', '.join(lacking)} images in any way asked: such studies are refused there"
    for syntax, name in SYNTAXES.items():
        ways = alternatives(syntax, encoding)
        without = [
            IMAGES[uid] for uid in images if not any((uid, way) in accepted for way in (syntax, *ways))
        ]
        becomes = "nor uncompressed: studies that come so are refused there"
        if not ways:
            becomes = "studies that come so are refused there, for they are not encoded anew"
        if images and len(without) == len(images):
            yield f"takes nothing in {name}{', ' if ways else ': '}{becomes}"
        elif without:
            yield f"takes no {', '.join(without)} images in {name}{', ' if ways else ': '}{becomes}"
