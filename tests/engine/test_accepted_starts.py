"""Whatever `pons check` accepts, `pons run` starts with: sound tables with a mistake or a change in them."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from engine.config import examine
from engine.run import running
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from engine.table import Table

ROOT = Path(__file__).parents[2]
SOUND = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/routes.yaml")))
}
TREES: dict[str, Any] = {name: yaml.load(text, yaml.BaseLoader) for name, text in SOUND.items()}

Steps = tuple[str | int, ...]


def places(tree: Any, here: Steps = ()) -> Iterator[Steps]:
    """Every place of a tree but its root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*here, key)
        yield from places(value, (*here, key))


def at(tree: Any, steps: Steps) -> Any:
    for step in steps:
        tree = tree[step]
    return tree


PLACES = {name: list(places(tree)) for name, tree in TREES.items()}
SEEN: dict[str, list[Any]] = {}
"""By key, every value that any of the tables has under it: what is likely to be accepted elsewhere."""
for _name, _steps in PLACES.items():
    for _place in _steps:
        if isinstance(_place[-1], str):
            SEEN.setdefault(_place[-1], []).append(at(TREES[_name], _place))
ODD = st.sampled_from(
    ["", "0", "-1", "x", "1h", "99999", "22:00", "true", "(?i)a+", [], {}, ["x"], {"x": "1"}, None]
)


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, str]:
    """A sound table, by name, and its text with a change or two."""
    name = draw(st.sampled_from(sorted(SOUND)))
    if draw(st.booleans()):
        text = SOUND[name]
        start = draw(st.integers(0, len(text)))
        removed = draw(st.integers(0, 12))
        slip = draw(st.text(st.sampled_from("{}[]:,-#&*!|'\"% \n\taMR01.\\"), max_size=4))
        return name, text[:start] + slip + text[start + removed :]
    tree = copy.deepcopy(TREES[name])
    for _ in range(draw(st.integers(1, 2))):
        steps = draw(st.sampled_from(list(places(tree))))
        holder, key = at(tree, steps[:-1]), steps[-1]
        what = draw(st.sampled_from(["seen", "seen", "seen", "seen", "remove", "remove", "repeat", "odd"]))
        if what == "remove" and len(holder) > 1:
            del holder[key]
        elif what == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[int(key)]))
        elif what == "odd":
            holder[key] = draw(ODD)
        elif isinstance(key, str) and key in SEEN:
            holder[key] = copy.deepcopy(draw(st.sampled_from(SEEN[key])))
    return name, yaml.safe_dump(tree, sort_keys=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the tables name, beside them as in the repository."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(
        ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("data", "__pycache__")
    )
    database = SqliteDatabase(folder / "data" / "pons.sqlite")
    migrate(database.engine)
    database.close()
    return folder


def moved(table: Table, data: Path) -> Table:
    """The same table on free ports of loopback and a data folder of the test's."""
    inbound = {
        name: dataclasses.replace(one, settings=one.settings.model_copy(update={"listen": "127.0.0.1:0"}))
        if hasattr(one.settings, "listen")
        else one
        for name, one in table.inbound.items()
    }
    engine = table.engine.model_copy(
        update={"data": data, "http": "127.0.0.1:0", "database": "sqlite", "reserve": 0}
    )
    return dataclasses.replace(table, inbound=inbound, engine=engine)


async def start(table: Table) -> None:
    hurry = asyncio.Event()
    hurry.set()
    async with running(table, hurry=hurry) as engine:
        assert engine.http_port


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(table=changed())
@example(table=("routes.yaml", SOUND["routes.yaml"]))
def test_what_check_accepts_starts(house: Path, table: tuple[str, str]) -> None:
    name, text = table
    path = house / name
    path.write_text(text)
    accepted, findings = examine(path)
    assert all("\n" not in str(one) and one.line >= 1 and one.column >= 1 for one in findings)
    event("accepted" if accepted else "refused")
    if accepted is not None:
        data = house / "started"
        shutil.copytree(house / "data", data)  # migrated already, and of no earlier table
        try:
            asyncio.run(start(moved(accepted, data)))
        finally:
            shutil.rmtree(data)
