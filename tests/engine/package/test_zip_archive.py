"""An archive that would do harm is refused before anything of it is unpacked."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.limits import LEEWAY
from tests.engine.package.packing import landed, opened, packed

Instance = Callable[..., bytes]


def refusal(path: Path, **limits: int) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        opened(path, **limits)
    return caught.value


@pytest.mark.parametrize(
    "name", ["../1", "a/../../1", "/etc/1", "a\\..\\1", "\\\\host\\1", "C:\\1", "c:1", "..", "./", "a/.."]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    refused = refusal(packed(tmp_path / "a.zip", {"0": b"x", name: b"x"}))
    assert refused.reason == PackageRefusedReason.UNSAFE
    assert str(refused).startswith("entry 2 of 2 has a name")


def test_a_name_of_any_encoding_is_a_name(tmp_path: Path, instance: Instance) -> None:
    names = ["Müller/1", "山田\\2", "a b/é.dcm", "x" * 300]
    files = {name: instance(number) for number, name in enumerate(names)}
    assert landed(opened(packed(tmp_path / "a.zip", files))) == list(files.values())


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    assert refusal(tmp_path / "a.zip").reason == PackageRefusedReason.UNSAFE


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path, instance: Instance) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("a/1", instance(1))
        made.writestr("a\\1", instance(2))
    assert refusal(tmp_path / "a.zip").reason == PackageRefusedReason.DUPLICATE


def test_an_encrypted_file_is_refused(tmp_path: Path, instance: Instance) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance()})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # general purpose bit flag
    path.write_bytes(content)
    assert refusal(path).reason == PackageRefusedReason.ENCRYPTED


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_cannot_be_bounded_is_refused(tmp_path: Path, instance: Instance, method: int) -> None:
    refused = refusal(packed(tmp_path / "a.zip", {"1": instance()}, method))
    assert refused.reason == PackageRefusedReason.UNSUPPORTED
    assert f"method {method}" in str(refused)


def test_an_archive_without_compression_is_taken(tmp_path: Path, instance: Instance) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance()}, zipfile.ZIP_STORED)
    assert landed(opened(path)) == [instance()]


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("1", "w", force_zip64=True) as member,
    ):
        for _ in range((LEEWAY >> 20) + 64):
            member.write(bytes(1 << 20))
    refused = refusal(tmp_path / "a.zip", max_ratio=2)
    assert refused.reason == PackageRefusedReason.BOMB
    assert "more than 2 times its size" in str(refused)


def test_a_file_that_unpacks_to_more_than_it_announces_is_refused(tmp_path: Path, instance: Instance) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance()})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2") + 24  # uncompressed size
    content[place : place + 4] = struct.pack("<L", len(instance()) - 20)
    path.write_bytes(content)
    assert refusal(path).reason in (PackageRefusedReason.DAMAGED, PackageRefusedReason.NOT_DICOM)


def test_a_file_that_unpacks_to_less_than_it_announces_is_refused(tmp_path: Path, instance: Instance) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance()})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2") + 24  # uncompressed size
    content[place : place + 4] = struct.pack("<L", len(instance()) + 4000)
    path.write_bytes(content)
    assert str(refusal(path)).startswith("file 1 of 1 cannot be stored: the object ends inside an element")


def test_a_directory_without_end_is_counted_before_it_is_loaded(tmp_path: Path) -> None:
    entry = struct.pack("<4s24x3H12x", b"PK\1\2", 0, 0, 0)
    directory = entry * 100_000
    # It announces a single entry.
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + directory + end)
    refused = refusal(tmp_path / "a.zip")
    assert refused.reason == PackageRefusedReason.TOO_MANY
    assert "more than 50000 files" in str(refused)


def test_sixty_five_thousand_entries_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {str(number): b"" for number in range(65_000)}, zipfile.ZIP_STORED)
    assert refusal(path, max_entries=64_999).reason == PackageRefusedReason.TOO_MANY


def test_a_zip64_archive_with_a_comment_is_read(tmp_path: Path, instance: Instance) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        with made.open("1", "w", force_zip64=True) as member:
            member.write(instance())
        made.comment = b"PK made by somebody"
    assert landed(opened(tmp_path / "a.zip")) == [instance()]


@pytest.mark.parametrize("cut", [1, 22, 60, 200])
def test_an_archive_that_was_cut_short_is_refused(tmp_path: Path, instance: Instance, cut: int) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance(), "2": instance(2)})
    path.write_bytes(path.read_bytes()[:-cut])
    refused = refusal(path)
    assert refused.reason == PackageRefusedReason.DAMAGED
    assert "cut short" in str(refused)


def test_a_damaged_file_is_told_by_its_place(tmp_path: Path, instance: Instance) -> None:
    path = packed(tmp_path / "a.zip", {"1": instance(1), "2": instance(2)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"Doe^Jane")] ^= 0xFF  # in the second file
    path.write_bytes(content)
    refused = refusal(path)
    assert refused.reason == PackageRefusedReason.DAMAGED
    assert str(refused).startswith("file 2 of 2 is damaged")
