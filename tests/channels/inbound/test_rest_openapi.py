"""What the REST API says of itself is whole, and follows from what serves it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from jsonschema import Draft202012Validator

from channels.inbound import rest_openapi, rest_page
from channels.inbound.rest import OPERATIONS

DOCUMENT = rest_openapi.document(OPERATIONS, "/api/v1")


def test_every_reference_leads_to_a_schema_and_every_schema_is_one() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert named <= set(schemas)
    assert {"StudyOrder", "Problem", "GivenOrder"} <= named
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_described_once() -> None:
    described = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert sorted(one["operationId"] for one in described) == sorted(one.name for one in OPERATIONS)
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)
    by_address = {one.name for one in OPERATIONS if one.linked}
    assert by_address == {"sendUpload"}
    for one in described:
        assert (one["security"] == []) == (one["operationId"] in by_address), one["operationId"]
        asked = {"403", "503"} if one["operationId"] in by_address else {"401", "403", "503"}
        assert asked <= set(one["responses"]), one["operationId"]


def test_every_place_in_a_path_is_a_parameter() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for one in methods.values():
            places = [part["name"] for part in one["parameters"] if part["in"] == "path"]
            assert places == re.findall(r"{(\w+)}", path)


class _Links(HTMLParser):
    """What a page names, where it leads, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[tuple[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            elif name == "href" and value:
                self.links.append(value)
            if (
                name in ("src", "style")
                or name.startswith("on")
                or tag in ("script", "link", "img", "iframe")
            ):
                self.loads.append((tag, value))


def test_the_page_tells_everything_and_loads_nothing() -> None:
    parser = _Links()
    parser.feed(rest_page.page(DOCUMENT))
    assert parser.loads == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert {one.name for one in OPERATIONS} <= set(parser.ids)
    assert {link[1:] for link in parser.links if link.startswith("#")} <= set(parser.ids)
    assert "idempotency" in parser.ids  # the type of a problem leads here
