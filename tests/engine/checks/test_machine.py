"""What the engine itself needs of its machine, before it is started there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import examine


def told(folder: Path, text: str) -> list[tuple[str, str, str]]:
    path = folder / "routes.yaml"
    path.write_text(f"version: 1\n{text}\n")
    return [(one.path, one.severity, one.code) for one in examine(path)[1]]


def test_a_file_where_the_data_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    refused = [("engine.data", "error", "bad-data-folder")]
    assert told(tmp_path, "engine: {data: data}") == refused
    assert told(tmp_path, "engine: {data: data/deeper/still}") == refused
    assert told(tmp_path, "engine: {data: other/deeper/still}") == []


def test_a_folder_that_this_user_cannot_write_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may all
    assert told(tmp_path, "engine: {data: data}") == [("engine.data", "warning", "bad-data-folder")]


def test_the_password_of_the_database_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "engine: {database: postgresql://pons@127.0.0.1/pons, database_password: {env: PONS_TEST_PASSWORD}}"
    )
    monkeypatch.delenv("PONS_TEST_PASSWORD", raising=False)
    assert told(tmp_path, text) == [("engine.database_password.env", "error", "missing-secret")]
    monkeypatch.setenv("PONS_TEST_PASSWORD", "x")
    assert told(tmp_path, text) == []


def test_a_listener_has_an_address_that_the_machine_knows(tmp_path: Path) -> None:
    unknown = "error", "unknown-address"
    nowhere = "x" * 64  # longer than a label of DNS may be: nobody is asked
    assert told(tmp_path, f'engine: {{http: "{nowhere}:80"}}') == [("engine.http", *unknown)]
    listen = f"inbound: {{pacs: {{type: c_store, listen: '{nowhere}:104'}}}}"
    found = told(tmp_path, listen)
    assert ("inbound.pacs.listen", *unknown) in found
    assert told(tmp_path, 'engine: {http: "localhost:8080"}') == []


def test_more_processes_than_cores_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    table = "sites: {a: {addresses: [127.0.0.2]}}\ninbound: {pacs: {type: c_store}}\nengine: {workers: %d}"
    codes = {
        count: [code for where, _, code in told(tmp_path, table % count) if where == "engine.workers"]
        for count in (1, 3, 4)
    }
    assert codes == {1: [], 3: [], 4: ["idle-workers"]}
