"""What each step does to a data set, and what it leaves alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from engine.errors import TransformFailed, TryAgain
from engine.transform.steps import apply_steps, for_copies_of, for_delivery

SECRET = {"hash": {"keys": ["PatientName"], "secret": {"env": "PONS_TEST_PSEUDONYMS"}}}


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def study(**values: Any) -> FileDataset:
    """A data set as it is read from a file, its elements still raw."""
    made = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4", SOPInstanceUID="1.2.3", StudyInstanceUID="1.2",
        PatientID="P-1", PatientName="Doe^Jane", Modality="MR", StudyDate="20260131",
        PatientBirthDate="19800229", BodyPartExamined="SKULL", ImageType=["ORIGINAL", "PRIMARY"],
        RequestAttributesSequence=[
            item(ScheduledProcedureStepID="", RequestedProcedureDescription="head"),
            item(ScheduledProcedureStepID="S-2", ScheduledProcedureStepStartDate="20260130"),
        ],
        OtherPatientIDsSequence=[item(PatientID="P-1", TypeOfPatientID="TEXT")],
    )  # fmt: skip
    block = made.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "LO", "told in private")
    made.RequestAttributesSequence[0].private_block(0x0009, "ACME", create=True).add_new(0x01, "LO", "x")
    for keyword, value in values.items():
        setattr(made, keyword, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def edited(*steps: dict[str, Any], **values: Any) -> FileDataset:
    dataset = study(**values)
    apply_steps(dataset, steps, Path())
    return dataset


def test_set_reaches_the_items_at_the_end_of_a_path() -> None:
    after = edited({"set": {"StudyID": "7", "RequestAttributesSequence.RequestedProcedureID": "R"}})
    assert after.StudyID == "7"
    assert [one.RequestedProcedureID for one in after.RequestAttributesSequence] == ["R", "R"]


def test_set_makes_a_value_of_others_and_leaves_it_where_they_say_nothing() -> None:
    made = "STM-{RequestAttributesSequence.ScheduledProcedureStepID}"
    after = edited({"set": {"AccessionNumber": made, "StudyID": "{StationName}"}}, StudyID="7")
    assert (after.AccessionNumber, after.StudyID) == ("STM-S-2", "7")


def test_what_is_only_read_stays_as_it_was_read() -> None:
    dataset = study(EchoTime="12.50", EchoTrainLength="07", Rows=4)
    names = ("EchoTime", "EchoTrainLength", "Rows", "PatientID")
    before = {name: dataset.get_item(name) for name in names}
    apply_steps(dataset, [{"set": {"StudyComments": " ".join(f"{{{name}}}" for name in names)}}], Path())
    assert dataset.StudyComments == "12.50 07 4 P-1"
    assert all(dataset.get_item(name) is before[name] for name in names)


def test_set_makes_no_sequence_that_is_not_there() -> None:
    assert "ProcedureCodeSequence" not in edited({"set": {"ProcedureCodeSequence.CodeMeaning": "x"}})


def test_remove_reaches_inside_sequences_when_told() -> None:
    once = edited({"remove": ["ScheduledProcedureStepID", "TypeOfPatientID"]})
    assert "TypeOfPatientID" in once.OtherPatientIDsSequence[0]
    everywhere = edited({"remove": ["TypeOfPatientID"], "everywhere": True})
    assert "TypeOfPatientID" not in everywhere.OtherPatientIDsSequence[0]
    by_path = edited({"remove": ["RequestAttributesSequence.ScheduledProcedureStepID"]})
    assert all("ScheduledProcedureStepID" not in one for one in by_path.RequestAttributesSequence)


def test_private_elements_go_from_everywhere_at_once() -> None:
    after = edited({"remove": ["private"]})
    assert not any(tag.is_private for tag in after.keys())  # noqa: SIM118
    assert not any(tag.is_private for tag in after.RequestAttributesSequence[0].keys())  # noqa: SIM118


def test_one_private_element_goes_by_its_creator() -> None:
    after = edited({"remove": ['(0009,"ACME",01)']})
    assert (0x0009, 0x1001) not in after
    assert (0x0009, 0x1001) in after.RequestAttributesSequence[0], "named for the top level only"


def test_copy_takes_the_first_item_with_a_value() -> None:
    after = edited({"copy": {"RequestAttributesSequence.ScheduledProcedureStepID": "AccessionNumber"}})
    assert after.AccessionNumber == "S-2"


def test_copy_leaves_what_is_there_when_it_finds_nothing() -> None:
    after = edited(
        {"copy": {"RequestAttributesSequence.AccessionNumber": "AccessionNumber"}}, AccessionNumber="A"
    )
    assert after.AccessionNumber == "A"


def test_copy_takes_several_values() -> None:
    assert list(edited({"copy": {"ImageType": "SeriesDescription"}}).SeriesDescription) == [
        "ORIGINAL",
        "PRIMARY",
    ]


def test_a_copy_that_does_not_fit_stops_with_its_reason_and_no_value() -> None:
    step = {"copy": {"StudyDescription": "AccessionNumber"}}
    with pytest.raises(TransformFailed) as stopped:
        edited(step, StudyDescription="much longer than sixteen")
    assert str(stopped.value) == "AccessionNumber cannot hold what it would be given (PS3.5 6.2, SH)"


MAPPED = [
    # map, what becomes of BodyPartExamined: SKULL
    ({"table": {"SKULL": "HEAD"}}, "HEAD"),
    ({"table": {"KNEE": "LEG"}}, "SKULL"),
    ({"table": {"KNEE": "LEG"}, "otherwise": "remove"}, None),
    ({"table": {"KNEE": "LEG"}, "otherwise": {"set": "OTHER"}}, "OTHER"),
    ({"table": {"SKULL": ""}}, ""),
]


@pytest.mark.parametrize(("mapping", "becomes"), MAPPED, ids=str)
def test_a_map_replaces_values(mapping: dict[str, Any], becomes: str | None) -> None:
    assert edited({"map": {"BodyPartExamined": mapping}}).get("BodyPartExamined") == becomes


def test_a_map_without_an_entry_can_stop_everything() -> None:
    step = {"map": {"BodyPartExamined": {"table": {"KNEE": "LEG"}, "otherwise": "hold"}}}
    with pytest.raises(TransformFailed) as stopped:
        edited(step)
    assert "BodyPartExamined has no entry" in str(stopped.value)
    assert "SKULL" not in str(stopped.value)


def test_a_map_takes_values_one_by_one() -> None:
    mapping = {"table": {"ORIGINAL": "DERIVED"}, "otherwise": "remove"}
    assert edited({"map": {"ImageType": mapping}}).ImageType == "DERIVED"


def test_an_empty_value_is_not_mapped() -> None:
    after = edited(
        {"map": {"BodyPartExamined": {"table": {"KNEE": "LEG"}, "otherwise": "hold"}}}, BodyPartExamined=""
    )
    assert after.BodyPartExamined == ""


def test_a_hash_is_the_same_for_the_same_value_in_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONS_TEST_PSEUDONYMS", "one")
    step = {
        "hash": {"keys": ["PatientID", "PatientName"], "secret": {"env": "PONS_TEST_PSEUDONYMS"}},
        "everywhere": True,
    }
    after = edited(step)
    assert after.PatientID == after.OtherPatientIDsSequence[0].PatientID
    assert len({str(after.PatientID), str(after.PatientName), "P-1", "Doe^Jane"}) == 4
    monkeypatch.setenv("PONS_TEST_PSEUDONYMS", "two")
    assert edited(step).PatientID != after.PatientID


def test_a_secret_in_a_file_is_found_from_the_tables_folder(tmp_path: Path) -> None:
    (tmp_path / "pseudonyms.key").write_text("one\n")
    dataset = study()
    apply_steps(
        dataset, [{"hash": {"keys": ["PatientName"], "secret": {"file": "pseudonyms.key"}}}], tmp_path
    )
    assert len(str(dataset.PatientName)) == 16


@pytest.mark.parametrize("value", [None, ""])
def test_without_its_secret_nothing_is_hashed_and_it_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("PONS_TEST_PSEUDONYMS", raising=False)
    if value is not None:
        monkeypatch.setenv("PONS_TEST_PSEUDONYMS", value)
    with pytest.raises(TryAgain) as stopped:
        edited(SECRET)
    assert stopped.value.code == "transform"


def test_dates_move_everywhere_and_by_the_same_days() -> None:
    after = edited({"shift_dates": {"by": -31}})
    assert (after.StudyDate, after.PatientBirthDate) == ("20251231", "19800129")
    assert after.RequestAttributesSequence[1].ScheduledProcedureStepStartDate == "20251230"


def test_the_days_of_a_patient_do_not_depend_on_the_order_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONS_TEST_PSEUDONYMS", "one")
    secret = {"env": "PONS_TEST_PSEUDONYMS"}
    shift = {"shift_dates": {"within": 365, "secret": secret}}
    hashed = {"hash": {"keys": ["PatientID"], "secret": secret}}
    dates = {edited(shift).StudyDate, edited(hashed, shift).StudyDate, edited(shift, hashed).StudyDate}
    assert len(dates) == 1
    assert dates != {edited(shift, PatientID="P-2").StudyDate}
    assert dates != {"20260131"}


def test_a_letter_that_the_character_set_lacks_turns_the_copy_into_utf_8() -> None:
    after = edited({"map": {"BodyPartExamined": {"table": {"SKULL": "HEAD"}}}}, StudyDescription="x")
    assert "SpecificCharacterSet" not in after
    after = edited({"set": {"RequestAttributesSequence.RequestedProcedureDescription": "頭部"}})
    assert after.SpecificCharacterSet == "ISO_IR 192"
    assert after.RequestAttributesSequence[0].RequestedProcedureDescription == "頭部"


def test_a_sequence_in_which_nothing_changes_stays_as_it_was_read() -> None:
    dataset = study()
    before = {tag: dataset.get_item(tag) for tag in dataset.keys()}  # noqa: SIM118
    steps: list[dict[str, Any]] = [
        {"remove": ["StationName"], "everywhere": True},
        {"shift_dates": {"by": 1}},
    ]
    apply_steps(dataset, steps, Path())
    same = {str(dataset[tag].keyword) for tag, one in before.items() if dataset.get_item(tag) is one}
    assert {"OtherPatientIDsSequence", "PatientName"} <= same
    assert "RequestAttributesSequence" not in same, "a date in it has moved"


def test_steps_are_for_copies_of_processors_for_what_is_forwarded_or_both() -> None:
    both, hidden, sent = {"remove": ["A"]}, {"remove": ["B"]}, {"remove": ["C"]}
    steps: list[dict[str, Any]] = [both, {**hidden, "for": "processor"}, {**sent, "for": "forward"}]
    assert for_copies_of(steps, "processor") == (both, hidden)
    assert for_delivery(steps, [{"remove": ["D"]}]) == (both, sent, {"remove": ["D"]})
