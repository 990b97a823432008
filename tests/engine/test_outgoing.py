"""What a table's test may expect of what goes out: who gets it, how it is edited, how it is rendered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import load
from engine.table_tests import Verdict, run_tests

TABLE = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A_CT]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112", ae_title: HUB}
processors: {qc: {type: quality_control}, model: {type: quality_control}}
outbound:
  archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  pacs: {type: dicom_sr, site: a, host: 10.0.0.1, port: 104, ae_title: A}
  ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}
  fhir: {type: fhir_diagnostic_report, site: a, url: "http://127.0.0.1:8081/fhir"}
  hook: {type: webhook, site: a, url: "http://127.0.0.1:8082/x", secret: {env: PONS_TEST_NO_SUCH_SECRET}}
routes:
  - name: brain
    match: {series: {Modality: MR}}
    select: {Modality: MR}
    transform: [{set: {BodyPartExamined: BRAIN}}, {remove: [PatientComments]}]
    process: qc
    deliver:
      - archive
      - pacs
      - {to: ris, when: {status: [final, corrected]}, transform: [{set: {AccessionNumber: RIS-1}}]}
  - {name: again, match: {Modality: MR}, process: model, deliver: [pacs, fhir, hook]}
  - {name: trial, mode: shadow, match: {Modality: MR}, process: model, deliver: [ris]}
  - {name: copy, match: {Modality: MR}, transform: [{set: {BodyPartExamined: HEAD}}], deliver: [archive]}
  - {name: rest, otherwise: true, hold: nobody took it}
tests:
  - name: t
    given: {%s}
    expect: {%s}
"""

STUDY = """PatientID: "4711", PatientName: Müller^Eva, PatientComments: private, AccessionNumber: ACC-1,
      series: [{Modality: MR, instances: 3}, {Modality: SR}]"""
SNR = """{concept: {value: snr, scheme: 99PONS, meaning: SNR}, value: "31.50",
      unit: {value: "1", scheme: UCUM, meaning: no units}}"""
RESULT = f"result: {{title: QC, impression: passed, findings: [{SNR}]}}"


def run(folder: Path, given: str, expect: str) -> Verdict:
    (folder / "routes.yaml").write_text(TABLE % (given, expect))
    (verdict,) = run_tests(load(folder / "routes.yaml", surroundings=False))
    return verdict


MET = [
    "deliver: [archive, pacs, ris, fhir, hook], holds: []",
    # a study's copy: the first route that names its destination, whole study
    "transformed: {archive: {BodyPartExamined: BRAIN, PatientComments: absent, PatientID: '4711'}}",
    # a processor's copy: what the route selects
    "transformed: {qc: {BodyPartExamined: BRAIN, Modality: MR}, model: {PatientComments: private}}",
    # what a result says of its study
    "transformed: {ris: {AccessionNumber: RIS-1, PatientName: {matches: Eva}}}",
    "transformed: {pacs: {AccessionNumber: ACC-1}}",
    'rendered: {ris: {PID-3.1: "4711", PID-5.1: Müller, OBX-5: 31.5, MSH-9.1: ORU, OBX-8: absent}}',
    "rendered: {ris: {OBR-18: RIS-1}}",
    "rendered: {fhir: {entry.resource.status: final, entry.0.resource.resourceType: {exists: true}}}",
    'rendered: {pacs: {Modality: SR, CompletionFlag: COMPLETE, PatientID: "4711", AccessionNumber: ACC-1}}',
    "rendered: {hook: {type: result.final}, archive: {BodyPartExamined: BRAIN}}",
]


@pytest.mark.parametrize("expect", MET)
def test_what_goes_out_is_as_expected(tmp_path: Path, expect: str) -> None:
    verdict = run(tmp_path, f"{STUDY}, {RESULT}", expect)
    assert verdict.passed, verdict.lines


UNMET: list[tuple[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = [
    (
        "transformed: {archive: {BodyPartExamined: HEAD}}",
        ("transformed archive BodyPartExamined", ("HEAD",), ("BRAIN",)),
    ),
    (
        "transformed: {qc: {PatientComments: {exists: true}}}",
        ("transformed qc PatientComments", ("a value",), ()),
    ),
    ("rendered: {ris: {OBR-18: ACC-1}}", ("rendered ris OBR-18", ("ACC-1",), ("RIS-1",))),
    ("rendered: {hook: {type: absent}}", ("rendered hook type", ("no value",), ("result.final",))),
    (
        "deliver: [archive, pacs]",
        ("deliver", ("archive", "pacs"), ("archive", "pacs", "ris", "fhir", "hook")),
    ),
]


@pytest.mark.parametrize(("expect", "difference"), UNMET)
def test_what_is_not_as_expected_is_shown_with_its_place(
    tmp_path: Path, expect: str, difference: tuple[str, tuple[str, ...], tuple[str, ...]]
) -> None:
    verdict = run(tmp_path, f"{STUDY}, {RESULT}", expect)
    (one,) = verdict.differences
    assert (one.what, one.expected, one.got) == difference
    line = next(
        number
        for number, text in enumerate((tmp_path / "routes.yaml").read_text().splitlines(), 1)
        if "expect:" in text
    )
    assert one.position.startswith(f"routes.yaml:{line}:")


def test_a_destination_whose_when_the_result_does_not_meet_gets_nothing_and_the_reason_is_told(
    tmp_path: Path,
) -> None:
    given = f"{STUDY}, result: {{status: failed, narrative: out of memory}}"
    verdict = run(tmp_path, given, "deliver: [archive, pacs, ris], rendered: {ris: {OBX-5: x}}")
    assert [(one.what, one.got) for one in verdict.differences] == [
        ("deliver", ("archive",)),
        ("rendered ris OBX-5", ("nothing: wanted status final or corrected, found failed",)),
    ]
    assert "ris: not sent, wanted status final or corrected, found failed" in verdict.lines


def test_a_correction_is_rendered_as_one_of_what_the_destination_holds(tmp_path: Path) -> None:
    given = f"{STUDY}, {RESULT.replace('{title', '{status: corrected, title')}"
    expect = (
        "rendered: {ris: {OBR-25: C}, hook: {type: result.corrected}, "
        "fhir: {entry.resource.status: corrected}, "
        "pacs: {PredecessorDocumentsSequence.StudyInstanceUID: {exists: true}}}"
    )
    verdict = run(tmp_path, given, expect)
    assert verdict.passed, verdict.lines


def test_a_correction_goes_to_those_who_hold_what_it_corrects(tmp_path: Path) -> None:
    """Whatever is found now: or they would go on showing what no longer is."""
    only_high = TABLE.replace(
        "when: {status: [final, corrected]}", "when: {findings: {value: {at_least: 40}}}"
    )
    for status, reached in (("final", False), ("corrected", True)):
        given = f"{STUDY}, {RESULT.replace('{title', f'{{status: {status}, title')}"
        (tmp_path / "routes.yaml").write_text(only_high % (given, "deliver: [ris]"))
        (verdict,) = run_tests(load(tmp_path / "routes.yaml", surroundings=False))
        assert ("ris" in verdict.differences[0].got) is reached


def test_a_study_in_files_is_edited_and_rendered_from_them(
    tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    (tmp_path / "study").mkdir()
    for number in (1, 2):
        (tmp_path / "study" / f"{number}.dcm").write_bytes(instance(number, PatientComments="x"))
    report = {
        "algorithm": {"name": "qc", "version": "2"},
        "findings": [
            {"concept": {"value": "t", "scheme": "99PONS", "meaning": "Text"}, "value": "seen"},
        ],
    }
    (tmp_path / "result.json").write_text(json.dumps(report))
    verdict = run(
        tmp_path,
        "folder: study, result: result.json",
        "routes: [brain, again, copy], transformed: {archive: {PatientComments: absent}}, "
        "rendered: {ris: {PID-3.1: P-1, OBX-5: seen}}",
    )
    assert verdict.passed, verdict.lines


def test_what_real_devices_send_can_be_given_legal_or_not(tmp_path: Path) -> None:
    given = (
        "Modality: MR, BodyPartExamined: left knee, StudyDate: not a date, PatientAge: young, "
        f"InstanceNumber: 1.5, AccessionNumber: {'x' * 40}, {RESULT}"
    )
    verdict = run(
        tmp_path,
        given,
        "transformed: {model: {BodyPartExamined: left knee}}, rendered: {ris: {OBR-18: RIS-1}}",
    )
    assert verdict.passed, verdict.lines


TROUBLE = [
    (STUDY, "rendered: {ris: {OBX-5: x}}", "ris carries results; give the test one: `given: {result: …}`"),
    (
        f"{STUDY}, {RESULT}",
        "rendered: {ris: {nonsense: x}}",
        "'nonsense' is no HL7 field; write it as PID-5.1",
    ),
    (f"{STUDY}, result: bad.json", "rendered: {ris: {OBX-5: x}}", "bad.json: algorithm: field required"),
    (f"{STUDY}, result: worse.json", "deliver: []", "worse.json:1:2: not JSON: "),
    ("dicom_json: bad.json", "routes: [brain]", "bad.json: data set 1: is no DICOM JSON: "),
    (
        f"{STUDY}, {RESULT.replace('{title', '{artefacts: [{name: no.png, media_type: image/png}], title')}",
        "rendered: {ris: {OBX-5: x}}",
        "no.png: no such artefact",
    ),
    ("Rows: many", "transformed: {qc: {Rows: 1}}", "Rows (US) cannot be 'many'"),
]


@pytest.mark.parametrize(("given", "expect", "message"), TROUBLE)
def test_a_test_that_cannot_be_run_says_why(tmp_path: Path, given: str, expect: str, message: str) -> None:
    (tmp_path / "bad.json").write_text('{"findings": []}')
    (tmp_path / "worse.json").write_text("{")
    given = given.replace("Rows: many", "Rows: many, Modality: MR")
    verdict = run(tmp_path, given, expect)
    assert not verdict.passed
    assert message in verdict.trouble
