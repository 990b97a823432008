"""What a package holds once it is opened: instances to be landed in order, and the order's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from engine.channel import Landing


class PackagedInstance(Protocol):
    """One instance, not landed yet."""

    @property
    def sop_class_uid(self) -> str:
        """As its data set says."""
        ...

    @property
    def sop_instance_uid(self) -> str:
        """As its data set says."""
        ...

    def write_to(self, landing: Landing) -> None:
        """Write the DICOM file piece by piece; blocks.

        Raises:
            PackageRefused: it is no longer what it was when the package was opened.
            Rejected, Busy: as the landing says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Package:
    """One study that somebody uploaded, looked at as a whole; files stay open until it is closed.

    Everything in it has been read to its end: what is landed now was whole then. Whoever lands it binds the
    order to ``study_instance_uid`` and takes ``metadata`` before the first instance.
    """

    kind: Literal["dicom", "nifti"]
    study_instance_uid: str
    metadata: Mapping[str, str]  # of its sidecar: DICOM keyword -> value; see `engine.overrides`
    count: int  # instances
    size: int  # bytes unpacked
    skipped: int  # files of operating systems and disc writers
    instances: Callable[[], Iterator[PackagedInstance]] = field(repr=False)
    """The instances from the first; may be asked for again."""
    close: Callable[[], None] = field(repr=False)
    """Let go of the files."""

    def __enter__(self) -> Package:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
