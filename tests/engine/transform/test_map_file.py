"""Map files: their form, and how they belong to the table that names them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.config import examine, load
from engine.transform.map_file import MAX_BYTES, MAX_ENTRIES, entries_of

TABLE = """version: 1
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1], ae_titles: [STM]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112"}
outbound:
  archive: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 104, ae_title: ARCHIVE}
routes:
  - name: mr
    match: {Modality: MR}
    transform:
      - map: {BodyPartExamined: {file: FILE, otherwise: remove}}
    deliver: [archive]
"""


def table(folder: Path, content: bytes | None, name: str = "maps/body-parts.csv") -> Path:
    (folder / "maps").mkdir(exist_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    path = folder / "routes.yaml"
    path.write_text(TABLE.replace("FILE", name))
    return path


def test_the_entries_of_a_file_are_part_of_the_step(tmp_path: Path) -> None:
    made = load(table(tmp_path, '\ufeffSKULL,HEAD\r\n\r\n"KNEE, LEFT",LEG\n'.encode()))
    (step,) = made.routes[0].transform
    assert step["map"]["BodyPartExamined"]["table"] == {"SKULL": "HEAD", "KNEE, LEFT": "LEG"}
    assert step["map"]["BodyPartExamined"]["otherwise"] == "remove"


def test_a_file_that_changes_makes_another_version_of_the_table(tmp_path: Path) -> None:
    first = load(table(tmp_path, b"SKULL,HEAD\n"))
    same = load(table(tmp_path, b"SKULL,HEAD\n"))
    other = load(table(tmp_path, b"SKULL,BRAIN\n"))
    assert first.version == same.version != other.version
    assert first.files["maps/body-parts.csv"] == "SKULL,HEAD\n"


REFUSED = [
    (b"", "holds no entry"),
    (b"SKULL\n", "line 1 is not two columns"),
    (b"SKULL,HEAD\nKNEE,LEG,L\n", "line 2 is not two columns"),
    (b",HEAD\n", "line 1 is not two columns"),
    (b"SKULL,HEAD\nSKULL,BRAIN\n", "line 2 has the value of an earlier line"),
    (b'SKULL,"HEAD\n', "line 1 is no CSV"),
    (b"SKULL,much too long a body part\n", "the entry of 'SKULL': BodyPartExamined cannot hold this value"),
    (b"x" * MAX_BYTES + b",HEAD\n", "larger than 64 kB"),
    (b"".join(b"%d,HEAD\n" % number for number in range(MAX_ENTRIES + 1)), "more than 2000 entries"),
]


@pytest.mark.parametrize(("content", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_a_file_that_is_no_map_is_found_where_it_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    made, findings = examine(table(tmp_path, content))
    assert made is None
    (finding,) = findings
    assert why in finding.message
    assert (finding.file, finding.line, finding.column) == ("routes.yaml", 12, 40)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("maps/absent.csv", "cannot be read: No such file"),
        ("../elsewhere.csv", "is not below the table's folder"),
        ("/etc/hostname", "is not below the table's folder"),
        ("maps", "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_not_with_the_table_is_found(tmp_path: Path, name: str, why: str) -> None:
    made, findings = examine(table(tmp_path, None, name))
    assert made is None
    assert [why in finding.message for finding in findings] == [True]
    assert findings[0].code == "missing-file"


def test_numbers_are_numbers_for_an_attribute_that_holds_them(tmp_path: Path) -> None:
    path = table(tmp_path, b"1,2\n")
    path.write_text(path.read_text().replace("BodyPartExamined", "EchoTrainLength"))
    (step,) = load(path).routes[0].transform
    assert step["map"]["EchoTrainLength"]["table"] == {"1": 2}


def test_a_quote_that_is_never_closed_names_its_line() -> None:
    with pytest.raises(ValueError, match=re.escape("line 2 is no CSV")):
        entries_of('a,b\n"c,d\n')
