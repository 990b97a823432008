"""The page of the REST API for people: its description as plain HTML.

Enter: the OpenAPI document. Leaves: one page that loads nothing, runs no script, and explains every
operation, model and problem. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from channels.inbound.rest_problem import TITLES

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
summary { cursor: pointer; padding: .4rem 0; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid GrayText; border-radius: .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
details { border-bottom: 1px solid GrayText; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    base = document["servers"][0]["url"]
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    sections = [
        f'<h2 id="{escape(tag["name"])}">{escape(tag["name"])}</h2>'
        + "".join(_operations(document, base, tag["name"]))
        for tag in document["tags"]
    ]
    models = "".join(
        f'<details id="model-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_json(schema)}</details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    scopes = _table(
        ("scope", "lets a client"), [(f"<code>{k}</code>", escape(v)) for k, v in flow["scopes"].items()]
    )
    problems = _table(
        ("type", "status", "means"),
        [
            (f'<code id="{code}">{code}</code>', str(status), escape(title))
            for code, (status, title) in TITLES.items()
        ],
    )
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}: REST API"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{title}</h1><p>{escape(document['info']['description'])} "
        f'<a href="{escape(base)}/openapi.json">OpenAPI {escape(document["openapi"])}</a></p>'
        f"<p>Get an access token at <code>POST {escape(flow['tokenUrl'])}</code> and show it as "
        f"<code>Authorization: Bearer …</code>.</p>{scopes}{''.join(sections)}"
        f'<h2 id="models">Models</h2>{models}<h2 id="problems">Problems (RFC 9457)</h2>{problems}'
        "</main></body></html>"
    )


def _scope(operation: Mapping[str, Any]) -> str:
    if not operation["security"]:
        return "No token: the address is signed."
    return f"Scope: <code>{escape(operation['security'][0]['oauth2'][0])}</code>"


def _operations(document: Mapping[str, Any], base: str, tag: str) -> Iterable[str]:
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            if tag not in one["tags"]:
                continue
            rows = [
                (f"<code>{escape(part['name'])}</code>", part["in"], escape(part["description"]))
                for part in one["parameters"]
            ]
            bodies = [
                f"<p>Body: {_model(content.get('schema', {}))} as <code>{escape(media_type)}</code></p>"
                for media_type, content in one.get("requestBody", {}).get("content", {}).items()
            ]
            answers = [
                (status, " ".join(_model(c.get("schema", {})) for c in told.get("content", {}).values()),
                 escape(told["description"]))
                for status, told in one["responses"].items()
            ]  # fmt: skip
            yield (
                f'<details id="{escape(one["operationId"])}"><summary><code>{method.upper()} '
                f"{escape(base + path)}</code> {escape(one['summary'])}</summary>"
                f"<p>{_scope(one)}</p>"
                + (_table(("parameter", "in", "meaning"), rows) if rows else "")
                + "".join(bodies)
                + _table(("status", "body", "when"), answers)
                + "</details>"
            )


def _model(schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#model-{escape(name)}">{escape(name)}</a>' if name else "bytes"


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
