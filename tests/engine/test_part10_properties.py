"""What is read off a file in one pass is what pydicom reads, whatever the data set and its encoding."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from engine import part10
from engine.errors import Rejected

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
]

NUMERIC = {"AT", "DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"}
LETTERS = st.text("abcXYZ 019.^-äöÉñ", min_size=1, max_size=14).map(str.strip)
CODES = st.text("ABC_ 019", max_size=12).map(str.strip)
UIDS = st.lists(st.integers(0, 99999), min_size=2, max_size=6).map(lambda arcs: ".".join(map(str, arcs)))


def several(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(value, st.lists(value, min_size=2, max_size=4))


# One attribute of each VR that has a value, with values that are right for it.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "RetrieveAETitle": several(st.text("ABC_1", min_size=1, max_size=16)),
    "PatientAge": st.from_regex(r"0[0-9]{2}[DWMY]", fullmatch=True),
    "FrameIncrementPointer": several(st.integers(0x00080005, 0x7FE00010)),
    "ImageType": several(st.text("ABC_ 1", min_size=1, max_size=16).map(str.strip)),
    "StudyDate": st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0")),
    "SliceThickness": st.integers(-9999, 9999).map(lambda number: str(number / 8)),
    "PixelSpacing": st.lists(st.integers(1, 999).map(lambda n: str(n / 4)), min_size=2, max_size=2),
    "AcquisitionDateTime": st.datetimes().map(lambda at: f"{at:%Y%m%d%H%M%S}".rjust(14, "0")),
    "DiffusionBValue": st.floats(allow_nan=False, allow_infinity=False),
    "RecommendedDisplayFrameRateInFloat": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "InstanceNumber": st.integers(-(2**31), 2**31 - 1),
    "SeriesDescription": LETTERS,
    "AdditionalPatientHistory": st.text("ab\\ cÉ", max_size=40).map(str.strip),
    "PatientName": LETTERS,
    "AccessionNumber": CODES,
    "DisplayedAreaTopLeftHandCorner": st.lists(
        st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2
    ),
    "InstitutionAddress": LETTERS,
    "StudyTime": st.times().map(lambda at: f"{at:%H%M%S.%f}"),
    "LongCodeValue": CODES,
    "FrameOfReferenceUID": UIDS,
    "SimpleFrameList": several(st.integers(0, 2**32 - 1)),
    "Rows": st.integers(0, 65535),
    "TextValue": LETTERS,
    "RetrieveURL": st.just("https://pacs.example/studies/1"),
    "EncapsulatedDocument": st.binary(max_size=300),
    "PixelRepresentation": st.integers(0, 1),
}  # fmt: skip
NEVER_EMPTY = {"EncapsulatedDocument", "PixelRepresentation"}
SEQUENCES = ("ProcedureCodeSequence", "ReferencedImageSequence", "RequestAttributesSequence")

Elements = dict[str, Any]
elements = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=9).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: VALUES[name] if name in NEVER_EMPTY else st.one_of(VALUES[name], st.none()) for name in names}
    )
)
private = st.dictionaries(st.integers(0, 255), st.text("xyz1", min_size=1, max_size=8), max_size=3)


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """A data set without its identity, and two levels of sequences inside, of either kind of length."""
    dataset = Dataset()
    for keyword, value in draw(elements).items():
        setattr(dataset, keyword, value)
    if "PixelRepresentation" in dataset and depth == 2:
        dataset.SmallestImagePixelValue = draw(
            st.integers(-32768, 32767) if dataset.PixelRepresentation else st.integers(0, 65535)
        )
    if block := draw(private):
        creator = dataset.private_block(0x0029, "ACME 1.0", create=True)
        for element, text in block.items():
            creator.add_new(element, "LO", text)
    for keyword in draw(st.sets(st.sampled_from(SEQUENCES))) if depth else ():
        items = draw(st.lists(data_sets(depth - 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        setattr(dataset, keyword, Sequence(items))
        dataset[keyword].is_undefined_length = draw(st.booleans())
    return dataset


def as_file(dataset: Dataset, syntax: UID, repertoire: str) -> bytes:
    dataset.SpecificCharacterSet = repertoire
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def element(dataset: Dataset, keyword: str) -> DataElement | None:
    return dataset[keyword] if keyword in dataset else None  # noqa: SIM401 - `get` gives the value


def plain(element: DataElement | None) -> Any:
    """What `Header` promises for an element as pydicom has it."""
    if element is None:
        return None
    if element.VR == "SQ":
        return len(element.value)
    if element.VR in ("OB", "OW", "UN"):
        return len(element.value or b"")
    if element.VM > 1:
        return [_one(element.VR, value) for value in element.value]
    if element.value is None or str(element.value) == "":
        return None if element.VR in NUMERIC else ""
    return _one(element.VR, element.value)


def _one(vr: str, value: Any) -> Any:
    if vr in ("DS", "FD", "FL"):
        return float(value)
    if vr == "AT":
        return f"({int(value) >> 16:04X},{int(value) & 0xFFFF:04X})"
    return int(value) if vr in NUMERIC else str(value)


def along(dataset: Dataset, path: list[str]) -> list[Any]:
    """Every value along a path, from every item."""
    first, *rest = path
    if first not in dataset:
        return []
    if rest:
        return [value for item in dataset[first].value for value in along(item, rest)]
    value = plain(dataset[first])
    return value if isinstance(value, list) else [value]


PATHS = [
    *(f"{sequence}.{name}" for sequence in SEQUENCES for name in (*VALUES, "RequestAttributesSequence")),
    *(f"{outer}.{inner}.{name}" for outer in SEQUENCES for inner in SEQUENCES for name in VALUES),
]
FLAT = [*VALUES, "SmallestImagePixelValue", *SEQUENCES]
PRIVATE = {f'(0029,"ACME 1.0",{element:02X})': element for element in range(256)}


THOROUGH = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@THOROUGH
@given(
    dataset=data_sets(),
    syntax=st.sampled_from(SYNTAXES),
    repertoire=st.sampled_from(["ISO_IR 100", "ISO_IR 192"]),
)
def test_every_value_is_the_one_that_pydicom_reads(
    tmp_path: Path, dataset: Dataset, syntax: UID, repertoire: str
) -> None:
    path = tmp_path / "landed"
    path.write_bytes(as_file(dataset, syntax, repertoire))
    read = pydicom.dcmread(path)
    header = part10.inspect(path, (*FLAT, *PATHS, *PRIVATE))
    assert (header.sop_instance_uid, header.transfer_syntax_uid) == ("1.2.3.4", syntax)
    found = header.attributes
    assert {name: found[name] for name in FLAT} == {name: plain(element(read, name)) for name in FLAT}
    assert {name: found[name] for name in PATHS} == {
        name: along(read, name.split(".")) or None for name in PATHS
    }
    creator = read.private_block(0x0029, "ACME 1.0") if read.private_creators(0x0029) else None
    for name, number in PRIVATE.items():
        text = creator[number].value if creator is not None and number in creator else None
        assert found[name] == (text.decode().strip() if isinstance(text, bytes) else text)


@THOROUGH
@given(dataset=data_sets(), syntax=st.sampled_from(SYNTAXES), data=st.data())
def test_no_part_of_a_data_set_is_taken_for_the_whole(
    tmp_path: Path, dataset: Dataset, syntax: UID, data: st.DataObject
) -> None:
    """A cut is refused unless it falls between two elements of the top level, where nothing shows it."""
    content = as_file(dataset, syntax, "ISO_IR 192")
    cut = data.draw(st.integers(0, len(content) - 1))
    path = tmp_path / "landed"
    path.write_bytes(content[:cut])
    try:
        header = part10.inspect(path)
    except Rejected:
        return
    assert syntax != DeflatedExplicitVRLittleEndian
    left = pydicom.dcmread(BytesIO(content[:cut]), force=True)
    whole = pydicom.dcmread(BytesIO(content))
    assert header.sop_instance_uid == whole.SOPInstanceUID
    assert len(left) < len(whole)
    assert all(left[tag] == whole[tag] for tag in left.keys())  # noqa: SIM118 - iterating gives elements
