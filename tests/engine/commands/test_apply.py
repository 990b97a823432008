"""`pons apply` and `--rollback`: shown, agreed to, done, and seen through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from engine import cli
from engine.errors import PonsError
from engine.proposal import time_of
from engine.store import table_versions
from engine.store.database import PostgresDatabase
from engine.store.migrate import migrate
from tests.engine.commands.plan_house import Desk
from tests.engine.proposal_house import House
from tests.peers.postgres import Cluster


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.start()
    return made


def other_port(table: dict[str, Any]) -> None:
    table["outbound"]["ris"]["port"] = 2576


def beat(desk: Desk, node: str, version: str, refused: str = "", trouble: str = "") -> None:
    with desk.house() as house:
        now = time_of(house.database)
        house.database.write_now(lambda c: table_versions.beat(c, node, now, now, version, refused, trouble))


def running(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = desk.json("history", "--limit", "1")[0]
    return found


def test_it_is_shown_and_done_with_a_yes(desk: Desk) -> None:
    said = desk.run("apply", desk.write(other_port), "--message", "the new port", "--yes")
    assert "    port: 2575 -> 2576" in said.splitlines()
    now = running(desk)
    assert said.splitlines()[-2:] == [
        f"{now['version']} is applied, change 2 of the history",
        "no engine runs: it takes effect at the next start",
    ]
    assert (now["action"], now["message"], now["change"], now["forced"]) == (
        "applied",
        "the new port",
        2,
        False,
    )
    assert now["actor"].endswith(")") or now["actor"].startswith("uid ")


def test_without_a_yes_nothing_is_done(desk: Desk) -> None:
    before = running(desk)
    said = desk.run("apply", desk.write(other_port), expect=1)
    assert said.splitlines()[-1] == "nothing was changed; add --yes to do it"
    assert desk.pons("apply", desk.write(other_port), "--json").exit_code == 1
    assert running(desk) == before


@pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_a_person_is_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: str, done: bool
) -> None:
    monkeypatch.setattr("engine.commands.apply.at_a_terminal", lambda: True)
    arguments = ["apply", desk.write(other_port), "--table", str(desk.folder / "routes.yaml")]
    result = CliRunner().invoke(cli.application(), arguments, input=answer)
    assert "apply it? [y/N]:" in result.output
    assert result.exit_code == (0 if done else 1)
    assert (running(desk)["action"] == "applied") is done


def test_tests_that_fail_refuse_it_unless_forced(desk: Desk) -> None:
    path = desk.write(lambda table: table["tests"][0]["expect"].update(routes=["mr"]))
    said = desk.run("apply", path, "--yes", expect=1)
    assert "not applied: 1 of 1 tests of the table fail (--force applies it all the same)" in said
    assert running(desk)["change"] == 1
    desk.run("apply", path, "--yes", "--force")
    assert (running(desk)["change"], running(desk)["forced"]) == (2, True)


def test_errors_are_never_forced(desk: Desk) -> None:
    path = desk.write(lambda table: table["routes"][0].update(deliver=["arhive"]))
    said = desk.run("apply", path, "--yes", "--force", expect=1)
    assert "did you mean 'archive'?" in said
    assert "not applied: the table has errors" in said
    assert running(desk)["change"] == 1


def test_stranding_deliveries_refuses_it_unless_forced(desk: Desk) -> None:
    def without_archive(table: dict[str, Any]) -> None:
        del table["outbound"]["archive"]
        table["routes"][0]["deliver"] = ["ris"]

    with desk.house() as house:
        house.study(1)
        house.delivery(1, "archive", "d-1")
    path = desk.write(without_archive)
    told = desk.json("apply", path, "--yes", expect=1)
    assert told["objections"][0].startswith("outbound archive has 1 queued")
    assert "change" not in told
    assert desk.json("apply", path, "--yes", "--force")["change"] == 2


def test_the_running_table_is_not_applied_again(desk: Desk) -> None:
    said = desk.run("apply", desk.write(), "--yes")
    assert "nothing changes: this is the running table" in said
    assert running(desk)["change"] == 1


def test_what_the_engines_say_is_told(desk: Desk) -> None:
    version = desk.json("plan", desk.write(other_port))["version"]
    before = running(desk)["version"]
    beat(desk, "n1", version)
    beat(desk, "n2", before, version, "127.0.0.1:104 cannot be bound")
    said = desk.run("apply", desk.write(other_port), "--yes", expect=1).splitlines()
    assert said[-3:] == [
        "engine n1 runs it",
        f"engine n2 refused it and goes on with {before}: 127.0.0.1:104 cannot be bound",
        "not every engine took it: `pons apply --rollback` goes back",
    ]
    told = desk.json("apply", "--rollback", "--yes", "--wait", "200ms", expect=1)
    assert [(one["engine"], one["state"]) for one in told["engines"]] == [("n2", "taken"), ("n1", "pending")]
    assert (running(desk)["version"], running(desk)["action"]) == (before, "rolled back")


def test_going_back_by_itself_is_told(desk: Desk) -> None:
    before = running(desk)["version"]
    version = desk.json("plan", desk.write(other_port))["version"]
    beat(desk, "n1", before, version, "no")
    said = desk.run("apply", desk.write(other_port), "--yes", "--auto-rollback", expect=1)
    assert said.splitlines()[-1] == f"not every engine took it: {before} is the running table again"
    assert running(desk)["version"] == before


def test_a_rollback_is_a_plan_like_any_other_and_names_a_version_or_the_one_before(desk: Desk) -> None:
    first = running(desk)["version"]
    desk.run("apply", desk.write(other_port), "--yes")
    desk.run("apply", desk.write(lambda table: table["outbound"]["ris"].update(port=2577)), "--yes")
    said = desk.run("apply", "--rollback", "--yes", "--message", "the port was right before")
    assert "    port: 2577 -> 2576" in said.splitlines()
    assert running(desk)["message"] == "the port was right before"
    said = desk.run("apply", first.removeprefix("sha256:")[:6], "--rollback", "--yes")
    assert "    port: 2576 -> 2575" in said.splitlines()
    assert running(desk)["version"] == first
    actions = [one["action"] for one in desk.json("history")]
    assert actions == ["rolled back", "rolled back", "applied", "applied", "started"]


def test_a_rollback_needs_no_table_that_is_whole(desk: Desk) -> None:
    desk.run("apply", desk.write(other_port), "--yes")
    path = desk.folder / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\nroutes: [{nme: oops}]\n")
    desk.run("apply", "--rollback", "--yes")
    assert running(desk)["action"] == "rolled back"


def test_wrong_use_is_told(desk: Desk, tmp_path: Path) -> None:
    assert "name the new table, or --rollback" in desk.run("apply", "--yes", expect=2)
    assert "no such" in desk.run("apply", "gone.yaml", expect=2)
    assert "a duration needs a unit" in desk.run("apply", desk.write(), "--wait", "30", expect=2)
    refused = desk.pons("apply", "zz", "--rollback", "--yes")
    assert isinstance(refused.exception, PonsError)
    assert "no version begins with zz" in str(refused.exception)


def test_an_engine_must_have_run_here(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\n")
    refused = desk.pons("apply", str(path), "--yes")
    assert isinstance(refused.exception, PonsError)
    assert "start it with `pons run" in str(refused.exception)
    assert not (tmp_path / "data").exists()


def test_engines_that_share_a_postgresql_are_reached_by_their_table(
    tmp_path: Path, postgres: Cluster
) -> None:
    address = postgres.database()

    def shared(table: dict[str, Any]) -> None:
        table["engine"]["database"] = address.replace("postgresql+psycopg:", "postgresql:")

    def moved(table: dict[str, Any]) -> None:
        shared(table)
        other_port(table)

    opened = PostgresDatabase(make_url(address))
    try:
        migrate(opened.engine)
        house = House(opened, tmp_path)
        first = house.start(shared)
        new = house.write(moved)
    finally:
        opened.close()
    desk = Desk(tmp_path)
    assert desk.json("plan", str(new))["running"]["version"] == first
    assert desk.json("apply", str(new), "--yes", "--wait", "0s")["change"] == 2
    desk.run("apply", "--rollback", "--yes", "--wait", "0s")
    assert [one["action"] for one in desk.json("history")] == ["rolled back", "applied", "started"]
    postgres.drop(address)
