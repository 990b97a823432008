"""A file that came in pieces reads as the file that it was, wherever it was cut."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.limits import PackageLimits
from engine.package.opening import open_package
from engine.package.whole import Whole
from tests.engine.package.packing import MAX_INSTANCE, Landed, landed, packed


def cut(content: bytes, folder: Path, *places: int) -> list[Path]:
    """The content in pieces that end at these places."""
    folder.mkdir(exist_ok=True)
    ends = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    pieces = []
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        pieces.append(folder / f"{number:05}")
        pieces[-1].write_bytes(content[start:end])
    return pieces


@given(
    content=st.binary(max_size=200),
    places=st.lists(st.integers(0, 1000), max_size=12),
    moves=st.lists(st.tuples(st.integers(0, 220), st.integers(0, 50)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_it_reads_and_seeks_as_one_file_does(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    places: list[int],
    moves: list[tuple[int, int]],
) -> None:
    whole = Whole(cut(content, tmp_path_factory.mktemp("pieces"), *places))
    assert whole.size == len(content)
    plain = io.BytesIO(content)
    with whole.open() as stream:
        for place, count in moves:
            assert stream.seek(place) == plain.seek(place)
            assert stream.read(count) == plain.read(count)
        assert stream.seek(-min(3, len(content)), io.SEEK_END) == plain.seek(-min(3, len(content)), 2)
        assert stream.read() == plain.read()


def test_an_archive_in_pieces_is_opened_where_it_lies(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    files = {f"{number}.dcm": instance(number) for number in range(1, 13)}
    content = packed(tmp_path / "whole.zip", files).read_bytes()
    pieces = cut(content, tmp_path / "pieces", 1, 2, 3, *range(50, len(content), len(content) // 20))
    package = open_package(pieces, PackageLimits(), MAX_INSTANCE)
    assert landed(package) == [*files.values()]
    assert package.count == 12


def test_an_instance_in_pieces_is_one_instance(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    content = instance(1)
    pieces = cut(content, tmp_path / "pieces", 2, 140, 300)
    assert landed(open_package(pieces, PackageLimits(), MAX_INSTANCE)) == [content]


def test_pieces_in_another_order_are_damaged(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    content = packed(tmp_path / "whole.zip", {"1.dcm": instance(1), "2.dcm": instance(2)}).read_bytes()
    first, second = cut(content, tmp_path / "pieces", len(content) // 2)
    with pytest.raises(PackageRefused) as refused:
        open_package([second, first], PackageLimits(), MAX_INSTANCE)
    assert refused.value.reason in (PackageRefusedReason.DAMAGED, PackageRefusedReason.NOT_DICOM)


def test_many_threads_read_one_archive_at_once(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    files = {f"{number}.dcm": instance(number, bulk=40_000) for number in range(1, 9)}
    content = packed(tmp_path / "whole.zip", files).read_bytes()
    places = range(0, len(content), max(1, len(content) // 30))
    package = open_package(cut(content, tmp_path / "pieces", *places), PackageLimits(), MAX_INSTANCE)
    wrong: list[int] = []

    def read(number: int, one: object) -> None:
        landing = Landed()
        one.write_to(landing)  # type: ignore[attr-defined]
        if bytes(landing.content) != [*files.values()][number]:
            wrong.append(number)

    with package:
        threads = [
            threading.Thread(target=read, args=(number, one))
            for number, one in enumerate(package.instances())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []
