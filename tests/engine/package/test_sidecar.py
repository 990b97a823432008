"""A sidecar's keys may be written three ways; what cannot be used is told by key, and no value is quoted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import PackageRefused, PackageRefusedReason
from tests.engine.package.packing import opened, packed


@pytest.fixture
def metadata(tmp_path: Path, instance: Callable[..., bytes]) -> Callable[[bytes], dict[str, str]]:
    def read(sidecar: bytes) -> dict[str, str]:
        with opened(packed(tmp_path / "a.zip", {"1": instance(), "s.json": sidecar})) as package:
            return dict(package.metadata)

    return read


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        (b'{"PatientAge": 45}', {"PatientAge": "045Y"}),
        (b'\xef\xbb\xbf{"patientAge": "7"}', {"PatientAge": "007Y"}),
        (b'{"patient_age": 120}', {"PatientAge": "090Y"}),
        (b'{"PatientAge": 0}', {"PatientAge": "000Y"}),
        (b'{"PatientSex": "male"}', {"PatientSex": "M"}),
        (b"{}", {}),
    ],
)
def test_usual_spellings(
    metadata: Callable[[bytes], dict[str, str]], sidecar: bytes, expected: dict[str, str]
) -> None:
    assert metadata(sidecar) == expected


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        (b"", "no JSON: see line 1, column 1"),
        (b'{"PatientAge": 45,}', "no JSON: see line 1, column"),
        (b'{"PatientName": "\xff"}', "not UTF-8"),
        (b"[1]", "must be one JSON object"),
        (b'{"PatientAge": NaN}', "no JSON that can be read"),
        (b"[" * 30_000, "no JSON that can be read"),
        (b'{"PatientAge": ' + b"9" * 5000 + b"}", "no JSON that can be read"),
        (b'{"PatientAge": 45, "PatientAge": 46}', "a key twice"),
        (b'{"PatientAge": 45, "patient_age": 46}', "PatientAge is given twice"),
        (b'{"PatientAgge": 45}', "did you mean 'PatientAge'"),
        (b'{"PatientAge": 121}', "metadata.PatientAge: must be 0 to 120 years"),
        (b'{"PatientAge": -1}', "metadata.PatientAge: is not legal"),
        (b'{"PatientAge": 45.5}', "metadata.PatientAge: is not legal"),
        (b'{"PatientSex": "Jane"}', "must be M, F or O"),
        (b'{"PatientName": {"a": 1}}', "must be one text or number"),
        (b'{"StudyInstanceUID": "1.2"}', "cannot be overridden"),
        (b'{"ConversionSoftware": "dcm2niix"}', "what a NIfTI converter wrote"),
        (b'{"PatientName": "' + b"x" * 70_000 + b'"}', "64kB are taken"),
        (b"{" + b",".join(b'"Nothing%d": 1' % n for n in range(30)) + b"}", "and 20 more"),
    ],
)
def test_what_cannot_be_used_is_refused(
    metadata: Callable[[bytes], dict[str, str]], sidecar: bytes, words: str
) -> None:
    with pytest.raises(PackageRefused) as caught:
        metadata(sidecar)
    assert caught.value.reason == PackageRefusedReason.SIDECAR
    assert words in str(caught.value)
    assert str(caught.value).startswith("the sidecar, file 2 of 2: ")
    assert "Jane" not in str(caught.value)
