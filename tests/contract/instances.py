"""DICOM files made by hand, byte by byte, so that nothing of ours decides what is in them."""

from __future__ import annotations

import struct
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from engine.model import Part

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
EXPLICIT, IMPLICIT, JPEG_2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit VR little endian."""
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sxxI", group, number, vr, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def ui(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def data_set(sop_instance_uid: str, sop_class_uid: str = MR, tail: bytes = b"") -> bytes:
    """A short data set; what a parser would tidy is in it on purpose: group length, odd padding, private."""
    return b"".join(
        (
            element(0x0008, 0x0000, b"UL", struct.pack("<I", 1234)),  # retired group length, and wrong
            element(0x0008, 0x0016, b"UI", ui(sop_class_uid)),
            element(0x0008, 0x0018, b"UI", ui(sop_instance_uid)),
            element(0x0009, 0x0010, b"LO", b"ACME 1.1"),
            element(0x0009, 0x1001, b"UN", b"\x01\x02\x03\x04"),
            element(0x0010, 0x0010, b"PN", b"Doe^Jane  "),  # padded more than needed
            element(0x0020, 0x000D, b"UI", b"1.2.3\0"),
            element(0x0020, 0x000E, b"UI", b"1.2.3.4\0"),
            tail,
            element(0xFFFC, 0xFFFC, b"OB", b"\0" * 8),  # trailing padding
        )
    )


def file(
    sop_instance_uid: str,
    sop_class_uid: str = MR,
    transfer_syntax_uid: str = EXPLICIT,
    body: bytes | None = None,
) -> bytes:
    """A DICOM file around a data set."""
    meta = b"".join(
        (
            element(2, 0x0001, b"OB", b"\0\1"),
            element(2, 0x0002, b"UI", ui(sop_class_uid)),
            element(2, 0x0003, b"UI", ui(sop_instance_uid)),
            element(2, 0x0010, b"UI", ui(transfer_syntax_uid)),
            element(2, 0x0012, b"UI", ui("1.2.826.0.1")),
        )
    )
    head = b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    return head + (data_set(sop_instance_uid, sop_class_uid) if body is None else body)


def part(number: int = 1, **facts: str) -> Part:
    """A part with the SOP Instance UID 1.2.3.4.``number``."""
    uid = f"1.2.3.4.{number}"
    return Part(uid, "application/dicom", file(uid, **facts))


def report(sop_instance_uid: str = "1.2.3.9.1") -> Part:
    """A small structured report with a sequence, written by pydicom."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(ENHANCED_SR)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = UID(ENHANCED_SR), UID(sop_instance_uid)
    made.StudyInstanceUID, made.SeriesInstanceUID = UID("1.2.3"), UID("1.2.3.4")
    made.Modality, made.ValueType, made.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "fine"
    made.ContentSequence = [item]
    stream = BytesIO()
    dcmwrite(stream, made, enforce_file_format=True)
    return Part(sop_instance_uid, "application/dicom", stream.getvalue())
