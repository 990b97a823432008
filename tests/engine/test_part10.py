"""A file is taken for whole only when it is, and what routing asks of it is read right."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from engine import element_source, part10
from engine.errors import Rejected, RejectedReason

NOT_DICOM, TRUNCATED = RejectedReason.NOT_DICOM, RejectedReason.TRUNCATED
INVALID_UID, SOP_MISMATCH = RejectedReason.INVALID_UID, RejectedReason.SOP_MISMATCH

BUNDLED = Path(pydicom.__file__).parent / "data"
BUNDLED_FILES = sorted(
    path
    for folder in ("test_files", "charset_files")
    for path in (BUNDLED / folder).rglob("*")
    if path.is_file()
)


def small(**elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3.4")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def with_uid(keyword: str, value: str) -> bytes:
    """A file with a UID that should never have been written."""
    with pydicom.config.disable_value_validation():
        return encoded(small(**{keyword: value}))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., part10.Header]:
    """A function that inspects bytes."""

    def inspect(content: bytes, *keywords: str) -> part10.Header:
        path = tmp_path / "landed"
        path.write_bytes(content)
        return part10.inspect(path, keywords)

    return inspect


@pytest.fixture(scope="session")
def one_real_file(real_study: Path) -> Path:
    return min(real_study.iterdir())


def test_a_real_file_tells_what_it_is(one_real_file: Path) -> None:
    keywords = (
        "Modality",
        "ImageType",
        "EchoTime",
        "Rows",
        "PixelSpacing",
        "AccessionNumberX"[:-1],
        "PixelData",
    )
    header = part10.inspect(one_real_file, keywords)
    read = pydicom.dcmread(one_real_file)
    assert header.sop_class_uid == read.SOPClassUID
    assert header.sop_instance_uid == read.SOPInstanceUID
    assert header.study_instance_uid == read.StudyInstanceUID
    assert header.series_instance_uid == read.SeriesInstanceUID
    assert header.transfer_syntax_uid == read.file_meta.TransferSyntaxUID
    assert set(header.attributes) == set(keywords)
    assert header.attributes["Modality"] == "MR"
    assert header.attributes["ImageType"] == list(read.ImageType)
    assert header.attributes["EchoTime"] == float(read.EchoTime)
    assert header.attributes["Rows"] == read.Rows
    assert header.attributes["PixelSpacing"] == [float(value) for value in read.PixelSpacing]
    assert header.attributes["PixelData"] == len(read.PixelData)


# What a sender may hand over, and why it is refused.
BROKEN: list[tuple[str, Callable[[], bytes], RejectedReason, str]] = [
    ("zero bytes", lambda: b"", NOT_DICOM, "empty"),
    ("garbage", lambda: b"\x89PNG" * 500, NOT_DICOM, "no preamble"),
    ("no file meta, only a data set", lambda: encoded(small())[324:], NOT_DICOM, "no preamble"),
    ("ends after the prefix", lambda: bytes(128) + b"DICM", NOT_DICOM, "no file meta"),
    ("garbage after it", lambda: bytes(128) + b"DICM" + b"\x55" * 99, NOT_DICOM, "no file meta"),
    ("ends inside the file meta", lambda: encoded(small())[:200], TRUNCATED, "ends inside"),
    ("ends inside an element", lambda: encoded(small(PatientComments="x" * 99))[:-9], TRUNCATED, "at byte"),
    ("an image without pixels", lambda: encoded(small(BitsAllocated=16)), TRUNCATED, "pixel data"),
    ("no study UID", lambda: encoded(small(StudyInstanceUID=None)), INVALID_UID, "no Study"),
    ("empty study UID", lambda: encoded(small(StudyInstanceUID="")), INVALID_UID, "no Study"),
    ("no series UID", lambda: encoded(small(SeriesInstanceUID=None)), INVALID_UID, "no Series"),
    ("no SOP class", lambda: encoded(small(SOPClassUID=None)), INVALID_UID, "no SOPClassUID"),
    ("no SOP instance UID", lambda: encoded(small(SOPInstanceUID=None)), INVALID_UID, "no SOPInstance"),
    ("65 characters", lambda: with_uid("StudyInstanceUID", "1." + "2" * 63), INVALID_UID, "65 characters"),
    ("a letter", lambda: with_uid("StudyInstanceUID", "1.2.x.4"), INVALID_UID, "digits and dots"),
    ("a path", lambda: with_uid("SeriesInstanceUID", "../../etc"), INVALID_UID, "digits and dots"),
    ("two UIDs", lambda: with_uid("StudyInstanceUID", "1.2\\1.3"), INVALID_UID, "more than one"),
    (
        "meta of another instance",
        lambda: encoded(small()).replace(b"1.2.3.4\0", b"1.2.3.5\0", 1),
        SOP_MISMATCH,
        "SOP Instance UID",
    ),
    (
        "meta of another class",
        lambda: encoded(small()).replace(b"1.1.4\0", b"1.1.2\0", 1),
        SOP_MISMATCH,
        "SOP Class UID",
    ),
    (
        "no transfer syntax",
        lambda: encoded(small()).replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI"),
        NOT_DICOM,
        "transfer syntax",
    ),
    (
        "deflated, but not really",
        lambda: encoded(small(), DeflatedExplicitVRLittleEndian)[:-30] + b"\xff" * 30,
        NOT_DICOM,
        "inflated",
    ),
    (
        "a deflated data set cut short",
        lambda: encoded(small(), DeflatedExplicitVRLittleEndian)[:-10],
        TRUNCATED,
        "ends too early",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_broken_file_is_refused_with_its_reason(
    look: Callable[..., part10.Header], content: Callable[[], bytes], reason: RejectedReason, says: str
) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        look(content())
    assert refused.value.reason is reason


def test_leading_zeros_in_a_uid_are_forgiven(look: Callable[..., part10.Header]) -> None:
    assert look(with_uid("StudyInstanceUID", "1.2.003.4")).study_instance_uid == "1.2.003.4"


def test_a_file_cut_short_is_never_taken_for_a_whole_one(one_real_file: Path, tmp_path: Path) -> None:
    """Everywhere inside an element; between two elements as soon as it is known to be an image."""
    content = one_real_file.read_bytes()
    read = pydicom.dcmread(one_real_file, defer_size=1)
    ends = {
        element.value_tell + element.length for element in read.elements() if hasattr(element, "value_tell")
    }
    pixels_announced = read["BitsAllocated"].file_tell
    cuts = {*range(0, len(content), 173), *(end + 3 for end in ends), *(end - 1 for end in ends)} - ends
    cuts |= {end for end in ends if end > pixels_announced}
    path = tmp_path / "cut"
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(Rejected):
            part10.inspect(path)
    assert len(cuts) > 500


@pytest.mark.parametrize("path", BUNDLED_FILES, ids=lambda path: path.name)
def test_odd_files_are_read_as_they_are_or_refused(path: Path) -> None:
    keywords = ("PatientName", "Modality", "Rows", "StudyDate", "PixelData", "ContentSequence.ValueType")
    try:
        header = part10.inspect(path, keywords)
    except Rejected:
        return
    assert set(header.attributes) == set(keywords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other reader complains of what both tolerate
        read = pydicom.dcmread(path)
    assert header.study_instance_uid == read.StudyInstanceUID
    assert header.attributes["Rows"] == read.get("Rows")
    assert header.attributes["Modality"] == read.get("Modality")


# Reasons that matter are named; the rest of the bundle is covered above.
NAMED = [
    ("MR_truncated.dcm", TRUNCATED),
    ("rtplan_truncated.dcm", TRUNCATED),
    ("no_meta.dcm", NOT_DICOM),
    ("meta_missing_tsyntax.dcm", NOT_DICOM),
    ("DICOMDIR-empty.dcm", INVALID_UID),
    ("rtdose.dcm", SOP_MISMATCH),
]


@pytest.mark.parametrize(("name", "reason"), NAMED)
def test_bundled_broken_files_have_their_reason(name: str, reason: RejectedReason) -> None:
    (path,) = (path for path in BUNDLED_FILES if path.name == name)
    with pytest.raises(Rejected) as refused:
        part10.inspect(path)
    assert refused.value.reason is reason


# Transfer syntaxes by how their data set is encoded; every one of them is whole.
SYNTAXES = [
    ("MR_small_implicit.dcm", "1.2.840.10008.1.2"),
    ("MR_small.dcm", "1.2.840.10008.1.2.1"),
    ("MR_small_bigendian.dcm", "1.2.840.10008.1.2.2"),
    ("image_dfl.dcm", "1.2.840.10008.1.2.1.99"),
    ("MR_small_RLE.dcm", "1.2.840.10008.1.2.5"),
    ("MR_small_jpeg_ls_lossless.dcm", "1.2.840.10008.1.2.4.80"),
    ("693_J2KI.dcm", "1.2.840.10008.1.2.4.91"),
    ("JPEG2000-embedded-sequence-delimiter.dcm", "1.2.840.10008.1.2.4.91"),
    ("SC_rgb_jpeg_gdcm.dcm", "1.2.840.10008.1.2.4.70"),
]


@pytest.mark.parametrize(("name", "transfer_syntax_uid"), SYNTAXES)
def test_every_encoding_is_followed_to_its_end(name: str, transfer_syntax_uid: str) -> None:
    (path,) = (path for path in BUNDLED_FILES if path.name == name)
    header = part10.inspect(path, ["PixelData"])
    assert header.transfer_syntax_uid == transfer_syntax_uid
    assert header.attributes["PixelData"] > 0


# The example names of PS3.5 H, I, J, K, in the files of the character set bundle.
NAMES = [
    ("chrArab.dcm", "قباني^لنزار"),
    ("chrFren.dcm", "Buc^Jérôme"),
    ("chrFrenMulti.dcm", "Buc^Jérôme"),
    ("chrGerm.dcm", "Äneas^Rüdiger"),
    ("chrGreek.dcm", "Διονυσιος"),
    ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("chrHbrw.dcm", "שרון^דבורה"),
    ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("chrRuss.dcm", "Люкceмбypг"),
    ("chrX1.dcm", "Wang^XiaoDong=王^小東="),
    ("chrX2.dcm", "Wang^XiaoDong=王^小东="),
]


@pytest.mark.parametrize(("name", "patient_name"), NAMES)
def test_character_sets_become_unicode(name: str, patient_name: str) -> None:
    (path,) = (path for path in BUNDLED_FILES if path.name == name)
    assert part10.inspect(path, ["PatientName"]).attributes["PatientName"] == patient_name


def test_an_item_may_have_a_character_set_of_its_own(look: Callable[..., part10.Header]) -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 144"
    item.CodeMeaning = "Мозг"
    dataset = small(SpecificCharacterSet="ISO_IR 192", PatientName="Ærø^Åse", ProcedureCodeSequence=[item])
    header = look(encoded(dataset), "PatientName", "ProcedureCodeSequence.CodeMeaning")
    assert header.attributes == {"PatientName": "Ærø^Åse", "ProcedureCodeSequence.CodeMeaning": ["Мозг"]}


@pytest.mark.parametrize("undefined", [False, True], ids=["defined length", "undefined length"])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_a_path_collects_from_every_item(
    look: Callable[..., part10.Header], undefined: bool, syntax: UID
) -> None:
    items = []
    for value in ("A", "B"):
        code = Dataset()
        code.CodeValue = value
        item = Dataset()
        item.RequestedProcedureCodeSequence = [code]
        items.append(item)
    dataset = small(RequestAttributesSequence=Sequence(items))
    dataset["RequestAttributesSequence"].is_undefined_length = undefined
    deep = "RequestAttributesSequence.RequestedProcedureCodeSequence.CodeValue"
    header = look(
        encoded(dataset, syntax), deep, "RequestAttributesSequence", "ProcedureCodeSequence.CodeValue"
    )
    assert header.attributes == {
        deep: ["A", "B"],
        "RequestAttributesSequence": 2,  # present, with so many items
        "ProcedureCodeSequence.CodeValue": None,
    }


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_private_elements_are_read_by_their_creator(look: Callable[..., part10.Header], syntax: UID) -> None:
    dataset = small()
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    header = look(encoded(dataset, syntax), "(0019,100C)", "(0019,0010)", "(0019,110C)")
    assert header.attributes["(0019,0010)"] == "SIEMENS MR HEADER"
    assert header.attributes["(0019,100C)"] == 1000
    assert header.attributes["(0019,110C)"] is None


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_a_private_element_is_found_by_its_creator_in_whichever_block(
    look: Callable[..., part10.Header], syntax: UID
) -> None:
    dataset = small()
    for creator in ("FIRST COME, FIRST SERVED 1.0", "SIEMENS MR HEADER"):
        block = dataset.private_block(0x0019, creator, create=True)
        block.add_new(0x0C, "IS", "1000" if creator.startswith("SIEMENS") else "7")
    asked = '(0019,"SIEMENS MR HEADER",0C)'
    header = look(encoded(dataset, syntax), asked, '(0019,"GEMS_ACQU_01",0C)', "(0019,110C)", "(0019,000C)")
    assert header.attributes == {
        asked: 1000,
        '(0019,"GEMS_ACQU_01",0C)': None,
        "(0019,110C)": 1000,
        "(0019,000C)": None,
    }


def test_an_item_has_blocks_of_its_own(look: Callable[..., part10.Header]) -> None:
    """The creator that counts is the one in the item (PS3.5 7.8.1), on every step of a path."""
    inner = Dataset()
    inner.private_block(0x0029, "ACME 1.1, INNER", create=True).add_new(0x05, "LO", "deep")
    item = Dataset()
    item.private_block(0x0029, "SOMEBODY ELSE", create=True).add_new(0x01, "LO", "wrong")
    item.private_block(0x0029, "ACME 1.1", create=True).add_new(0x01, "SQ", Sequence([inner]))
    dataset = small(ReferencedImageSequence=Sequence([item]))
    dataset.private_block(0x0029, "ACME 1.1, INNER", create=True).add_new(0x05, "LO", "outside")
    path = 'ReferencedImageSequence.(0029,"ACME 1.1",01).(0029,"ACME 1.1, INNER",05)'
    outside = '(0029,"ACME 1.1, INNER",05)'
    assert look(encoded(dataset), path, outside).attributes == {path: ["deep"], outside: "outside"}


def test_a_sequence_written_as_un_is_read_by_creator_too(look: Callable[..., part10.Header]) -> None:
    """Its items are implicit VR little endian (PS3.5 6.2.2 note 2)."""

    def implicit(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value

    item = implicit(0x00290010, b"ACME") + implicit(0x00291001, b"found ")
    items = implicit(0xFFFEE000, item)
    element = struct.pack("<HH2s2xI", 0x0029, 0x1120, b"UN", 0xFFFFFFFF) + items + implicit(0xFFFEE0DD, b"")
    creator = struct.pack("<HH2sH", 0x0029, 0x0011, b"LO", 4) + b"ACME"
    path = '(0029,"ACME",20).(0029,"ACME",01)'
    assert look(encoded(small()) + creator + element, path).attributes == {path: ["found"]}


def test_a_private_value_of_no_known_representation_is_text_or_nothing_comparable(
    look: Callable[..., part10.Header],
) -> None:
    dataset = small()
    block = dataset.private_block(0x0029, "NOBODY KNOWS", create=True)
    for element, value in ((0x01, b"1000 "), (0x02, b"A\\B "), (0x03, b"\x03\x00"), (0x04, b"")):
        block.add_new(element, "UN", value)
    names = [f'(0029,"NOBODY KNOWS",0{element})' for element in range(1, 5)]
    assert list(look(encoded(dataset), *names).attributes.values()) == ["1000", ["A", "B"], "(2 bytes)", ""]


CREATORS = st.text("ABC .,()-_/1", min_size=1, max_size=20).filter(lambda text: text == text.strip(" "))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.dictionaries(
        st.tuples(st.sampled_from([0x0009, 0x0019, 0x2001]), CREATORS),
        st.dictionaries(st.integers(0, 255), st.text("xyz1", min_size=1, max_size=8), max_size=4),
        max_size=6,
    ),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
)
def test_creators_are_followed_as_pydicom_follows_them(
    tmp_path: Path, written: dict[tuple[int, str], dict[int, str]], syntax: UID
) -> None:
    dataset = small()
    for (group, creator), elements in written.items():
        block = dataset.private_block(group, creator, create=True)
        for element, value in elements.items():
            block.add_new(element, "LO", value)
    path = tmp_path / "landed"
    path.write_bytes(encoded(dataset, syntax))
    asked = {
        f'({group:04X},"{creator}",{element:02X})': (group, creator, element)
        for group, creator in written
        for element in (*written[group, creator], 0x77)
    }
    read = pydicom.dcmread(path)
    expected = {}
    for name, (group, creator, element) in asked.items():
        block = read.private_block(group, creator)
        read_value = block[element].value if element in block else None
        expected[name] = read_value.decode().strip() if isinstance(read_value, bytes) else read_value
    assert part10.inspect(path, asked).attributes == expected


def test_values_are_plain(look: Callable[..., part10.Header]) -> None:
    """A number is a number, what claims to be one and is not stays text, empty is empty."""
    dataset = small(
        EchoTime="52.5", EchoNumbers="3", PatientID="", PatientWeight=None or "", PixelRepresentation=1
    )
    dataset.add_new(0x00280106, "SS", -5)
    dataset.add_new(0x00080301, "LO", ["a", "b"])
    content = encoded(dataset).replace(b"52.5", b"fast")
    keywords = (
        "EchoTime",
        "EchoNumbers",
        "PatientID",
        "PatientWeight",
        "SmallestImagePixelValue",
        "(0008,0301)",
    )
    assert look(content, *keywords).attributes == {
        "EchoTime": "fast",
        "EchoNumbers": 3,
        "PatientID": "",
        "PatientWeight": None,
        "SmallestImagePixelValue": -5,
        "(0008,0301)": ["a", "b"],
    }


def test_a_keyword_that_is_none_is_a_programming_error(look: Callable[..., part10.Header]) -> None:
    with pytest.raises(ValueError, match="no DICOM attribute 'PatientsName'"):
        look(encoded(small()), "PatientsName")


def test_implicit_elements_under_an_explicit_transfer_syntax_are_read(
    look: Callable[..., part10.Header],
) -> None:
    content = encoded(small(Modality="MR"), ImplicitVRLittleEndian)
    meta = content.replace(b"1.2.840.10008.1.2\0", b"1.3.12.2.1107.5.8\0", 1)  # private, taken for explicit
    assert len(meta) == len(content)
    header = look(meta, "Modality")
    assert header.transfer_syntax_uid == "1.3.12.2.1107.5.8"
    assert header.attributes["Modality"] == "MR"


def test_zeros_that_fill_the_last_block_are_no_damage(look: Callable[..., part10.Header]) -> None:
    content = encoded(small(Modality="MR"))
    for padding in (1, 7, 8, 9000):
        assert look(content + bytes(padding)).sop_instance_uid == "1.2.3.4"
    with pytest.raises(Rejected, match="zeros"):
        look(content + bytes(100) + b"x" * 100)


def test_sequences_without_end_are_refused(look: Callable[..., part10.Header]) -> None:
    nested = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(Rejected, match="nested more than 100 deep"):
        look(encoded(small()) + nested * 200)


def test_a_deflate_bomb_is_stopped(
    look: Callable[..., part10.Header], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(element_source, "_MAX_INFLATED", 1 << 22)
    content = encoded(small(), DeflatedExplicitVRLittleEndian)
    start = content.index(b"1.2.840.10008.1.2.1.99")
    body = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 1 << 30) + bytes(1 << 24)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(body) + deflate.flush()
    meta_end = 144 + int.from_bytes(content[140:144], "little")
    assert start < meta_end
    with pytest.raises(Rejected) as refused:
        look(content[:meta_end] + packed)
    assert refused.value.reason is RejectedReason.TOO_LARGE


def test_a_gigabyte_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(
        encoded(small(BitsAllocated=16)) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 1 << 30)
    )
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (1 << 30))  # sparse
    tracemalloc.start()
    try:
        header = part10.inspect(path, ["PixelData"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert header.attributes["PixelData"] == 1 << 30
    assert peak < 1 << 20


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, at: list[tuple[int, int]]) -> None:
    (original,) = (path for path in BUNDLED_FILES if path.name == "MR_small.dcm")
    content = bytearray(original.read_bytes())
    for offset, value in at:
        content[offset] = value
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        header = part10.inspect(path, ["PatientName", "Rows", "ImageType"])
    except Rejected:
        return
    assert len(header.study_instance_uid) <= 64
