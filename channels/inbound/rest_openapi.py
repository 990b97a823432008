"""The description of the REST API (OpenAPI 3.1), made of the declarations that serve it.

Enter: operations. Leaves: the document, the same for the same operations. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from channels.inbound.rest_operation import HEADERS, Operation
from channels.inbound.rest_problem import MEDIA_TYPE, TITLES, Problem
from engine.channel import SCOPES

_PLACES = {
    "order_id": "an order's `order_id`",
    "batch_id": "a batch's `batch_id`",
    "result_id": "a result's `result_id`",
    "type": "a format, or the name of a file",
    "study_instance_uid": "a Study Instance UID",
    "upload_id": "an upload's `upload_id`",
    "number": "number of a part, from 1",
}
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
_SCHEMAS: Mapping[str, dict[str, Any]] = {"number": {"type": "integer", "minimum": 1, "maximum": 10_000}}
_ALWAYS = ("malformed", "unauthorized", "forbidden", "invalid", "too-many", "defect", "busy", "full")
_OF_A_BODY = ("silent", "too-large", "media-type")
_OF_BYTES = ("silent", "too-large", "digest", "quota", "state")
BYTES = "application/octet-stream"
_REF = "#/components/schemas/{model}"


def document(operations: Sequence[Operation], base: str) -> dict[str, Any]:
    """The document.

    Args:
        base: the path of the API: addresses are relative to where it was fetched.
    """
    refs, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pons",
            "version": version("pons"),
            "description": "Orders, batches and results of a hospital, for its own programs.",
        },
        "servers": [{"url": base}],
        "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "description": "Client credentials (RFC 6749 4.4); a token is of one site.",
                    "flows": {"clientCredentials": {"tokenUrl": "/oauth2/token", "scopes": dict(SCOPES)}},
                }
            },
        },
    }


Refs = Mapping[Any, Any]


def _schemas(operations: Sequence[Operation]) -> tuple[Refs, dict[str, Any]]:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for one in operations:
        if one.answer is not None:
            models.append((one.answer, "serialization"))
        models += [(model, "validation") for model in (one.body, one.query) if model is not None]
    refs, defined = models_json_schema([*dict.fromkeys(models)], ref_template=_REF)
    return refs, defined["$defs"]


def _operation(one: Operation, refs: Refs) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": one.name,
        "tags": [one.tag],
        "summary": one.summary,
        "security": [] if one.linked else [{"oauth2": [one.scope]}],
        "parameters": _parameters(one),
        "responses": _responses(one, refs),
    }
    if one.body is not None:
        schema = refs[(one.body, "validation")]
        made["requestBody"] = {
            "required": one.body_required,
            "content": {media_type: {"schema": schema} for media_type in one.body_types},
        }
    elif one.streams:
        made["requestBody"] = {"required": True, "content": {BYTES: {}}}
    return made


def _parameters(one: Operation) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PLACES[name],
            "schema": _SCHEMAS.get(name, _NAME),
        }
        for name in re.findall(r"{(\w+)}", one.path)
    ]
    if one.query is not None:
        fields = one.query.model_json_schema(ref_template=_REF)["properties"]
        for name, schema in fields.items():
            plain = _without_null(schema)
            description = plain.pop("description", "")
            made.append({"name": name, "in": "query", "description": description, "schema": plain})
    for name in one.request_headers:
        schema = {"type": "string", "maxLength": 200}
        made.append({"name": name, "in": "header", "description": HEADERS[name], "schema": schema})
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is absent where it has no value: its schema needs no null."""
    plain = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    if plain.get("default", 0) is None:
        del plain["default"]
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            plain |= one
    return plain


def _responses(one: Operation, refs: Refs) -> dict[str, Any]:
    success: dict[str, Any] = {"description": one.summary}
    if one.answer is not None:
        schema = refs[(one.answer, "serialization")]
        success["content"] = {media_type: {"schema": schema} for media_type in one.answer_types}
    else:
        success["content"] = {media_type: {} for media_type in one.answer_types}
    if one.answer_headers:
        success["headers"] = {
            name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in one.answer_headers
        }
    made = {str(status): success for status in (one.status, *one.other_statuses)}
    if "If-None-Match" in one.request_headers:
        made["304"] = {"description": "Nothing has changed"}
    codes = (
        *(code for code in _ALWAYS if code != "unauthorized" or not one.linked),
        *(_OF_A_BODY if one.body is not None else ()),
        *(_OF_BYTES if one.streams else ()),
        *one.problems,
    )
    for status in sorted({TITLES[code][0] for code in codes}):
        titles = dict.fromkeys(TITLES[code][1] for code in codes if TITLES[code][0] == status)
        made[str(status)] = {
            "description": "; ".join(titles),
            "content": {MEDIA_TYPE: {"schema": refs[(Problem, "serialization")]}},
        }
    return made
