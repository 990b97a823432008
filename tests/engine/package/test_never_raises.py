"""Whatever comes as a package is taken or refused: no other error, nothing past the limits, memory flat."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import PackageRefused
from engine.package.limits import PackageLimits
from engine.package.opening import open_package
from tests.engine.package.nifti_files import b_values, b_vectors, nifti, volumes
from tests.engine.package.packing import MAX_INSTANCE, Landed

ENOUGH = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def taken(path: Path, limits: PackageLimits) -> int:
    """Bytes that land; 0 where the package is refused."""
    size = 0
    try:
        with open_package(path, limits, MAX_INSTANCE) as package:
            for one in package.instances():
                landing = Landed()
                one.write_to(landing)
                size += landing.size
    except PackageRefused:
        return 0
    return size


def archive(instance: Callable[..., bytes], method: int) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr("s/order.json", '{"PatientAge": 45}')
        for number in range(3):
            file.writestr(f"s/{number}", instance(number))
    return made.getvalue()


@ENOUGH
@given(data=st.data())
def test_a_corrupt_archive(tmp_path: Path, instance: Callable[..., bytes], data: st.DataObject) -> None:
    content = bytearray(
        archive(instance, data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))
    )
    headers = content.rindex(b"s/2") - 46  # of the directory: damage there goes furthest
    for place, value in data.draw(
        st.lists(
            st.tuples(
                st.integers(0, len(content) - 1) | st.integers(headers, len(content) - 1), st.integers(0, 255)
            ),
            max_size=8,
        )
    ):
        content[place] = value
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (tmp_path / "a.zip").write_bytes(content[:cut])
    assert taken(tmp_path / "a.zip", PackageLimits(max_unpacked=10_000)) <= 10_000


@ENOUGH
@given(
    content=st.binary(max_size=400), head=st.sampled_from([b"", b"PK\3\4", b"PK\5\6", bytes(128) + b"DICM"])
)
def test_any_bytes(tmp_path: Path, content: bytes, head: bytes) -> None:
    (tmp_path / "a").write_bytes(head + content)
    assert taken(tmp_path / "a", PackageLimits()) == 0


@ENOUGH
@given(sidecar=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_sidecar(tmp_path: Path, instance: Callable[..., bytes], sidecar: bytes) -> None:
    (tmp_path / "1").write_bytes(instance())
    (tmp_path / "s.json").write_bytes(sidecar)
    assert taken(tmp_path, PackageLimits()) in (0, len(instance()))


@ENOUGH
@given(data=st.data())
def test_a_corrupt_image(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(nifti(volumes(), version=data.draw(st.sampled_from([1, 2]))))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 543), st.integers(0, 255)), max_size=4)):
        content[place] = value
    (tmp_path / "d.bval").write_bytes(data.draw(st.just(b_values()) | st.binary(max_size=20)))
    (tmp_path / "d.bvec").write_bytes(data.draw(st.just(b_vectors()) | st.binary(max_size=40)))
    (tmp_path / "d.nii").write_bytes(content)
    taken(tmp_path, PackageLimits(max_unpacked=1 << 20))


def test_memory_stays_flat(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(6):
            image = instance(number, Rows=2000, Columns=2000, BitsAllocated=16, PixelData=bytes(8_000_000))
            file.writestr(str(number), image)
    open_package(tmp_path / "a.zip", PackageLimits(), MAX_INSTANCE).close()  # modules are loaded
    tracemalloc.start()
    try:
        with open_package(tmp_path / "a.zip", PackageLimits(), MAX_INSTANCE) as package:
            for one in package.instances():
                one.write_to(Counted())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


class Counted(Landed):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert len(data) <= 1 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_archive_that_is_corrupted_above_is_sound(
    tmp_path: Path, instance: Callable[..., bytes], method: int
) -> None:
    (tmp_path / "a.zip").write_bytes(archive(instance, method))
    assert taken(tmp_path / "a.zip", PackageLimits(max_unpacked=10_000)) == 3 * len(instance())
