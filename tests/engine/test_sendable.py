"""What is pointed at is walked in order; what cannot be sent is named with its reason, and never hangs."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from engine.sendable import Found, Skipped, contents, printable


def names(path: Path) -> list[str]:
    return [one.name for one in contents([path]) if isinstance(one, Found)]


def test_folders_are_walked_by_name(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", "0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert names(tmp_path) == [str(tmp_path / name) for name in ("0", "a/3", "b/1", "b/2")]


def test_an_archive_in_a_folder_is_opened_and_its_members_are_named_below_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as made:
        made.writestr("se1/im1", b"x")
        made.writestr("se1/../../im2", b"x")  # a path out of it is only a name here

    assert names(tmp_path) == [f"{tmp_path}/study.zip/se1/im1", f"{tmp_path}/study.zip/se1/../../im2"]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    found = {Path(one.name).name: one for one in contents([tmp_path])}

    assert found["pipe"] == Skipped(str(tmp_path / "pipe"), "it is no regular file")
    gone = found["gone"]
    assert isinstance(gone, Skipped)
    assert gone.reason == "it cannot be read: no such file or directory"


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert names(tmp_path) == [str(tmp_path / "1")]


def test_an_encrypted_member_is_skipped_and_the_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("secret", b"x")
        made.writestr("plain", b"x")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag of the first
    path.write_bytes(content)

    assert next(iter(contents([path]))) == Skipped(f"{path}/secret", "it is encrypted")
    assert names(path) == [f"{path}/plain"]


def test_a_damaged_archive_is_one_that_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "b").write_bytes(b"x")

    skipped, found = contents([tmp_path])

    assert skipped == Skipped(str(tmp_path / "a.zip"), "it is a damaged ZIP archive")
    assert isinstance(found, Found)


def test_a_name_cannot_write_to_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a?[2Jb?c"
