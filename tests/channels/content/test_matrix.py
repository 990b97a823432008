"""Every format in every standing, script and size, before judges that nobody here wrote.

One test a size and script, with the five standings in it, so that a judge that can is started once
for all of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hl7types import decode_er7
from pydicom import dcmread

from channels.content import fhir, oru, pdf, sc, sr
from engine.model import Code, Finding, Flag, History, PersonName, Range, Result, ResultStatus, uid_from
from tests.peers.fhir_judges import fhir_errors
from tests.peers.fhir_node_judges import node_fhir_errors
from tests.peers.judges import dciodvfy_errors
from tests.peers.process import binary

pytestmark = pytest.mark.judges

Standing = Callable[..., tuple[Result, History]]
Case = tuple[str, Result, History]

HUGE = 200  # findings

SCRIPTS = {
    # script: a name and a remark in it
    "latin": ("Müller-Lüdenscheidt^Jérôme^^Dr.", "Größe der Läsion, 37 °C ± ½"),
    "japanese": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "頭部の所見なし"),
    "arabic": ("قباني^نزار", "صورة الدماغ طبيعية"),
    "cyrillic": ("Щёголева^Юлия", "МРТ головного мозга"),
}
UTF8_IS_NOT_CHECKED = "W: The VR checker does not support this Specific Character Set: ISO_IR 192"
SIZES = ("minimal", "full", "huge")


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    """How much a result says."""
    return str(request.param)


@pytest.fixture(params=SCRIPTS)
def script(request: pytest.FixtureRequest) -> str:
    """What its patient and findings are written in."""
    return str(request.param)


@pytest.fixture
def cases(in_standing: Standing, size: str, script: str) -> Callable[[str], list[Case]]:
    """A function: the results of a size and script in all five standings, told to a destination that took
    objects of a SOP class before."""
    name, remark = SCRIPTS[script]

    def make(sop_class_uid: str = "1.2.3") -> list[Case]:
        found = []
        for status in ResultStatus:
            kind = "minimal" if size == "minimal" else "full"
            result, past = in_standing(kind, status, sop_class_uid)
            known = {"name": PersonName.parse(name), "patient_id": result.patient.patient_id or "P-1"}
            patient = result.patient.model_copy(update=known)
            report = result.report.model_copy(update={"impression": remark})
            if size == "huge" and status is not ResultStatus.FAILED:
                report = report.model_copy(
                    update={"findings": _many(remark), "narrative": f"{remark}\n" * 40}
                )
            found.append((status, result.model_copy(update={"patient": patient, "report": report}), past))
        return found

    return make


def _many(remark: str) -> tuple[Finding, ...]:
    """Hundreds of findings of every kind of value, in groups of ten."""
    volume = Code(value="118565006", scheme="SCT", meaning="Volume")
    unit = Code(value="mL", scheme="UCUM", meaning="milliliter")
    hippocampus = Code(value="5366008", scheme="SCT", meaning="Hippocampus")
    verdict = Code(value="check", scheme="99PONS", meaning="Check")
    passed = Code(value="passed", scheme="99PONS", meaning="Passed")
    found: list[Finding] = []
    for number in range(HUGE):
        group = f"Structure {number // 10}"
        common = {"group": group, "tracking_id": group, "tracking_uid": uid_from("matrix", group)}
        match number % 4:
            case 0:
                found.append(Finding(concept=verdict, value=passed, flag=Flag.NORMAL, **common))
            case 1:
                text = Code(value=f"remark-{number}", scheme="99PONS", meaning=f"Remark {number}")
                found.append(Finding(concept=text, value=remark, comment=remark, **common))
            case _:
                found.append(
                    Finding(
                        concept=volume,
                        value=Decimal(number) / 8,
                        unit=unit,
                        reference_range=Range(low=Decimal("2.0"), high=Decimal("9.50")),
                        flag=Flag.HIGH if number > 76 else Flag.NORMAL,
                        site=hippocampus,
                        **common,
                    )
                )
    return tuple(found)


# ── DICOM ───────────────────────────────────────────────────────────────────────────────────────

OBJECTS = [
    # format, its renderer and SOP class, what DCMTK reads it with beside dcmdump
    ("sr", sr.render, "1.2.840.10008.5.1.4.1.1.88.33", "dsrdump"),
    ("sc", sc.render, sc.SOP_CLASS_UID, "dcmdump"),
    ("pdf", pdf.render, pdf.SOP_CLASS_UID, "dcmdump"),
]


@pytest.mark.parametrize(("name", "render", "sop_class_uid", "reader"), OBJECTS, ids=[o[0] for o in OBJECTS])
def test_dicom_objects(
    cases: Callable[[str], list[Case]],
    script: str,
    tmp_path: Path,
    name: str,
    render: Callable[[Result, History], Any],
    sop_class_uid: str,
    reader: str,
) -> None:
    paths = []
    for status, result, past in cases(sop_class_uid):
        for number, part in enumerate(render(result, past).parts):
            path = tmp_path / f"{name}-{status}-{number}.dcm"
            path.write_bytes(part.read())
            paths.append(path)
    assert len(paths) >= len(ResultStatus) - 1  # a retraction need not be of this SOP class
    assert {path.name: dciodvfy_errors(path) for path in paths} == {path.name: [] for path in paths}
    for tool in {"dcmdump", reader}:
        command = [binary(tool, "dcmtk"), *map(str, paths)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
        complaints = [
            line
            for line in done.stderr.splitlines()
            if line[:2] in ("E:", "W:", "F:") and line != UTF8_IS_NOT_CHECKED
        ]
        assert (done.returncode, complaints) == (0, [])
    for path in paths:
        assert str(dcmread(path, stop_before_pixels=True).PatientName) == SCRIPTS[script][0], path.name


def test_the_page(cases: Callable[..., list[Case]], size: str, script: str, tool: Callable[..., str]) -> None:
    name, remark = SCRIPTS[script]
    for status, result, past in cases():
        page = _letters(
            tool("pdftotext", "poppler-utils", pdf.render_pdf(result, past.rendered_at), "{}", "-")
        )
        for group in filter(None, name.split("=")):
            assert _letters(group.replace("^", "")) in page, status
        assert page.count(_letters(remark)) >= (HUGE // 4 if _is_huge(size, status) else 1), status


def _is_huge(size: str, status: str) -> bool:
    return size == "huge" and status != ResultStatus.FAILED


def _letters(text: str) -> str:
    """Without spaces and the marks by which poppler tells the direction."""
    return re.sub("[\\s\u202a-\u202e]", "", unicodedata.normalize("NFKC", text))


# ── HL7 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5.1"])
def test_oru_messages(
    cases: Callable[..., list[Case]], script: str, size: str, version: Any, tmp_path: Path
) -> None:
    for status, result, past in cases():
        part = oru.render(result, past, oru.Profile(version=version, sending_facility="VENDOR")).parts[0]
        text = part.read().decode("utf-8")
        lines = text.split("\r")[:-1]

        if size != "huge" or (status, version) == (ResultStatus.FINAL, "2.5.1"):  # seconds for each huge one
            by_hl7apy = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
            verdict = tmp_path / "verdict"
            assert by_hl7apy.validate(report_file=str(verdict)), f"{status}: {verdict.read_text()}"
            assert by_hl7apy.to_er7().rstrip("\r").split("\r") == lines

        assert decode_er7(text).model_dump()["MSH"]["msh_12"]["vid_1"] == version

        parsed = hl7.parse(text)
        assert str(parsed).rstrip("\r").split("\r") == lines
        header, [*observations] = parsed.segment("MSH"), parsed.segments("OBX")
        assert str(header[9]) == ("ORU^R01" if version == "2.3.1" else "ORU^R01^ORU_R01")
        assert 0 < len(str(header[10])) <= 20
        assert str(header[12]) == version
        families = [one.split("^")[0] for one in str(parsed.segment("PID")[5]).split("~")]
        assert families == [group.split("^")[0] for group in SCRIPTS[script][0].split("=")]
        for one in observations:
            assert str(one[2]) in ("NM", "CE", "TX", "ST", "ED"), f"{status}: OBX-2 {one[2]}"
            if str(one[2]) == "NM":
                assert re.fullmatch(r"-?\d+(\.\d+)?", str(one[5])), f"{status}: OBX-5 {one[5]}"
        keys = [(str(one[3]), str(one[4])) for one in observations]
        assert len(keys) == len(set(keys)), f"{status}: OBX-3 with OBX-4 is not unique"
        assert len(observations) >= (HUGE if _is_huge(size, status) else 1)


# ── FHIR ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["upsert", "report", "document"])
def test_fhir_resources(cases: Callable[..., list[Case]], script: str, mode: Any) -> None:
    resources = []
    for status, result, past in cases():
        content = fhir.render(result, past, mode).parts[0].read()
        assert fhir_errors(content) == [], status
        plain = json.loads(content)
        resources.append(plain)
        for group in filter(None, SCRIPTS[script][0].split("=")):
            assert f'"{group.split("^")[0]}"' in json.dumps(plain, ensure_ascii=False), status
    assert [errors for errors in node_fhir_errors(resources) if errors] == []
