"""YAML that remembers where everything stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.document import read, scalar

SCALARS: list[tuple[str, Any]] = [
    ("12", 12),
    ("-3", -3),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    ("true", True),
    ("~", None),
    ("", None),
    # text where YAML 1.1 sees something else
    ("22:00", "22:00"),  # not 1320, sexagesimal
    ("no", "no"),  # not False
    ("on", "on"),
    ("2024-04-09", "2024-04-09"),  # not a date
    ("007", "007"),  # identifiers are written so
    ("0x10", "0x10"),
    ("1_000", "1_000"),
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2"),
    (".inf", ".inf"),
    (".", "."),
    ("9" * 40, "9" * 40),  # no number of a table is that long
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_is_what_it_looks_like_to_a_person(text: str, value: Any) -> None:
    read_back = scalar(text)
    assert (read_back, type(read_back)) == (value, type(value))


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "routes.yaml"


def test_every_key_and_value_has_its_position(tmp_path: Path) -> None:
    path = written(
        tmp_path, routes_yaml="version: 1\nsites:\n  # a comment\n  a: {tunnel: 10.0.0.1,\n      name: X}\n"
    )
    document = read(path)
    assert str(document.value_at(("sites", "a", "tunnel"))) == "routes.yaml:4:15"
    assert str(document.key_at(("sites", "a", "name"))) == "routes.yaml:5:7"
    assert str(document.value_at(("sites", "a", "absent"))) == "routes.yaml:4:6", "what encloses it"
    assert document.findings == ()


def test_quoted_scalars_stay_text(tmp_path: Path) -> None:
    document = read(written(tmp_path, routes_yaml="version: 1\na: '12'\nb: \"true\"\nc: |\n  7\n"))
    assert document.data == {"version": 1, "a": "12", "b": "true", "c": "7\n"}


def test_included_files_add_to_the_sections_of_the_table(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        routes_yaml="version: 1\ninclude: [sites/*.yaml]\nsites:\n  a: {}\nroutes: [{name: one}]\n",
        sites__b_yaml="sites:\n  b: {tunnel: 10.0.0.2}\nroutes: [{name: two}]\n",
        sites__c_yaml="inbound:\n  pacs: {type: c_store}\nroutes: [{name: three}]\n",
    )
    document = read(path)
    assert document.findings == ()
    assert list(document.data["sites"]) == ["a", "b"]
    assert [route["name"] for route in document.data["routes"]] == ["one", "two", "three"]
    assert str(document.value_at(("routes", 2, "name"))) == "sites/c.yaml:3:17"
    assert str(document.key_at(("inbound", "pacs"))) == "sites/c.yaml:2:3"


def test_a_name_declared_in_two_files_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        routes_yaml="version: 1\ninclude: [b.yaml]\nsites:\n  a: {tunnel: 10.0.0.1}\n",
        b_yaml="sites:\n  a: {tunnel: 10.0.0.2}\n",
    )
    assert [str(finding) for finding in read(path).findings] == [
        "b.yaml:2:3: sites.a: 'a' is declared already at routes.yaml:4:3; rename one of them [duplicate-name]"
    ]


INCLUDED: list[tuple[str, str]] = [
    ("engine: {data: x}\n", "b.yaml:1:1: engine: an included file may not hold 'engine'"),
    ("include: [c.yaml]\n", "b.yaml:1:1: include: an included file may not hold 'include'"),
    ("- a\n", "b.yaml:1:1: an included file is a mapping with"),
    ("sites: [a]\n", "b.yaml:1:8: sites: must be a mapping of names"),
    ("sites: {\n", "b.yaml:2:1: not YAML: did not find expected node content"),
]


@pytest.mark.parametrize(("text", "finding"), INCLUDED)
def test_what_an_included_file_may_not_hold(tmp_path: Path, text: str, finding: str) -> None:
    path = written(
        tmp_path,
        routes_yaml="version: 1\ninclude: [b.yaml]\nsites:\n  a: {tunnel: 10.0.0.1}\n",
        b_yaml=text,
    )
    (found,) = read(path).findings
    assert str(found).startswith(finding)


def test_the_version_changes_with_any_byte_of_any_file(tmp_path: Path) -> None:
    path = written(tmp_path, routes_yaml="version: 1\ninclude: [b.yaml]\n", b_yaml="sites: {}\n")
    first = read(path).version
    assert read(path).version == first
    written(tmp_path, b_yaml="sites: {} # a comment\n")
    second = read(path).version
    written(tmp_path, routes_yaml="version: 1 \ninclude: [b.yaml]\n")
    assert len({first, second, read(path).version}) == 3
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 12


def test_anchors_and_merge_keys_work_and_own_keys_win(tmp_path: Path) -> None:
    text = "version: 1\na: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4, x: 9}]}\nd: *a\n"
    document = read(written(tmp_path, routes_yaml=text))
    assert document.findings == ()
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 1, "y": 2, "z": 4}, "the first of several wins (YAML merge)"
    assert document.data["d"] == {"x": 1, "y": 2}
    assert str(document.value_at(("d",))) == "routes.yaml:5:4"


def test_an_anchor_cannot_contain_itself(tmp_path: Path) -> None:
    (finding,) = read(written(tmp_path, routes_yaml="version: 1\na: &a [*a]\n")).findings
    assert str(finding) == "routes.yaml:2:8: no anchor &a before this alias [not-plain]"


BYTES: list[tuple[bytes, str]] = [
    (b"version: 1\nsites: {a: \xff}\n", "routes.yaml:2:1: not UTF-8; save the file as UTF-8 [unreadable]"),
    (b"version: 1\nsites: \x00\n", "routes.yaml:1:1: not YAML: it holds a control character [not-yaml]"),
    (b"", "routes.yaml:1:1: a table is a mapping and starts with version: 1 [wrong-kind]"),
    (
        b"a: " + b"x" * (33 * 1024 * 1024),
        "routes.yaml:1:1: larger than 32 MB; split it with include [unreadable]",
    ),
]


@pytest.mark.parametrize(("content", "finding"), BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_table(tmp_path: Path, content: bytes, finding: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(content)
    assert [str(one) for one in read(path).findings] == [finding]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert read(path).data == {"version": 1}


def test_the_text_of_every_file_is_kept_by_its_path(tmp_path: Path) -> None:
    path = written(
        tmp_path, routes_yaml="version: 1\ninclude: [sites/*.yaml]\n", sites__ä_yaml="\ufeffsites: {}\n"
    )
    document = read(path)
    assert document.files == {
        "routes.yaml": "version: 1\ninclude: [sites/*.yaml]\n",
        "sites/ä.yaml": "\ufeffsites: {}\n",
    }
    copied = tmp_path / "kept"
    for name, text in document.files.items():
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        (copied / name).write_bytes(text.encode())
    assert read(copied / "routes.yaml").version == document.version


def test_paths_start_from_another_folder_when_told_so(tmp_path: Path) -> None:
    path = written(
        tmp_path, routes_yaml="version: 1\ninclude: [sites/*.yaml]\n", sites__a_yaml="sites: {a: {}}"
    )
    document = read(path, tmp_path / "elsewhere")
    assert document.base == tmp_path / "elsewhere"
    assert document.data["sites"] == {"a": {}}, "what it includes lies with it all the same"
    assert document.version == read(path).version


def test_an_included_file_lies_below_the_tables_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "outside.yaml").write_text("sites: {}\n")
    path = written(tmp_path / "a", routes_yaml="version: 1\ninclude: [../outside.yaml]\n")
    (finding,) = read(path).findings
    assert str(finding).startswith(
        "routes.yaml:2:11: include[0]: ../outside.yaml is not below the table's folder"
    )


def test_a_link_is_known_by_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "v2.yaml").write_text("sites: {a: {}}\n")
    table = tmp_path / "table"
    (table / "sites").mkdir(parents=True)
    (table / "sites" / "a.yaml").symlink_to(tmp_path / "kept" / "v2.yaml")
    document = read(written(table, routes_yaml="version: 1\ninclude: [sites/*.yaml]\n"))
    assert list(document.files) == ["routes.yaml", "sites/a.yaml"]
    assert str(document.key_at(("sites", "a"))) == "sites/a.yaml:1:9"
