"""A study that somebody uploads is opened whole, byte for byte, or refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.channel import Landing
from engine.errors import PackageRefused, PackageRefusedReason, Rejected, RejectedReason
from engine.intake import DurableIntake
from engine.landing import FileLanding
from engine.model import Arrival, uid_from
from tests.engine.package.packing import landed, opened, packed

Instance = Callable[..., bytes]


def refusal(path: Path, **limits: int) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        opened(path, **limits)
    return caught.value


def test_a_zip_of_a_study_with_its_sidecar(tmp_path: Path, instance: Instance) -> None:
    contents = {f"Doe^Jane/{number}": instance(number) for number in (3, 1, 2)}
    sidecar = json.dumps({"patient_age": 93, "PatientSex": "f", "accessionNumber": "A-1"}).encode()

    package = opened(packed(tmp_path / "a.zip", {"Doe^Jane/order.json": sidecar, **contents}))

    assert package.kind == "dicom"
    assert package.study_instance_uid == uid_from("test", "a")
    assert package.metadata == {"PatientAge": "090Y", "PatientSex": "F", "AccessionNumber": "A-1"}
    assert package.count == 3
    assert landed(package) == list(contents.values())


def test_a_folder_is_a_package_in_the_order_of_its_names(tmp_path: Path, instance: Instance) -> None:
    folder = tmp_path / "study"
    contents = {"b/1": instance(1), "a/2": instance(2), "0": instance(3)}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "order.json").write_text('{"PatientAge": 45}')

    package = opened(folder)

    assert package.metadata == {"PatientAge": "045Y"}
    assert landed(package) == [contents["0"], contents["a/2"], contents["b/1"]]


def test_a_single_dicom_file_is_a_package(tmp_path: Path, instance: Instance) -> None:
    (tmp_path / "1").write_bytes(instance())
    assert landed(opened(tmp_path / "1")) == [instance()]


async def test_a_package_lands_as_any_other_arrival(
    tmp_path: Path, instance: Instance, intake: DurableIntake
) -> None:
    path = packed(tmp_path / "a.zip", {str(number): instance(number) for number in range(3)})
    duplicates = []
    for session in ("first", "again"):
        with opened(path) as package:
            for one in package.instances():
                landing = intake.land()
                one.write_to(landing)
                receipt = await intake.accept(
                    Arrival(
                        site="st-marys",
                        inbound="web",
                        session=session,
                        landing=landing,
                        remote_address="127.0.0.1",
                        sop_class_uid=one.sop_class_uid,
                        sop_instance_uid=one.sop_instance_uid,
                        study_instance_uid=package.study_instance_uid,
                    )
                )
                duplicates.append(receipt.duplicate)
        intake.leave(session)
    assert duplicates == [False] * 3 + [True] * 3


def test_litter_is_passed_over_and_counted(tmp_path: Path, instance: Instance) -> None:
    litter = [
        "__MACOSX/._1",
        "__MACOSX/s/1",
        "s/.DS_Store",
        "s/Thumbs.db",
        "DICOMDIR",
        "desktop.ini",
        "s/._1",
    ]
    package = opened(
        packed(tmp_path / "a.zip", {"s/": b"", **dict.fromkeys(litter, b"x"), "s/1": instance()})
    )
    assert package.skipped == len(litter)
    assert landed(package) == [instance()]


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        ({}, PackageRefusedReason.EMPTY, "no DICOM file"),
        ({".DS_Store": b"x"}, PackageRefusedReason.EMPTY, "1 files of operating systems"),
        ({"a.json": b"{}"}, PackageRefusedReason.EMPTY, "no DICOM file"),
        ({"Doe^Jane.pdf": b"%PDF"}, PackageRefusedReason.NOT_DICOM, "file 1 of 1 (a .pdf) is neither"),
        ({"scan.Doe": b"x"}, PackageRefusedReason.NOT_DICOM, "file 1 of 1 is neither"),
        ({"empty.dcm": b""}, PackageRefusedReason.NOT_DICOM, "file 1 of 1 (a .dcm) is neither"),
        ({"a.zip": b"PK\3\4"}, PackageRefusedReason.NESTED, "an archive inside the package"),
        ({"a.json": b"PK\3\4"}, PackageRefusedReason.NESTED, "an archive inside the package"),
        ({"a.tgz": b"\x1f\x8b"}, PackageRefusedReason.NESTED, "an archive inside the package"),
        ({"a.json": b"{}", "b/a.json": b"{}"}, PackageRefusedReason.SIDECAR, "file 1 of 2 and file 2 of 2"),
        ({"1": bytes(128) + b"DICM"}, PackageRefusedReason.NOT_DICOM, "file 1 of 1 cannot be stored"),
    ],
)
def test_what_is_no_study_is_refused(
    tmp_path: Path, files: dict[str, bytes], reason: PackageRefusedReason, words: str
) -> None:
    refused = refusal(packed(tmp_path / "a.zip", files))
    assert refused.reason == reason
    assert words in str(refused)
    assert "Doe" not in str(refused)


def test_two_studies_in_one_package_are_refused(tmp_path: Path, instance: Instance) -> None:
    refused = refusal(packed(tmp_path / "a.zip", {"1": instance(study="a"), "2": instance(study="b")}))
    assert refused.reason == PackageRefusedReason.SEVERAL_STUDIES
    assert "2 studies" in str(refused)


def test_one_instance_twice_counts_once_and_with_two_contents_is_refused(
    tmp_path: Path, instance: Instance
) -> None:
    same = {"1": instance(), "copy": instance(sender="Y")}  # only the file meta differs
    assert landed(opened(packed(tmp_path / "a.zip", same))) == [instance()]

    other = {"1": instance(), "2": instance(PatientName="Roe^Ann")}
    refused = refusal(packed(tmp_path / "b.zip", other))
    assert refused.reason == PackageRefusedReason.DUPLICATE
    assert "file 1 of 2 and file 2 of 2" in str(refused)


def test_a_file_that_was_cut_short_refuses_the_package(tmp_path: Path, instance: Instance) -> None:
    refused = refusal(packed(tmp_path / "a.zip", {"1": instance(1), "2": instance(2)[:-3]}))
    assert refused.reason == PackageRefusedReason.NOT_DICOM
    assert str(refused).startswith("file 2 of 2 cannot be stored: the object ends inside an element")


def test_an_instance_past_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = bytes(128) + b"DICM" + bytes(10_000_001)
    refused = refusal(packed(tmp_path / "a.zip", {"1": content}))
    assert refused.reason == PackageRefusedReason.TOO_LARGE


def test_what_a_landing_says_reaches_whoever_lands(tmp_path: Path, instance: Instance) -> None:
    landing: Landing = FileLanding(tmp_path / "landing", 100)
    with opened(packed(tmp_path / "a.zip", {"1": instance()})) as package:
        [one] = package.instances()
        with pytest.raises(Rejected) as caught:
            one.write_to(landing)
    assert caught.value.reason == RejectedReason.TOO_LARGE
    landing.discard()


def test_a_link_in_a_folder_is_refused(tmp_path: Path, instance: Instance) -> None:
    (tmp_path / "outside").write_bytes(instance())
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "1").symlink_to(tmp_path / "outside")
    assert refusal(tmp_path / "study").reason == PackageRefusedReason.UNSAFE


def test_folders_without_end_are_refused(tmp_path: Path, instance: Instance) -> None:
    deep = tmp_path / "study" / "/".join("a" * 40)
    deep.mkdir(parents=True)
    (deep / "1").write_bytes(instance())
    assert refusal(tmp_path / "study").reason == PackageRefusedReason.UNSAFE


def test_a_folder_has_the_limits_of_an_archive(tmp_path: Path, instance: Instance) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(instance(number))
    assert refusal(tmp_path, max_entries=4).reason == PackageRefusedReason.TOO_MANY
    assert refusal(tmp_path, max_unpacked=1000).reason == PackageRefusedReason.TOO_LARGE
    assert opened(tmp_path, max_entries=5).count == 5
