"""What is sent in a day: small MR, CT, now and then something large; made fast, no two alike.

Enter: a kind, a visit, a number. Leave: the head of a data set, the rest of which are the pixels that all
share. One head of each kind is encoded by pydicom, the others differ from it in their UIDs alone, which all
have the same length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from bench.intake import objects
from bench.intake.objects import Kind
from bench.intake.sender import EXPLICIT, PIXELS
from channels.transport.file_meta import encode_file_meta

SMALL, MIDDLE, LARGE = objects.KINDS["mr"], objects.KINDS["ct"], Kind("big", objects.MULTI_FRAME, 512, 64)
FIRST = 100_000_000  # visits have nine digits
FIRST_OF_VISIT = 100  # and its instances three


@dataclass(frozen=True, slots=True)
class Instance:
    """One object to be sent."""

    kind: Kind
    study_instance_uid: str
    sop_instance_uid: str
    number: int
    head: bytes  # of the data set, up to the value of its pixel data

    def pixels(self) -> Iterator[memoryview]:
        """The rest of it."""
        left = self.kind.pixels
        while left:
            yield memoryview(PIXELS)[:left]
            left -= min(left, len(PIXELS))

    def sha256(self) -> str:
        """Digest of the data set."""
        digest = hashlib.sha256(self.head)
        for block in self.pixels():
            digest.update(block)
        return digest.hexdigest()

    def file_head(self) -> bytes:
        """The same head in a Part 10 file."""
        meta = encode_file_meta(
            sop_class_uid=self.kind.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=EXPLICIT,
            calling_ae_title="BENCH",
            called_ae_title="PONS",
        )
        return meta + self.head


def instances(kind: Kind, visit: int, count: int) -> list[Instance]:
    """The objects of one visit, one study."""
    study = objects.study_instance_uid(kind, FIRST + visit, 0)
    template_study, template = _template(kind)
    made = []
    for number in range(FIRST_OF_VISIT, FIRST_OF_VISIT + count):
        uid = objects.sop_instance_uid(kind, FIRST + visit, 0, number)
        head = template.replace(template_study.encode(), study.encode())
        head = head.replace(uid_of_template(study).encode(), uid.encode())
        made.append(Instance(kind, study, uid, number - FIRST_OF_VISIT, head))
    return made


def uid_of_template(study: str) -> str:
    """The SOP Instance UID that the template has in a study."""
    return f"{study}.3.{FIRST_OF_VISIT + 1}"


@cache
def _template(kind: Kind) -> tuple[str, bytes]:
    return objects.study_instance_uid(kind, FIRST, 0), objects.head(kind, FIRST, 0, FIRST_OF_VISIT)
