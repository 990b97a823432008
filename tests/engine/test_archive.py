"""ZIP archives are read where they lie, and those that would do harm are refused before they are read."""

from __future__ import annotations

import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import archive
from engine.archive import is_archive, members


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_member_is_read_whole_and_from_several_threads(tmp_path: Path, method: int) -> None:
    files = {f"a/{number}.dcm": bytes([number]) * 300_000 for number in range(20)}
    found = list(members(packed(tmp_path / "a.zip", files, method)))

    def read(member: archive.Member) -> bytes:
        with member.open() as stream:
            return stream.read()

    with ThreadPoolExecutor(8) as threads:
        contents = list(threads.map(read, found * 3))

    assert [one.name for one in found] == list(files)
    assert [one.size for one in found] == [300_000] * 20
    assert contents == list(files.values()) * 3


def test_a_member_may_be_read_again_from_its_start(tmp_path: Path) -> None:
    [member] = members(packed(tmp_path / "a.zip", {"1": bytes(range(256)) * 100}))

    with member.open() as stream:
        assert stream.read(3) == b"\0\1\2"
        assert stream.seek(256) == 256
        assert stream.read(2) == b"\0\1"
        assert stream.tell() == 258


def test_folders_are_no_members(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a/": b"", "a/1": b"x"})
    assert [member.name for member in members(path)] == ["a/1"]


def test_a_bomb_is_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "bomb.zip", {"0": bytes(5_000_000)})
    assert len(list(members(path))) == 1  # a thousand to one, but small

    monkeypatch.setattr(archive, "LEEWAY", 1_000_000)
    with pytest.raises(ValueError, match=r"announces 0 GB: unpack it yourself"):
        list(members(path))


def test_more_members_than_anybody_means_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    path = packed(tmp_path / "a.zip", dict.fromkeys("abc", b"x"))

    with pytest.raises(ValueError, match="more than 2 files: send it in parts"):
        list(members(path))


def test_a_member_that_is_larger_than_announced_gives_no_more_than_that(tmp_path: Path) -> None:
    path = packed(tmp_path / "liar.zip", {"1": bytes(1_000_000)})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    struct.pack_into("<I", content, directory + 24, 1000)  # its uncompressed size (APPNOTE 4.3.12)
    path.write_bytes(content)
    [member] = members(path)

    with member.open() as stream, pytest.raises(OSError, match="the archive is damaged there"):
        stream.read()
    assert member.size == 1000


def test_a_damaged_member_is_an_error_of_reading(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"1": b"abc" * 1000}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)
    [member] = members(path)

    with member.open() as stream, pytest.raises(OSError, match="damaged"):
        stream.read()


def test_what_starts_as_an_archive_and_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\3\4" + b"nothing of the kind" * 10)

    assert is_archive(path)
    with pytest.raises(ValueError, match="damaged ZIP archive"):
        list(members(path))


def test_a_dicom_file_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM")
    assert not is_archive(path)
