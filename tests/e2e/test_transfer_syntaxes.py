"""Every transfer syntax comes in as it was sent and goes on as it came, compressed ones included.

What DCMTK's own bit-preserving storescp receives of the same sender is the measure for both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from tests.e2e.engine import Engine
from tests.e2e.studies import data_sets
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.part10 import data_set_bytes

pytestmark = pytest.mark.peers

# A file that comes with pydicom -> the transfer syntax it is in.
FILES = {
    "MR_small_implicit.dcm": "1.2.840.10008.1.2",  # implicit VR little endian
    "MR_small.dcm": "1.2.840.10008.1.2.1",  # explicit VR little endian
    "image_dfl.dcm": "1.2.840.10008.1.2.1.99",  # deflated: the whole data set is compressed
    "SC_rgb_jpeg_dcmtk.dcm": "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "JPGExtended.dcm": "1.2.840.10008.1.2.4.51",  # JPEG extended
    "SC_rgb_jpeg_gdcm.dcm": "1.2.840.10008.1.2.4.70",  # JPEG lossless, selection value 1
    "MR_small_jpeg_ls_lossless.dcm": "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "MR_small_jp2klossless.dcm": "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "JPEG2000.dcm": "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "MR_small_RLE.dcm": "1.2.840.10008.1.2.5",  # RLE lossless
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Transfer syntax -> a file in it, all instances of one study, none of which was seen before."""
    folder = tmp_path / "source"
    folder.mkdir()
    study = generate_uid()
    made = {}
    for name, syntax in FILES.items():
        path = get_testdata_file(name)
        assert isinstance(path, str), name
        instance = pydicom.dcmread(path)
        assert instance.file_meta.TransferSyntaxUID == syntax
        instance.StudyInstanceUID, instance.SeriesInstanceUID = study, generate_uid()
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made[syntax] = folder / f"{instance.SOPInstanceUID}.dcm"
        instance.save_as(made[syntax], enforce_file_format=True)
    return made


def table(dicom_port: int, onward: Storescp) -> dict[str, Any]:
    return {
        "assembly": {"stable_after": "5s"},  # there are two associations
        "sites": {
            "st-marys": {"name": "St. Mary's", "ae_titles": ["DCMSEND"], "addresses": ["127.0.0.1"]},
        },
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "outbound": {
            "onward": {
                "type": "dicom_forward",
                "site": "st-marys",
                "host": "127.0.0.1",
                "port": onward.port,
                "ae_title": onward.ae_title,
            }
        },
        "routes": [{"name": "all of it", "match": {"site": "st-marys"}, "deliver": ["onward"]}],
    }


def by_uid(peer: Storescp) -> dict[str, bytes]:
    """SOP Instance UID -> data set, of what a storescp holds; it names files `MODALITY.UID`."""
    return {path.name.partition(".")[2]: data_set_bytes(path.read_bytes()) for path in peer.files}


def syntaxes(paths: list[Path]) -> list[str]:
    """The transfer syntaxes that the files say they are in."""
    return sorted(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID for path in paths)


def send_as_they_are(files: dict[str, Path], port: int, called: str) -> None:
    """By DCMTK, without a conversion: where it may choose, it turns implicit VR into explicit."""
    rest = dict(files)
    implicit = rest.pop("1.2.840.10008.1.2")
    alone = dcmtk.storescu(port, [implicit], calling="DCMSEND", called=called, options=["-xi"])
    assert alone.exit_status == 0, alone.output[-3000:]
    sent = dcmtk.dcmsend(port, list(rest.values()), called=called, options=["-dn", "--no-uid-checks"])
    assert sent.exit_status == 0, sent.output[-3000:]


def test_every_transfer_syntax_is_kept_and_forwarded_as_it_was_sent(
    engine_process: Callable[..., Engine], storescp: Callable[..., Storescp], files: dict[str, Path]
) -> None:
    reference, onward = storescp("REFERENCE"), storescp("ONWARD")
    engine = engine_process(lambda port: table(port, onward), patient_data=["CompressedSamples", "4MR1"])

    for port, called in ((reference.port, "REFERENCE"), (engine.dicom_port, "PONS")):
        send_as_they_are(files, port, called)
    engine.wait_for_states({"onward": ["delivered"]})

    assert syntaxes(reference.files) == sorted(files)
    assert syntaxes(engine.instance_files()) == sorted(files)
    assert data_sets(engine.instance_files()) == by_uid(reference)
    assert syntaxes(onward.files) == sorted(files)
    assert by_uid(onward) == by_uid(reference)
