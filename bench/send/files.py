"""What is sent, as files: the objects of `bench.intake.objects` in DICOM files, one folder an association.

Enter: a kind, how many associations and how many on each. Leave: folders that every sender reads; they are
written once for a measurement and read from the page cache.
"""

from __future__ import annotations

from pathlib import Path

from bench.intake.__main__ import Load
from bench.intake.objects import KINDS, Kind, head, sop_instance_uid
from bench.intake.sender import EXPLICIT, PIXELS
from channels.transport.file_meta import encode_file_meta


def write(folder: Path, load: Load) -> list[Path]:
    """The folder of each association, written."""
    kind = KINDS[load.kind]
    folders = [folder / str(number) for number in range(load.associations)]
    for sender, made in enumerate(folders):
        made.mkdir(parents=True)
        for number in range(load.each):
            _write(made / f"{number:05}.dcm", kind, sender, number)
    return folders


def _write(path: Path, kind: Kind, sender: int, number: int) -> None:
    with path.open("wb") as file:
        file.write(
            encode_file_meta(
                sop_class_uid=kind.sop_class_uid,
                sop_instance_uid=sop_instance_uid(kind, 0, sender, number),
                transfer_syntax_uid=EXPLICIT,
                calling_ae_title="BENCH",
                called_ae_title="BENCH",
            )
        )
        file.write(head(kind, 0, sender, number))
        whole, rest = divmod(kind.pixels, len(PIXELS))
        for _ in range(whole):
            file.write(PIXELS)
        file.write(PIXELS[:rest])
