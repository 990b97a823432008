"""The clinical facts of a study, read from its own instances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.model import Code, Issuer, PersonName, Result, Site, StoredInstance
from engine.study_context import StudyContext, read_context

SITE = Site(
    key="st-marys", name="St. Mary's", timezone="Europe/Dublin", issuer_of_patient_id=Issuer(oid="1.2.3")
)


@pytest.fixture
def context(tmp_path: Path, instance: Callable[..., bytes]) -> Callable[..., StudyContext]:
    """A function that writes an instance with some attributes and reads its context."""

    def read(**attributes: object) -> StudyContext:
        path = tmp_path / "one.dcm"
        path.write_bytes(instance(**attributes))
        return read_context([StoredInstance("1.3", "1.4", "1.5", "1.2.840.10008.1.2.1", path, "")], SITE, 2)

    return read


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def test_patient_order_and_study_of_a_complete_header(context: Callable[..., StudyContext]) -> None:
    procedure = item(CodeValue="BRDTI", CodingSchemeDesignator="99STM", CodeMeaning="Brain diffusion")
    found = context(
        PatientBirthDate="19700301",
        PatientSex="F",
        IssuerOfPatientID="STM",
        IssuerOfPatientIDQualifiersSequence=[item(UniversalEntityID="1.9", UniversalEntityIDType="ISO")],
        AccessionNumber="A1",
        IssuerOfAccessionNumberSequence=[item(LocalNamespaceEntityID="RIS", UniversalEntityID="1.8")],
        PlacerOrderNumberImagingServiceRequest="P1",
        FillerOrderNumberImagingServiceRequest="F1",
        ReferringPhysicianName="Ref^Ann",
        ProcedureCodeSequence=[procedure],
        StudyDate="20260102",
        StudyTime="030405.678",
        TimezoneOffsetFromUTC="+0530",
        StudyID="S1",
        StudyDescription="Brain",
    )
    assert found.patient.issuer == Issuer(namespace="STM", oid="1.9")
    assert (found.patient.birth_date, found.patient.sex) == (date(1970, 3, 1), "F")
    assert found.order.issuer_of_accession_number == Issuer(namespace="RIS", oid="1.8")
    assert (found.order.placer_order_number, found.order.filler_order_number) == ("P1", "F1")
    assert found.order.procedure == Code(value="BRDTI", scheme="99STM", meaning="Brain diffusion")
    assert found.order.requester.alphabetic == "Ref^Ann"
    assert found.study.started_at == datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))
    )
    assert (found.study.revision, found.study.timezone) == (2, "Europe/Dublin")


def test_a_site_lends_its_issuer_to_a_study_that_names_none(context: Callable[..., StudyContext]) -> None:
    assert context().patient.issuer == SITE.issuer_of_patient_id


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "Müller^Jörg=山田"),
    ],
)
def test_names_arrive_as_unicode_whatever_their_character_set(
    context: Callable[..., StudyContext], charset: object, name: str
) -> None:
    found = context(SpecificCharacterSet=charset, PatientName=name)
    assert found.patient.name == PersonName.parse(name)
    assert "00080005" not in found.study.header
    assert found.study.header["00100010"]["Value"][0]["Alphabetic"] == found.patient.name.alphabetic


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PatientBirthDate": "19701332"}, {"birth_date": None}),  # no such month
        ({"PatientBirthDate": ""}, {"birth_date": None}),
        ({"PatientSex": "female"}, {"sex": ""}),  # not one of M, F, O
        ({"PatientSex": "m"}, {"sex": "M"}),
        ({"PatientID": ""}, {"patient_id": ""}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns while the test writes the bad value
def test_sloppy_values_become_empty_ones(
    context: Callable[..., StudyContext], attributes: dict[str, str], expected: dict[str, object]
) -> None:
    found = context(**attributes)
    assert {key: getattr(found.patient, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("offset", "zone"), [("+0000", UTC), ("-0330", timezone(-timedelta(hours=3, minutes=30))), ("junk", None)]
)
def test_the_time_zone_of_the_study(context: Callable[..., StudyContext], offset: str, zone: object) -> None:
    found = context(StudyDate="20260102", TimezoneOffsetFromUTC=offset)
    assert found.study.started_at is not None
    assert found.study.started_at.tzinfo == zone


def test_the_real_study_is_read_and_its_header_survives_the_store(real_study: Path) -> None:
    path = sorted(real_study.glob("*.dcm"))[0]
    source = dcmread(path, stop_before_pixels=True)
    found = read_context([StoredInstance("1.3", "1.4", "1.5", "1.2", path, "")], SITE, 1)
    assert found.study.study_instance_uid == source.StudyInstanceUID
    assert found.patient.sex == source.PatientSex
    assert not any(int(tag[:4], 16) % 2 for tag in found.study.header), "no private element"
    assert len(str(found.study.header)) < 20_000
    result = Result.model_validate(
        {
            "result_id": "r",
            "site": "s",
            "route": "r",
            "status": "final",
            "produced_at": "2026-01-01T00:00:00Z",
            "patient": found.patient,
            "order": found.order,
            "study": found.study,
            "report": {"algorithm": {"name": "a", "version": "1"}},
        }
    )
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_a_code_without_a_scheme_is_no_code(context: Callable[..., StudyContext]) -> None:
    assert context(ProcedureCodeSequence=[item(CodeValue="X")]).order.procedure is None
