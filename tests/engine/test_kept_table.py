"""Versions that the database keeps, laid out as files again."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import load
from engine.errors import ConfigurationError
from engine.kept_table import lay_out

TABLE = """\ufeffversion: 1
engine: {data: ./data}
include: [sites/*.yaml]
inbound: {pacs: {type: c_store, listen: "127.0.0.1:11112"}}
"""
SITE = "sites: {st-marys: {name: St. Märy's, addresses: [127.0.0.1], ae_titles: [A]}}\n"


def test_a_kept_version_reads_as_it_did(tmp_path: Path) -> None:
    (tmp_path / "table" / "sites").mkdir(parents=True)
    (tmp_path / "table" / "routes.yaml").write_text(TABLE)
    (tmp_path / "table" / "sites" / "a.yaml").write_text(SITE)
    first = load(tmp_path / "table" / "routes.yaml", surroundings=False)
    path = lay_out(tmp_path / "kept" / "v", "routes.yaml", first.files)
    again = load(path, base=first.base, surroundings=False)
    assert again.version == first.version
    assert again.engine.data == first.engine.data == tmp_path / "table" / "data"
    assert again.sites["st-marys"].name == "St. Märy's"


def test_it_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    path = lay_out(tmp_path / "kept", "routes.yaml", {"routes.yaml": "version: 1\n", "a/b/c.yaml": ""})
    modes = {one.relative_to(tmp_path).as_posix(): one.stat().st_mode & 0o777 for one in tmp_path.rglob("*")}
    assert modes == {
        "kept": 0o700,
        "kept/a": 0o700,
        "kept/a/b": 0o700,
        "kept/a/b/c.yaml": 0o600,
        "kept/routes.yaml": 0o600,
    }
    assert path == tmp_path / "kept" / "routes.yaml"


def test_what_is_there_is_put_right_and_otherwise_left_alone(tmp_path: Path) -> None:
    files = {"routes.yaml": "version: 1\n", "b.yaml": "sites: {}\n"}
    path = lay_out(tmp_path, "routes.yaml", files)
    before = path.stat().st_ino
    (tmp_path / "b.yaml").write_text("half of it")
    lay_out(tmp_path, "routes.yaml", files)
    assert path.stat().st_ino == before
    assert (tmp_path / "b.yaml").read_text() == files["b.yaml"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.yaml", "routes.yaml"]


@pytest.mark.parametrize("name", ["../out.yaml", "/etc/out.yaml", "a/../../out.yaml", ""])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="names a file outside its folder"):
        lay_out(tmp_path / "kept", "routes.yaml", {"routes.yaml": "version: 1\n", name: "x"})
    assert not (tmp_path / "out.yaml").exists()


def test_the_table_itself_must_be_among_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lacks its file routes\.yaml"):
        lay_out(tmp_path, "routes.yaml", {"other.yaml": "version: 1\n"})
