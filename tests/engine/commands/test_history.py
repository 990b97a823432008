"""`pons history`: which tables ran, since when, who wanted it and why, and what was in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import PonsError
from tests.engine.commands.plan_house import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.start()
    made.run(
        "apply",
        made.write(lambda table: table["outbound"]["ris"].update(port=2576)),
        "--yes",
        "--message",
        "the new port",
    )
    return made


def test_changes_are_listed_the_latest_first(desk: Desk) -> None:
    rows = desk.json("history")
    assert [(row["change"], row["action"], row["message"]) for row in rows] == [
        (2, "applied", "the new port"),
        (1, "started", ""),
    ]
    assert rows[1]["at"] == "2023-11-14T22:13:20+00:00"
    said = desk.run("history", "list", "--limit", "1").splitlines()
    assert said[0].split()[:4] == ["change", "version", "at", "actor"]
    assert "the new port" in said[1]
    assert len(said) == 2


def test_the_files_of_a_version_are_shown_as_they_were(desk: Desk) -> None:
    new, first = (row["version"] for row in desk.json("history"))
    assert desk.run("history", "show", new, "new.yaml") == (desk.folder / "new.yaml").read_text()
    assert desk.run("history", "show", first).startswith("routes.yaml  ")
    told = desk.json("history", "show", first)
    assert (told["main"], list(told["files"])) == ("routes.yaml", ["routes.yaml"])
    refused = desk.pons("history", "show", first, "new.yaml")
    assert isinstance(refused.exception, PonsError)
    assert f"{first} has no file new.yaml; it has routes.yaml" in str(refused.exception)


def test_two_versions_are_compared_line_by_line(desk: Desk) -> None:
    new, first = (row["version"] for row in desk.json("history"))
    desk.run("apply", desk.write(name="routes.yaml"), "--yes")
    desk.run("apply", desk.write(lambda t: t["outbound"]["ris"].update(port=2577), "routes.yaml"), "--yes")
    said = desk.run("history", "diff", first).splitlines()
    assert said[0] == f"--- routes.yaml {first}"
    assert [line for line in said if line[:1] in "+-"][2:] == ["-    port: 2575", "+    port: 2577"]
    assert desk.run("history", "diff", first, first) == ""
    said = desk.run("history", "diff", first, new).splitlines()
    assert said[:2] == [f"--- routes.yaml {first}", f"+++ new.yaml {new}"], "the file had another name"
    assert [line for line in said if line[:1] in "+-"][2:] == ["-    port: 2575", "+    port: 2576"]


def test_what_is_not_there_is_told(tmp_path: Path, desk: Desk) -> None:
    refused = desk.pons("history", "show", "zz")
    assert isinstance(refused.exception, PonsError)
    assert "no version begins with zz" in str(refused.exception)
    empty = Desk(tmp_path / "empty")
    empty.folder.mkdir()
    (empty.folder / "routes.yaml").write_text("version: 1\nengine: {data: ./data}\n")
    refused = empty.pons("history")
    assert isinstance(refused.exception, PonsError)
    assert "no engine has run here yet" in str(refused.exception)
