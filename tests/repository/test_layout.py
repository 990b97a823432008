"""The tree as a stranger finds it: licence, layout, nothing of the machine it was made on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_BY_HAND = {".py", ".md", ".yaml", ".toml", ".sh", ".mjs", ".json", ".txt", ".svg", ".typ", ".sql", ""}
HOST_OF_A_REGISTRY = re.compile(
    r"--(extra-)?index-url|--find-links|file://|https?://[\w.-]*(pypi|npmjs|registry)\."
)
HOME_OF_A_MACHINE = re.compile(r"(?<![\w.<{/-])/(home|root|work|Users|opt)/[\w.-]+/")


def tracked() -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    """What people wrote, except this test, which names what it looks for."""
    return [
        (path.relative_to(ROOT), path.read_text())
        for path in tracked()
        if path.suffix in WRITTEN_BY_HAND and path != Path(__file__)
    ]


def test_the_licence_is_apache_2() -> None:
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])


def test_the_front_door_is_complete() -> None:
    files = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "routes.yaml",
        "pyproject.toml",
    ]
    files += [".ci/run", ".ci/constraints.txt", ".pre-commit-config.yaml"]
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = [f"{path}: {m[0]}" for path, text in texts() for m in HOME_OF_A_MACHINE.finditer(text)]
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    found = [f"{path}: {m[0]}" for path, text in texts() for m in HOST_OF_A_REGISTRY.finditer(text)]
    assert found == []


def test_nothing_is_skipped_or_expected_to_fail() -> None:
    marks = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b|\b(TODO|FIXME|XXX)\b")
    found = [
        f"{path}: {m[0]}" for path, text in texts() if path.suffix == ".py" for m in marks.finditer(text)
    ]
    assert found == []


def test_every_source_file_says_what_it_is() -> None:
    sources = [
        path for part in ("engine", "channels", "wg", "examples") for path in (ROOT / part).rglob("*.py")
    ]
    assert len(sources) > 20
    mute = [p.relative_to(ROOT) for p in sources if p.stat().st_size and not p.read_text().startswith('"""')]
    assert mute == []


def test_every_source_file_is_one_story() -> None:
    sources = [path for part in ("engine", "channels", "wg") for path in (ROOT / part).rglob("*.py")]
    # At 400 lines ask whether it is still one; at 500 it is not.
    too_long = [p.relative_to(ROOT) for p in sources if len(p.read_text().splitlines()) > 500]
    assert too_long == []


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
    assert [p.relative_to(ROOT) for p in tracked() if p.suffix == ".py" and p.stem in drawers] == []


def pinned() -> dict[str, str]:
    """The constraints, normalised name to version."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    return {re.sub(r"[-_.]+", "-", n).lower(): v for n, _, v in (line.partition("==") for line in lines)}


def test_every_dependency_is_pinned_to_one_version() -> None:
    assert all(re.fullmatch(r"[\w.!+]+", version) for version in pinned().values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~!; ]", name)[0]).lower() for name in wanted}
    assert names - set(pinned()) == set()


@pytest.mark.parametrize("group", ["pons.inbound", "pons.outbound", "pons.processor"])
def test_every_type_on_the_parts_list_has_its_page_and_its_test(group: str) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][group]
    assert points
    folder = "processors" if group == "pons.processor" else "channels"
    for name, target in points.items():
        module = target.partition(":")[0]
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), target
        assert (ROOT / "docs" / folder / f"{name}.md").is_file(), f"no docs/{folder}/{name}.md"
        own = Path(module.replace(".", "/"))
        test = ROOT / "tests" / own.parent / f"test_{own.name}.py"
        if own.name == "channel":  # a package of its own, with a folder of tests
            test = ROOT / "tests" / own.parent.name
        assert test.exists(), f"no {test.relative_to(ROOT)}"


def test_every_decision_is_on_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("*.md")} - {"README.md"}
