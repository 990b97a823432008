"""What docs/channels says of the ways out is what the software does."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from engine.channel import OutboundContext, OutboundSettings, OutboundType
from engine.model import Site

PAGES = Path(__file__).parents[3] / "docs" / "channels"
TYPES: dict[str, OutboundType] = {point.name: point.load() for point in entry_points(group="pons.outbound")}


WAYS_IN = {point.name for point in entry_points(group="pons.inbound")}


def page(name: str) -> str:
    """The page of a way out; one whose name is a way in as well has a page of its own."""
    return (PAGES / (f"{name}-outbound.md" if name in WAYS_IN else f"{name}.md")).read_text("utf-8")


def rows(name: str) -> dict[str, str]:
    """The table of fields: name -> default."""
    table = page(name).partition("| field |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))


@pytest.mark.parametrize("name", TYPES)
def test_the_documented_block_builds(name: str) -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    kind = TYPES[name]
    for key, documented in yaml.safe_load(block)["outbound"].items():
        assert documented.pop("type") == kind.name == name
        settings = kind.settings.model_validate(documented)
        assert kind.build(settings, OutboundContext(key, Site("st-marys", "St. Mary's"))) is not None


@pytest.mark.parametrize("name", TYPES)
def test_every_field_is_documented_and_no_other(name: str) -> None:
    assert sorted(rows(name)) == sorted(TYPES[name].settings.model_fields)


@pytest.mark.parametrize("name", TYPES)
def test_a_field_without_default_is_documented_as_such(name: str) -> None:
    fields = TYPES[name].settings.model_fields
    required = {key for key, field in fields.items() if field.is_required()}
    assert {key for key, default in rows(name).items() if default == "–"} == required


@pytest.mark.parametrize("name", TYPES)
def test_a_plain_default_is_documented_as_it_is(name: str) -> None:
    fields = TYPES[name].settings.model_fields
    plain = {key: field.default for key, field in fields.items() if isinstance(field.default, str | bool)}
    shown = {key: rows(name)[key].strip("`").replace("empty", "") for key in plain}
    given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in plain.items()}
    assert {**shown, "receiving_facility": ""} == {**given, "receiving_facility": ""}
    seconds = {"30s": 30.0, "10m": 600.0}[rows(name)["timeout"].strip("`")]
    assert fields["timeout"].default == seconds


@pytest.mark.parametrize("name", TYPES)
def test_every_field_explains_itself_to_an_editor(name: str) -> None:
    fields = TYPES[name].settings.model_fields
    assert [key for key, field in fields.items() if not field.description] == []
    assert issubclass(TYPES[name].settings, OutboundSettings)
