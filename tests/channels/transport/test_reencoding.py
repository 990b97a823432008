"""Another transfer syntax for a peer that takes no other: nothing is lost, nothing lossy is touched."""

from __future__ import annotations

import asyncio
import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode

from channels.transport import reencoding
from channels.transport.association import Peer, store
from channels.transport.instance_file import InstanceFile
from channels.transport.reencoding import Encoding, alternatives, opened
from engine.errors import Refused
from engine.model import Part
from tests.contract import instances
from tests.contract.instances import EXPLICIT, IMPLICIT
from tests.contract.scp import STORAGE, Scp, serving
from tests.peers.dcmtk import Storescp
from tests.peers.process import binary

CT = "1.2.840.10008.5.1.4.1.1.2"
LOSSLESS = ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]
LOSSY = ["SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "JPEG2000.dcm"]


def sample(name: str) -> Path:
    """A file that comes with pydicom."""
    path = get_testdata_file(name)
    assert isinstance(path, str), name
    return Path(path)


def part(path: Path) -> Part:
    return Part(InstanceFile.read(path).sop_instance_uid, "application/dicom", path)


async def sent_to(scp: Scp, path: Path) -> Dataset:
    """What a peer got of a file."""
    peer = Peer("127.0.0.1", scp.port, "PEER", "PONS", timeout=30)
    with serving(scp):
        await store(peer, [part(path)], encoding=Encoding.LOSSLESS)
    [stored] = scp.stored
    syntax = UID(stored.transfer_syntax_uid)
    return decode(BytesIO(stored.data_set), syntax.is_implicit_VR, syntax.is_little_endian)


@pytest.mark.parametrize("taken", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("name", LOSSLESS)
async def test_every_pixel_arrives_and_the_instance_stays_itself(name: str, taken: str) -> None:
    source, uncompressed = dcmread(sample(name)), dcmread(sample("MR_small.dcm"))

    received = await sent_to(Scp(transfer_syntaxes=[taken]), sample(name))

    assert received.PixelData == uncompressed.PixelData
    assert received.SOPInstanceUID == source.SOPInstanceUID
    rest = [tag for tag in source if tag.keyword != "PixelData"]
    assert [received[element.tag].value for element in rest] == [element.value for element in rest]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "program"), [("MR_small_RLE.dcm", "dcmdrle"), ("MR_small_jpeg_ls_lossless.dcm", "dcmdjpls")]
)
async def test_dcmtk_decodes_the_same_pixels(
    name: str, program: str, tmp_path: Path, storescp: Callable[..., Storescp]
) -> None:
    theirs = tmp_path / "theirs.dcm"
    argv = [binary(program, "dcmtk"), str(sample(name)), str(theirs)]
    await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
    scp = storescp("PEER", options=("+x=",))  # uncompressed alone

    await store(Peer("127.0.0.1", scp.port, "PEER", "PONS"), [part(sample(name))], encoding=Encoding.LOSSLESS)

    [ours] = scp.wait_for_files(1)
    assert dcmread(ours).PixelData == dcmread(theirs).PixelData


async def test_a_colour_image_is_decoded_to_what_it_shows(tmp_path: Path) -> None:
    source = dcmread(sample("SC_rgb_rle.dcm"))

    received = await sent_to(Scp(transfer_syntaxes=[EXPLICIT]), sample("SC_rgb_rle.dcm"))

    assert received.PhotometricInterpretation == source.PhotometricInterpretation
    received.file_meta = dcmread(sample("MR_small.dcm")).file_meta
    assert (received.pixel_array == source.pixel_array).all()


async def test_a_deflated_data_set_is_inflated_byte_for_byte() -> None:
    path = sample("image_dfl.dcm")
    file = InstanceFile.read(path)
    inflated = zlib.decompress(path.read_bytes()[file.offset :], -zlib.MAX_WBITS)

    with serving(Scp(sop_classes=[file.sop_class_uid], transfer_syntaxes=[EXPLICIT])) as scp:
        await store(Peer("127.0.0.1", scp.port, "PEER", "PONS"), [part(path)], encoding=Encoding.LOSSLESS)

    assert [each.data_set for each in scp.stored] == [inflated]


@pytest.mark.parametrize("name", LOSSY)
async def test_a_lossy_image_goes_as_it_is_or_not_at_all(name: str) -> None:
    file = InstanceFile.read(sample(name))
    peers = [
        Scp(sop_classes=[file.sop_class_uid], transfer_syntaxes=[EXPLICIT]),
        Scp(sop_classes=[file.sop_class_uid], transfer_syntaxes=[EXPLICIT, file.transfer_syntax_uid]),
    ]
    refusing, taking = peers

    with serving(refusing), pytest.raises(Refused, match="the peer must be configured to store it"):
        await store(
            Peer("127.0.0.1", refusing.port, "PEER", "PONS"),
            [part(sample(name))],
            encoding=Encoding.LOSSLESS,
        )
    await sent_to(taking, sample(name))

    assert refusing.requests == []
    assert [each.transfer_syntax_uid for each in taking.stored] == [file.transfer_syntax_uid]


async def test_nothing_is_decoded_for_a_peer_that_takes_it_as_it_is() -> None:
    path = sample("MR_small_RLE.dcm")
    scp = Scp(transfer_syntaxes=[EXPLICIT, IMPLICIT, InstanceFile.read(path).transfer_syntax_uid])

    await sent_to(scp, path)

    [stored] = scp.stored
    assert stored.data_set == path.read_bytes()[InstanceFile.read(path).offset :]


async def test_what_cannot_be_decoded_is_refused_with_the_reason_and_the_others_arrive(
    tmp_path: Path,
) -> None:
    damaged = dcmread(sample("MR_small_RLE.dcm"))
    damaged.PixelData = damaged.PixelData[:40] + b"\xff" * 40
    damaged.SOPInstanceUID = damaged.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    path = tmp_path / "damaged.dcm"
    dcmwrite(path, damaged)
    with serving(Scp(transfer_syntaxes=[EXPLICIT])) as scp, pytest.raises(Refused) as caught:
        await store(
            Peer("127.0.0.1", scp.port, "PEER", "PONS"),
            [part(path), part(sample("MR_small_RLE.dcm"))],
            encoding=Encoding.LOSSLESS,
        )

    assert "RLE Lossless cannot be decoded: it is damaged" in str(caught.value)
    assert (caught.value.code, len(scp.stored)) == ("encoding", 1)


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "image_dfl.dcm", "MR_small.dcm"])
def test_what_is_too_large_to_be_held_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencoding, "LARGEST", 1000)
    file = InstanceFile.read(sample(name))

    with pytest.raises(Refused, match="more than 0 MB"):
        opened(file, EXPLICIT if file.transfer_syntax_uid != EXPLICIT else IMPLICIT)


def test_where_there_is_no_decoder_it_says_so() -> None:
    file = InstanceFile.read(sample("SC_rgb_jpeg_gdcm.dcm"))
    assert file.transfer_syntax_uid == "1.2.840.10008.1.2.4.70"

    with pytest.raises(Refused, match="there is no decoder for JPEG Lossless"):
        opened(file, EXPLICIT)


def test_a_deflated_data_set_that_is_damaged_is_refused() -> None:
    content = instances.file("1.2.3", transfer_syntax_uid="1.2.840.10008.1.2.1.99", body=b"\xff" * 100)

    with pytest.raises(Refused, match="damaged"):
        opened(InstanceFile.read(content), EXPLICIT)


def test_what_is_encoded_anew_is_what_was_allowed() -> None:
    rle, jpeg = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
    allowed = {
        (Encoding.AS_FILED, IMPLICIT): [],
        (Encoding.VALUE_REPRESENTATION, IMPLICIT): [EXPLICIT],
        (Encoding.VALUE_REPRESENTATION, rle): [],
        (Encoding.LOSSLESS, EXPLICIT): [IMPLICIT],
        (Encoding.LOSSLESS, rle): [EXPLICIT, IMPLICIT],
        (Encoding.LOSSLESS, jpeg): [],
    }
    assert {key: alternatives(key[1], key[0]) for key in allowed} == allowed
    assert CT not in STORAGE  # the peers of these tests take what they are told to, and no more
