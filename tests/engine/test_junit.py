"""The verdicts as JUnit XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from engine.config import load
from engine.junit import junit
from engine.table_tests import run_tests

TABLE = """version: 1
sites: {a: {addresses: [10.0.0.1]}}
inbound: {web: {type: stow_rs}}
routes: [{name: r, match: {SeriesDescription: {matches: "<&\\"'"}}, hold: "a & b <c>"}]
tests:
  - {name: "passes <&\\">", given: {}, expect: {routes: []}}
  - {name: "fails \\uFFFF 🧠", given: {SeriesDescription: "<&\\"'"}, expect: {routes: [], held: "]]>"}}
  - {name: cannot run, given: {dicom_json: no.json}, expect: {routes: [r]}}
"""


def test_a_build_server_reads_what_passed_failed_and_could_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(TABLE)
    (tmp_path / "no.json").write_text("no")
    document = junit("routes.yaml", run_tests(load(tmp_path / "routes.yaml", surroundings=False)))
    root = ElementTree.fromstring(document)
    assert document.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites ")
    assert root.tag == "testsuites"
    (suite,) = root
    for one in (root, suite):
        assert (one.get("tests"), one.get("failures"), one.get("errors")) == ("3", "1", "1")
        assert float(one.get("time", "")) >= 0
    assert suite.get("name") == "routes.yaml"
    passed, failed, broken = suite
    assert [(one.tag, one.get("file"), one.get("line")) for one in suite] == [
        ("testcase", "routes.yaml", str(line)) for line in (6, 7, 8)
    ]
    assert (passed.get("name"), list(passed)) == ('passes <&">', [])
    assert failed.get("name") == "fails \ufffd 🧠", "what XML 1.0 cannot hold is replaced"
    (failure,) = failed
    assert failure.tag == "failure"
    assert failure.get("message") == "routes: expected none; got r (routes.yaml:7:76)"
    assert failure.text is not None
    assert "held: expected ]]>; got a & b <c> (routes.yaml:7:88)" in failure.text.splitlines()
    (error,) = broken
    assert error.tag == "error"
    assert "not JSON" in error.get("message", "")
