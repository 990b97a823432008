"""A backup is whole or is none, and what it holds comes back byte for byte, into either database."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, select, update

from engine.audit import verify as verify_trail
from engine.backup import back_up
from engine.data_folder import tenancy
from engine.errors import PonsError
from engine.manifest import BrokenBackup, Manifest, listed, read_manifest, verify
from engine.restore import meaning, restore
from engine.store import studies as study_queries
from engine.store import work
from engine.store.database import Database, SqliteDatabase, open_database
from engine.store.migrate import revisions
from engine.store.tables import audit_events, deliveries, instances, studies
from engine.stored_result import stored_result
from tests.engine.conftest import HandClock
from tests.engine.store.earlier import BEGAN, RESULT, lay, rows_of
from tests.engine.store.test_copy import all_rows
from tests.peers.postgres import Cluster

PARTS = "payloads/00000001-0000-4000-8000-000000000000/0.part"


def ignore(_what: str, _done: int, _total: int) -> None:
    return


@dataclass
class House:
    """A data folder with files for its rows, and what a backup is made with."""

    database: Database
    data: Path
    folder: Path
    clock: HandClock
    contents: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: str, content: bytes) -> None:
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.contents[path] = content

    def back_up(self, name: str = "backup", **options: Any) -> Manifest:
        settings = {"table": "sha256:0", "clock": self.clock, "actor": "ann", "progress": ignore}
        return back_up(self.database, self.data, self.folder / name, **(settings | options))

    def restore(self, name: str = "backup", to: str = "elsewhere", url: URL | None = None) -> Any:
        data = self.folder / to
        url = url or URL.create("sqlite", database=str(data / "pons.sqlite"))
        return restore(self.folder / name, data, url, clock=self.clock, actor="ann", progress=ignore)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fill(database: Database, data: Path) -> dict[str, bytes]:
    """Rows in every table, a file for each that names one, and the engine's own state."""
    lay(database, revisions()[-1], data)
    contents = {f"instances/{row['path']}": os.urandom(3000) for row in rows_of("0003", data)["instances"]}
    contents[f"artefacts/{RESULT}/montage.png"] = b"picture"
    contents[PARTS] = b"MSH|^~\\&|"
    contents["link.key"] = b"k" * 32
    contents["sftp/drop/host_key"] = b"-----BEGIN OPENSSH PRIVATE KEY-----"
    part = {"identifier": "a", "media_type": "x-application/hl7-v2+er7", "path": PARTS, "facts": {}}
    database.write_now(
        lambda c: c.execute(update(deliveries).where(deliveries.c.seq == 1).values(payload=[part]))
    )
    return contents


@pytest.fixture
def bare_sqlite(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    yield opened
    opened.close()


@pytest.fixture(params=["bare_sqlite", "postgres_database"])
def house(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> House:
    database: Database = request.getfixturevalue(request.param)
    made = House(database, tmp_path / "data", tmp_path, clock)
    for path, content in fill(database, made.data).items():
        made.write(path, content)
    (made.data / "landing" / "process").mkdir(parents=True)
    (made.data / "landing" / "process" / "half").write_bytes(b"not yet acknowledged")
    (made.data / "engine.lock").touch()
    made.write("sftp/drop/st-marys/files/input/waits", b"not yet taken in")
    made.contents.pop("sftp/drop/st-marys/files/input/waits", None)
    return made


@pytest.fixture
def small(bare_sqlite: SqliteDatabase, tmp_path: Path, clock: HandClock) -> House:
    """The same on SQLite alone, for what does not touch a database."""
    made = House(bare_sqlite, tmp_path / "data", tmp_path, clock)
    for path, content in fill(bare_sqlite, made.data).items():
        made.write(path, content)
    return made


# ── there and back ──


def test_what_was_backed_up_comes_back_byte_for_byte(house: House) -> None:
    before = all_rows(house.database)
    made = house.back_up()
    assert (made.files, made.removed, made.missing) == (len(house.contents), 0, 0)
    assert made.size == sum(map(len, house.contents.values()))
    done = house.restore()

    again = files_below(house.folder / "elsewhere")
    assert {path: again[path] for path in house.contents} == house.contents
    assert set(again) - set(house.contents) == {"engine.lock", "start.lock", "pons.sqlite"}
    database = SqliteDatabase(house.folder / "elsewhere" / "pons.sqlite")
    after = all_rows(database)
    assert database.read_now(verify_trail) is None
    document = database.read_now(lambda c: work.result_document(c, RESULT))
    database.close()
    assert stored_result(document, house.folder / "elsewhere").report.artefacts[0].read() == b"picture"
    assert after.pop("audit_events")[:-1] == before.pop("audit_events"), "one event is new: the restore"
    assert after == before
    assert done.open_deliveries == {"archive": 1, "his": 1, "pacs": 1}


def test_a_backup_moves_an_engine_to_postgresql(small: House, postgres: Cluster) -> None:
    before = all_rows(small.database)
    small.back_up()
    address = postgres.database()
    url = URL.create(
        "postgresql", "pons", host="127.0.0.1", port=postgres.port, database=address.rpartition("/")[2]
    )
    small.restore(url=url)

    database = open_database(url)
    after = all_rows(database)
    database.close()
    assert after.pop("audit_events")[:-1] == before.pop("audit_events")
    assert after == before
    assert not (small.folder / "elsewhere" / "restoring.sqlite").exists()
    with pytest.raises(PonsError, match="the database holds records: restore into an empty one"):
        small.restore(to="third", url=url)
    postgres.drop(address)


def test_both_are_on_the_audit_trail(small: House) -> None:
    small.back_up()
    [event] = small.database.read_now(
        lambda c: c.execute(select(audit_events).where(audit_events.c.action == "backup made")).all()
    )
    assert (event.actor, event.subject, event.detail["files"]) == (
        "ann",
        "backup backup",
        len(small.contents),
    )
    small.restore()
    database = SqliteDatabase(small.folder / "elsewhere" / "pons.sqlite")
    last = database.read_now(lambda c: c.execute(select(audit_events).order_by(audit_events.c.id)).all())[-1]
    database.close()
    assert (last.actor, last.action) == ("ann", "restored from a backup")


def test_a_backup_is_private(small: House) -> None:
    small.back_up()
    for path in [small.folder / "backup", *(small.folder / "backup").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_what_a_restore_means_is_said_in_full(small: House) -> None:
    small.back_up()
    said = "\n".join(meaning(small.restore()))
    for words in ("2023-11-14T22:13:20+00:00", "must send them again", "3 deliveries", "same identifiers"):
        assert words in said


# ── what is damaged ──


@pytest.mark.parametrize(
    ("damaged", "how", "says"),
    [
        ("data/link.key", "flip", "does not match its digest"),
        ("data/" + PARTS, "cut", "does not match its digest"),
        ("data/" + PARTS, "remove", "is not there"),
        ("pons.sqlite", "flip", "does not match its digest"),
        ("pons.sqlite", "remove", "is not there"),
        ("files.jsonl", "cut", "does not match its digest"),
        ("manifest.json", "cut", "cannot be read"),
        ("manifest.json", "remove", "this is no backup, or one that was interrupted"),
    ],
)
def test_a_damaged_backup_is_refused_by_the_name_of_the_file(
    small: House, damaged: str, how: str, says: str
) -> None:
    small.back_up()
    file = small.folder / "backup" / damaged
    content = file.read_bytes()
    if how == "remove":
        file.unlink()
    else:
        middle = len(content) // 2
        file.write_bytes(
            content[:middle]
            + (bytes([content[middle] ^ 1]) + content[middle + 1 :] if how == "flip" else b"")
        )

    for attempt in (lambda: verify(small.folder / "backup", ignore), small.restore):
        with pytest.raises(BrokenBackup) as refused:
            attempt()
        assert str(file) in str(refused.value)
        assert says in str(refused.value)
    assert not (small.folder / "elsewhere").exists(), "nothing may be written before all is verified"


def test_every_damaged_file_is_named_at_once(small: House) -> None:
    small.back_up()
    for path in small.contents:
        (small.folder / "backup" / "data" / path).write_bytes(b"other")
    with pytest.raises(BrokenBackup) as refused:
        verify(small.folder / "backup", ignore)
    assert len(str(refused.value).splitlines()) == len(small.contents)


def test_a_list_that_leads_out_of_the_data_folder_is_refused(small: House) -> None:
    made = small.back_up()
    backup = small.folder / "backup"
    lines = (backup / "files.jsonl").read_text().replace("link.key", "../key")
    (backup / "files.jsonl").write_text(lines)
    facts = json.loads(made.to_json()) | {"list_sha256": hashlib.sha256(lines.encode()).hexdigest()}
    (backup / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(BrokenBackup, match="names a file outside the data folder"):
        small.restore()


def test_a_backup_of_another_form_is_refused(small: House) -> None:
    made = small.back_up()
    facts = json.loads(made.to_json()) | {"format": "pons.backup/9"}
    (small.folder / "backup" / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(BrokenBackup, match="restore it with the release that made it"):
        small.restore()


# ── where it may go ──


def test_a_place_that_is_in_use_is_refused(small: House) -> None:
    small.back_up()
    with pytest.raises(PonsError, match="a backup: name a folder that is not there yet"):
        small.back_up()
    (small.folder / "backup" / "manifest.json").unlink()
    with pytest.raises(PonsError, match="not empty, and no finished backup"):
        small.back_up()
    with pytest.raises(PonsError, match="no such folder: make it first"):
        small.back_up("nowhere/backup")
    for inside in (small.data / "backup", small.folder):
        with pytest.raises(PonsError, match="cannot lie in the data folder, nor around it"):
            small.back_up(str(inside))


async def test_a_data_folder_in_use_or_not_empty_is_left_alone(small: House) -> None:
    small.back_up()
    (small.folder / "taken").mkdir()
    async with tenancy(small.folder / "taken", shared=False):
        with pytest.raises(PonsError, match="an engine is running on it"):
            small.restore(to="taken")
    (small.folder / "taken" / "link.key").write_bytes(b"mine")
    with pytest.raises(PonsError, match=r"not empty \(link.key is there\)"):
        small.restore(to="taken")
    assert set(files_below(small.folder / "taken")) == {"engine.lock", "start.lock", "link.key"}


def test_too_little_space_is_said_before_anything_is_copied(
    small: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(PonsError, match=r"the backup needs 0.00 GB there and 0.00 GB are free"):
        small.back_up()
    assert files_below(small.folder / "backup") == {}


def test_a_backup_that_fails_leaves_nothing_and_no_event(small: House) -> None:
    def stop(what: str, done: int, _total: int) -> None:
        if what == "copying files" and done > 5000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.back_up(progress=stop)
    assert list((small.folder / "backup").iterdir()) == []
    assert len(all_rows(small.database)["audit_events"]) == 1
    assert small.back_up().missing == 0, "the place is free for the next"


# ── files that are gone, files that are shared ──


def test_what_retention_took_meanwhile_is_noted(house: House) -> None:
    """Rows and files of a study go between the snapshot and the copying."""

    def purge(what: str, _done: int, _total: int) -> None:
        if what == "copying files" and not purged:
            purged.append(True)
            house.database.write_now(_purge)
            shutil.rmtree(house.data / "instances" / "st-marys" / "1.2.826.0.1.3680043.8.498.1")
            shutil.rmtree(house.data / "artefacts")

    purged: list[bool] = []
    made = house.back_up(progress=purge)
    assert (made.missing, made.removed) == (0, 3)
    lines = {one.path: one.absent for one in listed(house.folder / "backup")}
    assert lines[f"artefacts/{RESULT}/montage.png"] == "removed"
    house.restore()


def _purge(connection: Connection) -> None:
    connection.execute(instances.delete().where(instances.c.study_id == 1))
    connection.execute(update(studies).where(studies.c.id == 1).values(purged_at=BEGAN + 1e5))


def test_files_of_a_purged_study_are_not_looked_for(house: House) -> None:
    house.database.write_now(_purge)
    shutil.rmtree(house.data / "artefacts")
    (house.data / PARTS).unlink()
    made = house.back_up()
    assert (made.missing, made.removed) == (0, 0)


def test_what_was_queued_after_a_purge_is_backed_up(house: House) -> None:
    """A retraction of a result whose study retention has emptied."""
    house.database.write_now(_purge)
    house.database.write_now(lambda c: c.execute(update(deliveries).values(created_at=BEGAN + 1e6)))
    house.back_up()
    assert PARTS in {one.path for one in listed(house.folder / "backup")}


def test_a_file_that_is_missing_for_no_reason_is_told(house: House) -> None:
    (house.data / PARTS).unlink()
    made = house.back_up()
    assert (made.missing, made.removed) == (1, 0)
    assert f"{made.missing} files were missing already" in "\n".join(meaning(house.restore()))


def test_unchanged_files_of_an_earlier_backup_are_shared(small: House) -> None:
    small.back_up("first")
    small.write("link.key", b"n" * 32)
    made = small.back_up("second", previous=small.folder / "first")
    shared = {
        path
        for path in small.contents
        if (small.folder / "second" / "data" / path).samefile(small.folder / "first" / "data" / path)
    }
    assert shared == set(small.contents) - {"link.key"}
    verify(small.folder / "second", ignore)
    shutil.rmtree(small.folder / "first")
    assert made == verify(small.folder / "second", ignore), "it stands without the one it was made after"
    assert made == read_manifest(small.folder / "second")


def test_linked_files_cost_no_space_and_stay_when_the_engine_removes_its_own(small: House) -> None:
    small.back_up(link=True)
    shutil.rmtree(small.data / "instances")
    verify(small.folder / "backup", ignore)
    small.restore()
    again = files_below(small.folder / "elsewhere")
    assert {path: again[path] for path in small.contents} == small.contents


def test_a_backup_of_an_earlier_schema_becomes_one_of_this_release(tmp_path: Path, clock: HandClock) -> None:
    """As a release of that schema would have made it: its rows, its manifest."""
    backup = tmp_path / "backup"
    (backup / "data").mkdir(parents=True)
    old = SqliteDatabase(backup / "pons.sqlite")
    lay(old, "0002", tmp_path / "data")
    old.close()
    (backup / "files.jsonl").touch()
    digests = [
        hashlib.sha256((backup / name).read_bytes()).hexdigest() for name in ("pons.sqlite", "files.jsonl")
    ]
    made = Manifest("0002", "0.1", "sha256:0", BEGAN, BEGAN, 1, *digests, 0, 0, 0, 0)
    (backup / "manifest.json").write_bytes(made.to_json())

    house = House(old, tmp_path / "data", tmp_path, clock)
    assert house.restore().schema == revisions()[-1]
    database = SqliteDatabase(tmp_path / "elsewhere" / "pons.sqlite")
    assert database.read_now(lambda c: study_queries.study(c, 1)).purged_at is None
    database.close()
