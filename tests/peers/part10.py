"""Where the data set starts in a DICOM file, found without any parser of ours (PS3.10 7.1)."""

from __future__ import annotations

import struct


def data_set_bytes(file: bytes) -> bytes:
    """The bytes after preamble, prefix and file meta group: what must arrive unchanged.

    The group length (0002,0000) is optional in files of the wild, so the elements of group 0002
    (always explicit VR little endian) are walked.
    """
    assert file[128:132] == b"DICM", "no DICOM prefix"
    position = 132
    while struct.unpack_from("<H", file, position)[0] == 0x0002:
        if file[position + 4 : position + 6] in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OD", b"OF", b"OL"}:
            position += 12 + struct.unpack_from("<I", file, position + 8)[0]
        else:
            position += 8 + struct.unpack_from("<H", file, position + 6)[0]
    return file[position:]
