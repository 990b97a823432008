"""File meta information written by us is read by others, and theirs by us."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from channels.transport.file_meta import HEAD, announced_uids, encode_file_meta
from engine.model import IMPLEMENTATION_CLASS_UID

WRITTEN = encode_file_meta(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    sop_instance_uid="1.2.3",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling_ae_title="STM_PACS",
    called_ae_title="PONS",
)


def test_another_reader_finds_what_was_written() -> None:
    meta = pydicom.dcmread(BytesIO(WRITTEN)).file_meta
    assert meta.FileMetaInformationGroupLength == len(WRITTEN) - 144
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == "STM_PACS"
    assert meta.SendingApplicationEntityTitle == "STM_PACS"
    assert meta.ReceivingApplicationEntityTitle == "PONS"


def test_the_implementation_class_uid_is_derived() -> None:
    assert IMPLEMENTATION_CLASS_UID == "2.25.194869494183199190226950793150607986376", "it never changes"


def test_announced_uids_are_those_of_the_file_meta() -> None:
    assert announced_uids(WRITTEN) == ("1.2.840.10008.5.1.4.1.1.4", "1.2.3")


def test_announced_uids_of_files_in_the_wild() -> None:
    for path in (Path(pydicom.__file__).parent / "data/test_files").glob("MR_small*.dcm"):
        meta = pydicom.dcmread(path).file_meta
        head = path.read_bytes()[:HEAD]
        assert announced_uids(head) == (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0" * 132,
        WRITTEN[:150],
        WRITTEN[:158],
        b"\0" * 128 + b"DICM" + b"\x02\0\0\0OB\0\0\xff\xff\xff\xff",
    ],
    ids=["empty", "no prefix", "cut in the first element", "cut after it", "endless element"],
)
def test_what_announces_nothing_gives_nothing(head: bytes) -> None:
    assert announced_uids(head) == ("", "")


def test_a_malformed_uid_is_not_repeated() -> None:
    assert announced_uids(WRITTEN.replace(b"1.2.3\0", b"1<2>3\0"))[1] == ""
