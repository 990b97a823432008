"""A data set in another transfer syntax, without loss, for a peer that does not take the one it is filed in.

Enter: an instance and an uncompressed transfer syntax. Leave: the encoded data set, its SOP Instance UID
kept, for its pixels are the same (PS3.5 10). Only what decodes without loss is decoded: RLE, JPEG lossless,
JPEG-LS lossless, JPEG 2000 lossless, deflated. Lossy images go as they are or not at all: decoded they would
be ten times as large, and no receiver could tell from their encoding what they have been through.
"""

from __future__ import annotations

import io
import logging
import tempfile
import zlib
from enum import Enum
from typing import BinaryIO

from channels.transport.instance_file import CHUNK, InstanceFile
from engine.errors import Refused

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_TARGETS = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_LOSSLESS = frozenset(
    {
        "1.2.840.10008.1.2.2",  # explicit VR big endian
        _DEFLATED,
        "1.2.840.10008.1.2.5",  # RLE
        "1.2.840.10008.1.2.4.57",  # JPEG lossless
        "1.2.840.10008.1.2.4.70",  # JPEG lossless, selection value 1
        "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
        "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
        "1.2.840.10008.1.2.4.202",
    }
)
LARGEST = 256 << 20  # bytes of pixels, or of an inflated data set: it is in memory, twice for a moment
_SPOOLED = 16 << 20  # bytes of an inflated data set that stay in memory


class Encoding(Enum):
    """How far an instance may be encoded anew."""

    AS_FILED = "as filed"
    VALUE_REPRESENTATION = "between implicit and explicit VR"  # our own small objects
    LOSSLESS = "in any way that loses nothing"


def syntaxes(file: InstanceFile, encoding: Encoding) -> list[str]:
    """Transfer syntaxes in which an instance may travel, the one that costs nothing first."""
    return [file.transfer_syntax_uid, *alternatives(file.transfer_syntax_uid, encoding)]


def alternatives(own: str, encoding: Encoding) -> list[str]:
    """Transfer syntaxes in which what is filed in another may be encoded anew."""
    is_plain = own in _TARGETS
    may = encoding is not Encoding.AS_FILED and is_plain
    if may or (encoding is Encoding.LOSSLESS and own in _LOSSLESS):
        return [syntax for syntax in _TARGETS if syntax != own]
    return []


def opened(file: InstanceFile, transfer_syntax_uid: str) -> tuple[BinaryIO, int]:
    """The data set in a transfer syntax of `syntaxes`, from its first byte, and its length. Blocks.

    Raises:
        Refused: it cannot be encoded so, and why.
        OSError: it cannot be read.
    """
    if transfer_syntax_uid == file.transfer_syntax_uid:
        return file.open(), file.size - file.offset
    if (file.transfer_syntax_uid, transfer_syntax_uid) == (_DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN):
        return _inflated(file)
    encoded = _reencoded(file, transfer_syntax_uid)
    return io.BytesIO(encoded), len(encoded)


def _inflated(file: InstanceFile) -> tuple[BinaryIO, int]:
    """The very bytes that were deflated (PS3.5 A.5)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    whole = tempfile.SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115  closed by who gets it
    try:
        with file.open() as source:
            while not inflater.eof and (chunk := inflater.unconsumed_tail or source.read(CHUNK)):
                whole.write(inflater.decompress(chunk, CHUNK))
                if whole.tell() > LARGEST:
                    raise _refused(file, f"inflated it has more than {LARGEST >> 20} MB")
        if not inflater.eof:
            raise _refused(file, "its deflated data set has no end")
        size = whole.tell()
        whole.seek(0)
    except zlib.error as error:
        whole.close()
        raise _refused(file, "its deflated data set is damaged") from error
    except BaseException:
        whole.close()
        raise
    return whole, size  # type: ignore[return-value]  # a BinaryIO in all but name


def _reencoded(file: InstanceFile, transfer_syntax_uid: str) -> bytes:
    from pydicom import dcmread  # late: it takes 150 ms
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID
    from pynetdicom.dsutils import encode

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it logs a traceback where it raises one
    syntax, own = UID(transfer_syntax_uid), UID(file.transfer_syntax_uid)
    if not own.is_encapsulated and file.size > LARGEST:
        raise _refused(file, f"it has more than {LARGEST >> 20} MB")
    with file.source() as source:
        try:
            dataset = dcmread(source)
            if own.is_encapsulated and "PixelData" in dataset:
                if not get_decoder(own).is_available:
                    raise _refused(file, f"there is no decoder for {own.name} here")
                if _pixels(dataset) > LARGEST:
                    raise _refused(file, f"decoded its pixels have more than {LARGEST >> 20} MB")
                dataset.decompress(generate_instance_uid=False)
        except (OSError, Refused):
            raise
        except Exception as error:  # whatever a decoder makes of damaged pixels; its words may quote values
            raise _refused(file, f"{own.name} cannot be decoded: it is damaged") from error
    encoded = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian)
    if encoded is None:
        raise _refused(file, f"it cannot be encoded in {syntax.name}")
    return encoded


def _pixels(dataset: object) -> int:
    """Bytes of the decoded pixels, as the attributes announce them."""
    size = 1
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated"):
        size *= int(getattr(dataset, keyword, None) or 1)
    return size // 8


def _refused(file: InstanceFile, why: str) -> Refused:
    return Refused(
        f"instance {file.sop_instance_uid} cannot be sent in an encoding that the peer takes: {why}",
        code="encoding",
    )
