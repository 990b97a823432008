"""What predicates mean, row by row; read by the grammar from the YAML an operator would write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import yaml

from engine.facts import StudyFacts
from engine.finding import Location, Mark
from engine.grammar import MatchReader
from engine.model import InstanceFacts, Study
from engine.predicate import All, demands


def study(*series: list[dict[str, Any]], at: str = "10:30", **facts: str) -> Study:
    """A study of some series, each a list of its instances' attributes."""
    return Study(
        site=facts.get("site", "st-marys"),
        study_instance_uid="1.2",
        revision=1,
        inbound=facts.get("inbound", "pacs"),
        calling_ae_title=facts.get("calling_ae_title", "STM_CT"),
        called_ae_title=facts.get("called_ae_title", "PONS"),
        received_at=datetime.fromisoformat(f"2026-03-01T{at}:30"),
        instances=tuple(
            InstanceFacts(
                f"1.2.{n}", f"1.2.{n}.{m}", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", attributes
            )
            for n, members in enumerate(series)
            for m, attributes in enumerate(members)
        ),
    )


def read(text: str) -> All:
    """The predicate in a line of YAML; any complaint fails the test."""

    def complain(location: Location, message: str, code: str = "") -> None:
        pytest.fail(f"{location}: {message}")

    reader = MatchReader(lambda location: Mark("t", 1, len(location)), complain, complain)
    return reader.match(yaml.safe_load(text), ("match",))


def holds(text: str, subject: Study) -> bool:
    facts = StudyFacts(subject)
    return read(text).miss(facts, facts.whole) is None


MR = {
    "Modality": "MR",
    "SeriesDescription": "ep2d_DTI_64",
    "EchoTime": 88.5,
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PatientAge": "045Y",
    '(0019,"SIEMENS MR HEADER",0C)': 1000,
    'ProcedureCodeSequence.(0029,"ACME 1.1, X",01)': ["deep"],
}
SR = {"Modality": "SR", "SeriesDescription": "report", "EchoTime": None}
LATE = {**MR, "SeriesDescription": "derived", "EchoTime": "104.0"}

ROWS: list[tuple[str, bool, str]] = [
    # one attribute, asked of the study: any instance will do
    ("Modality: MR", True, "first series"),
    ("Modality: SR", True, "not only the first instance is looked at"),
    ("Modality: CT", False, "no instance"),
    ("Modality: mr", False, "case matters"),
    ("Modality: {in: [CT, SR]}", True, "any of several"),
    ("Modality: {in: [CT, US]}", False, "none of several"),
    ("SeriesDescription: {matches: dti}", False, "patterns are case sensitive"),
    ("SeriesDescription: {matches: '(?i)dti'}", True, "and match anywhere"),
    ("ImageType: PRIMARY", True, "any of several values"),
    ("ImageType: SECONDARY", False, "none of several values"),
    # one attribute, however it is written; a private one by its creator
    ("'(0008,0060)': MR", True, "the tag of the keyword"),
    ("""'(0019,"SIEMENS MR HEADER",0c)': 1000""", True, "in lower case too"),
    (
        """'(0019,"SIEMENS MR HEADER",0C)': {at_least: 1001}""",
        False,
        "a number by its dictionary",
    ),
    (
        """series: {'(0019,"SIEMENS MR HEADER",0C)': {exists: true}, Modality: SR}""",
        False,
        "of the MR series",
    ),
    ("""'ProcedureCodeSequence.(0029,"ACME 1.1, X",01)': deep""", True, "within a sequence"),
    # an age is years (PS3.5 6.2)
    ("PatientAge: {at_least: 45}", True, "045Y"),
    ("PatientAge: {at_most: 44}", False, "045Y"),
    # existence
    ("EchoTime: {exists: true}", True, "one instance has it"),
    ("PatientSex: {exists: true}", False, "nobody has it"),
    ("PatientSex: {exists: false}", True, "nobody has it"),
    ("EchoTime: {exists: false}", False, "one instance has it"),
    # not: no value may pass
    ("Modality: {not: CT}", True, "no instance is CT"),
    ("Modality: {not: SR}", False, "one instance is SR, though others are not"),
    ("PatientSex: {not: M}", True, "without a value there is none that passes"),
    ("not: {Modality: SR}", False, "the same, said of the predicate"),
    ("not: {Modality: CT, EchoTime: 88.5}", True, "not both"),
    ("Modality: {in: [MR, SR], not: SR}", False, "both parts are asked of the scope"),
    # numbers compare as decimals, whatever way they are written
    ("EchoTime: 88.5", True, "float"),
    ("EchoTime: 104", True, "104.0 is 104"),
    ("EchoTime: {between: [89, 103]}", False, "88.5 and 104 both lie outside: one value must pass all"),
    ("EchoTime: {between: [88.5, 89]}", True, "ends are inside"),
    ("EchoTime: {at_least: 104}", True, "at least"),
    ("EchoTime: {at_least: 104.1}", False, "at least"),
    ("EchoTime: {at_most: 88.4}", False, "at most"),
    ("EchoTime: {at_least: 100, at_most: 103}", False, "one value must pass both"),
    # lists and combinations
    ("{Modality: SR, EchoTime: 88.5}", True, "of the study, different instances may answer"),
    ("all: [{Modality: SR}, {EchoTime: 88.5}]", True, "the same"),
    ("any: [{Modality: CT}, {Modality: SR}]", True, "one is enough"),
    ("any: [{Modality: CT}, {Modality: US}]", False, "none"),
    ("any: [{Modality: CT, site: st-marys}, {not: {Modality: SR}}]", False, "a mapping is all of it"),
    # series: one series must pass everything
    ("series: {Modality: MR, EchoTime: 88.5}", True, "first series"),
    ("series: {Modality: SR, EchoTime: 88.5}", False, "no single series has both"),
    ("series: {Modality: MR, not: {SeriesDescription: derived}}", False, "the MR series holds a derived one"),
    ("series: {any: [{Modality: CT}, {Modality: SR}], instances: 1}", True, "the SR series"),
    ("not: {series: {Modality: CT}}", True, "no such series"),
    # instance: one single instance must pass everything
    ("series: {instance: {EchoTime: 88.5, SeriesDescription: derived}}", False, "no one image has both"),
    ("series: {EchoTime: 88.5, SeriesDescription: derived}", True, "the series has both"),
    ("instance: {EchoTime: 104, SeriesDescription: derived}", True, "one image has both"),
    ("instance: {Modality: MR, EchoTime: {exists: false}}", False, "every MR image has an echo time"),
    ("instance: {Modality: SR, EchoTime: {exists: false}}", True, "the report has none"),
    # how many
    ("instances: 4", True, "of the study"),
    ("instances: {at_least: 5}", False, "of the study"),
    ("series: {Modality: MR, instances: {at_least: 3}}", True, "of the series"),
    ("series: {Modality: MR, instances: {at_most: 2}}", False, "of the series"),
    ("series: {instances: {between: [1, 2]}}", True, "the SR series"),
    # facts of the arrival
    ("site: st-marys", True, "site"),
    ("site: {in: [county, st-marys]}", True, "site"),
    ("site: {not: st-marys}", False, "site"),
    ("{inbound: pacs, calling_ae_title: STM_CT, called_ae_title: PONS}", True, "all of them"),
    ("calling_ae_title: {matches: '^STM_'}", True, "a pattern"),
    ("calling_ae_title: OTHER", False, "another title"),
    # what every instance has, asked for or not
    ("SOPClassUID: 1.2.840.10008.5.1.4.1.1.4", True, "from the file itself"),
    ("StudyInstanceUID: '1.2'", True, "from the file itself"),
    ("TransferSyntaxUID: 1.2.840.10008.1.2.4.90", False, "from the file itself"),
]


@pytest.mark.parametrize(("text", "expected", "why"), ROWS)
def test_a_predicate_means(text: str, expected: bool, why: str) -> None:
    assert holds(text, study([MR, MR, LATE], [SR])) is expected, why


TIMES: list[tuple[str, str, bool]] = [
    ("['08:00', '18:00']", "08:00", True),  # from
    ("['08:00', '18:00']", "17:59", True),
    ("['08:00', '18:00']", "18:00", False),  # until before
    ("['22:00', '06:00']", "23:30", True),  # over midnight
    ("['22:00', '06:00']", "05:59", True),
    ("['22:00', '06:00']", "06:00", False),
    ("['22:00', '06:00']", "21:59", False),
]


@pytest.mark.parametrize(("between", "at", "expected"), TIMES)
def test_time_is_the_sites_own_and_may_cross_midnight(between: str, at: str, expected: bool) -> None:
    assert holds(f"time: {{between: {between}}}", study([MR], at=at)) is expected


VALUES: list[tuple[str, Any, bool]] = [
    # paths through sequences: the values of every item, as the header reader lists them
    ("ProcedureCodeSequence.CodeValue: RPID1", {"ProcedureCodeSequence.CodeValue": ["RPID2", "RPID1"]}, True),
    (
        "ProcedureCodeSequence.CodeValue: RPID3",
        {"ProcedureCodeSequence.CodeValue": ["RPID2", "RPID1"]},
        False,
    ),
    ("ProcedureCodeSequence: {exists: true}", {"ProcedureCodeSequence": [{}]}, True),
    # tags, private ones without a dictionary: compared as text or as numbers
    ("'(0018,9087)': 1000", {"DiffusionBValue": 1000.0}, True),
    ("'(2005,1413)': 3", {"(2005,1413)": "3"}, True),
    ("'(2005,1413)': '3.0'", {"(2005,1413)": "3"}, False),  # in quotes it is text
    ("'(2005,1413)': {at_least: 2}", {"(2005,1413)": ["1", "x", "2"]}, True),
    # identifiers are text: no number in disguise
    ("PatientID: '007'", {"PatientID": "7"}, False),
    ("PatientID: 7", {"PatientID": "7"}, True),
    ("PatientID: 7", {"PatientID": "007"}, False),
    # dates and times order like the numbers they look like
    ("StudyDate: {between: ['20240101', '20241231']}", {"StudyDate": "20240409"}, True),
    ("StudyDate: {at_least: '20250101'}", {"StudyDate": "20240409"}, False),
    # what is no number is not in any range
    ("EchoTime: {at_least: 0}", {"EchoTime": "NaN"}, False),
    ("EchoTime: {at_least: 0}", {"EchoTime": "Infinity"}, False),
    ("EchoTime: {at_most: 9}", {"EchoTime": "about 5"}, False),
    # file meta is not in the data set, so the reader has no value of its own for it
    ("TransferSyntaxUID: 1.2.840.10008.1.2.1", {"TransferSyntaxUID": None}, True),
    # padding and emptiness
    ("Modality: MR", {"Modality": " MR "}, True),
    ("Modality: {exists: true}", {"Modality": "  "}, False),
    ("Modality: {exists: false}", {"Modality": [None, ""]}, True),
]


@pytest.mark.parametrize(("text", "attributes", "expected"), VALUES)
def test_values_compare_as_an_operator_expects(text: str, attributes: dict[str, Any], expected: bool) -> None:
    assert holds(text, study([attributes])) is expected


MISSES: list[tuple[str, str]] = [
    ("Modality: CT", "t:1:2: wanted Modality CT, found 'MR', 'SR'"),
    ("PatientSex: M", "t:1:2: wanted PatientSex M, found no value"),
    (
        "{Modality: MR, EchoTime: {at_least: 200}}",
        "t:1:2: wanted EchoTime at least 200, found '88.5', '104.0'",
    ),
    ("all: [{Modality: MR}, {site: county}]", "t:1:4: wanted site county, found 'st-marys'"),
    (
        "any: [{Modality: CT}, {Modality: US}]",
        "t:1:2: wanted one of (Modality CT), (Modality US), found 'MR', 'SR'",
    ),
    ("not: {Modality: MR}", "t:1:2: wanted not (Modality MR), found that it holds"),
    ("instances: {at_least: 60}", "t:1:2: wanted instances at least 60, found 4"),
    (
        "series: {Modality: MR, instances: {at_least: 60}}",
        "t:1:3: wanted one series with instances at least 60, found 3 in the nearest of 2 series",
    ),
    (
        "instance: {Modality: CT}",
        "t:1:3: wanted one instance with Modality CT, found 'MR' in the nearest of 4 instances",
    ),
    ("time: {between: ['22:00', '06:00']}", "t:1:2: wanted time between 22:00 and 06:00, found 10:30"),
    ("Modality: {in: [CT, US], not: MR}", "t:1:2: wanted Modality CT or US and not MR, found 'MR', 'SR'"),
]


@pytest.mark.parametrize(("text", "reason"), MISSES)
def test_a_miss_says_where_and_what_was_wanted_and_found(text: str, reason: str) -> None:
    facts = StudyFacts(study([MR, MR, LATE], [SR]))
    assert str(read(text).miss(facts, facts.whole)) == reason


def test_a_reason_repeats_few_and_short_values() -> None:
    facts = StudyFacts(study([{"SeriesDescription": f"{number}" + "x" * 200} for number in range(9)]))
    miss = read("SeriesDescription: y").miss(facts, facts.whole)
    assert miss is not None
    assert miss.found_in_words.endswith("and 4 more")
    assert len(miss.found_in_words) < 400


def test_a_study_without_instances_has_no_series_and_no_values() -> None:
    assert not holds("series: {Modality: MR}", study())
    assert holds("{not: {series: {Modality: MR}}, instances: 0}", study())


DEMANDS: list[tuple[str, dict[str, set[str]]]] = [
    ("site: a", {"site": {"a"}}),
    ("site: {in: [a, b]}", {"site": {"a", "b"}}),
    ("{site: a, series: {Modality: MR}}", {"site": {"a"}, "Modality": {"MR"}}),
    ("all: [{site: {in: [a, b]}}, {site: {in: [b, c]}}]", {"site": {"b"}}),
    ("all: [{site: a}, {site: b}]", {"site": set()}),  # a study has one site: never holds
    ("all: [{Modality: MR}, {Modality: SR}]", {"Modality": {"MR"}}),  # but may have both modalities
    ("any: [{site: a}, {site: b, Modality: MR}]", {"site": {"a", "b"}}),
    ("any: [{site: a}, {Modality: MR}]", {}),
    ("not: {site: a}", {}),
    ("site: {not: a}", {}),
    ("site: {matches: a}", {}),
    ("site: {in: [a, b], not: a}", {"site": {"a", "b"}}),  # wider than the truth, never narrower
    ("EchoTime: 5", {}),  # 5.0 would do as well
    ("instance: {not: {Modality: MR}}", {}),
]


@pytest.mark.parametrize(("text", "demanded"), DEMANDS)
def test_what_a_predicate_demands(text: str, demanded: dict[str, set[str]]) -> None:
    assert {name: set(values) for name, values in demands(read(text)).items()} == demanded


def test_a_predicate_knows_every_attribute_it_reads() -> None:
    text = "{series: {Modality: MR, any: [{EchoTime: 1}]}, not: {instance: {'(2005,1413)': 3}}, instances: 2}"
    assert sorted(read(text).attributes()) == ["(2005,1413)", "EchoTime", "Modality"]


@pytest.mark.parametrize(
    ("age", "years", "at_least"),
    [
        ("045Y", 45, True),
        ("018M", 1.5, True),
        ("018M", 1.6, False),
        ("010D", 0.1, False),
        ("052W", 0.99, True),
    ],
)
def test_an_age_is_compared_in_years(age: str, years: float, at_least: bool) -> None:
    assert holds(f"PatientAge: {{at_least: {years}}}", study([{"PatientAge": age}])) is at_least


def test_a_private_attribute_by_its_block_is_doubtful() -> None:
    """The block is where one device has put it; the table works, and is told what would work elsewhere."""
    told: list[tuple[Location, str]] = []

    def fail(location: Location, message: str, code: str = "") -> None:
        pytest.fail(f"{location}: {message}")

    def warn(location: Location, message: str, code: str = "") -> None:
        told.append((location, message))

    reader = MatchReader(lambda location: Mark("t", 1, 1), fail, fail, warn_of_key=warn)
    reader.match({"(0019,100C)": 1000, '(0019,"SIEMENS MR HEADER",0C)': 1000}, ("match",))
    ((location, message),) = told
    assert location == ("match", "(0019,100C)")
    assert "name its creator: '(0019,\"CREATOR\",0C)'" in message
