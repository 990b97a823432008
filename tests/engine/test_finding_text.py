"""Findings as people read them."""

from __future__ import annotations

from pathlib import Path

from engine.config import examine
from engine.finding import Finding
from engine.finding_text import LONGEST, plain, with_source

BROKEN = Path(__file__).parent / "broken_tables"


def shown(name: str, *, colour: bool = False) -> list[str]:
    _, findings = examine(BROKEN / name, surroundings=False)
    return list(with_source(findings, BROKEN, colour=colour))


def test_a_finding_is_shown_with_its_line_and_a_mark_under_the_word(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\noutbound:\n  his: {type: hl7_orru, site: a}\n")
    _, findings = examine(path)
    assert list(with_source(findings, tmp_path, colour=False)) == [
        "error[unknown-type]: no channel type 'hl7_orru'; did you mean 'hl7_oru'?",
        f" --> {path}:3:15",
        "  |",
        "3 |   his: {type: hl7_orru, site: a}",
        "  |               ^^^^^^^^",
        "  = outbound.his.type",
        "",
    ]
    assert list(plain(findings, tmp_path)) == [
        f"{path}:3:15: outbound.his.type: no channel type 'hl7_orru'; did you mean 'hl7_oru'? [unknown-type]"
    ]


def test_colour_is_only_there_when_asked_for() -> None:
    assert not any("\x1b" in line for line in shown("channel-type.yaml"))
    assert "\x1b[31m" in shown("channel-type.yaml", colour=True)[0]


def test_a_secret_written_out_is_not_shown_again() -> None:
    _, findings = examine(BROKEN / "channel-literal-secret.yaml", surroundings=False)
    lines = list(with_source(findings, BROKEN, colour=False))
    assert any("literal-secret" in line for line in lines)
    assert not any("hunter2" in line for line in lines)


def test_a_long_line_is_cut_around_the_mark(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("x" * 500 + " wrong " + "y" * 500)
    finding = Finding("t.yaml", 1, 502, "a", "cause")
    lines = list(with_source([finding], tmp_path, colour=False))
    source, mark = lines[3].removeprefix("1 | "), lines[4].removeprefix("  | ")
    assert len(source) == LONGEST
    assert source[mark.index("^") : mark.index("^") + len(mark.strip())] == "wrong"


def test_what_a_terminal_would_obey_is_blank_and_a_file_that_is_gone_has_no_line(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("a: \x1b[2Jb\n")
    lines = list(with_source([Finding("t.yaml", 1, 4, "a", "cause")], tmp_path, colour=False))
    assert lines[3] == "1 | a:  [2Jb"
    gone = list(with_source([Finding("none.yaml", 7, 1, "", "cause")], tmp_path, colour=False))
    assert gone == ["error[bad-value]: cause", f" --> {tmp_path / 'none.yaml'}:7:1", ""]
