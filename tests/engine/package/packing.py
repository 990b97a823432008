"""Packages as people make them: names and contents in, archives and folders out."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.package.instances import Package
from engine.package.limits import PackageLimits
from engine.package.opening import open_package

MAX_INSTANCE = 10_000_000


class Landed:
    """A landing that keeps what is written."""

    def __init__(self) -> None:
        self.content = bytearray()

    @property
    def size(self) -> int:
        return len(self.content)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.content += data

    def discard(self) -> None:
        self.content.clear()


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def opened(path: Path, **limits: int) -> Package:
    return open_package(path, PackageLimits(**limits), MAX_INSTANCE)


def landed(package: Package) -> list[bytes]:
    """Every instance of a package as it would land."""
    contents = []
    with package:
        for one in package.instances():
            landing = Landed()
            one.write_to(landing)
            contents.append(bytes(landing.content))
    return contents


def data_sets(package: Package) -> list[Dataset]:
    return [dcmread(BytesIO(content)) for content in landed(package)]
