"""A FHIR R4 server for loopback: resources and transaction Bundles in, one JSON file per resource out.

    python -m examples.peers.fhir_server --port 8091 --folder received/fhir

As much of the RESTful API as a receiver of results needs (FHIR R4 http.html): create with
If-None-Exist, conditional update by `identifier`, read, search by `identifier`, transaction, and a
CapabilityStatement. A folder holds the current version of each resource as `Type-id.json`.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TYPES = frozenset({
    "Binary", "Device", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Observation",
    "Organization", "Patient", "Practitioner", "ServiceRequest",
})  # fmt: skip
LARGEST_BODY = 64 * 1024 * 1024  # bytes; a report carries a whole PDF
FHIR_JSON = "application/fhir+json"

Resource = dict[str, Any]


class Problem(Exception):
    """A request that cannot be served: an HTTP status and an OperationOutcome code."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.outcome = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": code, "diagnostics": text}],
        }


class Shelf:
    """The resources, in memory for searching and in a folder for looking at."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.resources: dict[str, Resource] = {}  # by `Type/id`

    def matching(self, kind: str, query: str) -> list[Resource]:
        """Search by `identifier=system|value`, the one parameter that results need."""
        wanted = parse_qs(query)
        if unknown := set(wanted) - {"identifier", "_count", "_format"}:
            raise Problem(400, "not-supported", f"cannot search by {', '.join(sorted(unknown))}")
        found = []
        for reference, resource in self.resources.items():
            tokens = {token for item in _identifiers(resource) for token in _tokens(item)}
            if reference.startswith(f"{kind}/") and tokens.issuperset(wanted.get("identifier", [])):
                found.append(resource)
        return found

    def put(self, kind: str, resource_id: str, resource: Resource) -> tuple[int, Resource]:
        """Store a version; 201 for the first, 200 for any further one."""
        before = self.resources.get(f"{kind}/{resource_id}")
        version = int(before["meta"]["versionId"]) + 1 if before else 1
        meta = {
            "versionId": str(version),
            "lastUpdated": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        stored = {**resource, "id": resource_id, "meta": {**resource.get("meta", {}), **meta}}
        self.resources[f"{kind}/{resource_id}"] = stored
        unfinished = self.folder / f".{kind}-{resource_id}.part"
        unfinished.write_text(json.dumps(stored, indent=2, ensure_ascii=False))
        unfinished.replace(self.folder / f"{kind}-{resource_id}.json")
        return (200 if before else 201), stored

    def resolve(self, method: str, url: str, none_exist: str | None) -> tuple[str, str, bool]:
        """Type, id and whether there is nothing to do, of one create or update (FHIR R4 3.1.0.4, .8)."""
        parts = urlsplit(url)
        kind, _, resource_id = parts.path.strip("/").partition("/")
        if kind not in TYPES:
            raise Problem(404, "not-supported", f"no resource type {kind!r} here")
        if method == "POST" and not resource_id:
            found = self.matching(kind, none_exist) if none_exist else []
        elif method == "PUT" and not resource_id and parts.query:
            found = self.matching(kind, parts.query)
        elif method == "PUT" and resource_id and "/" not in resource_id:
            found = [{"id": resource_id}]
        else:
            raise Problem(405, "not-supported", f"cannot {method} {parts.path}")
        if len(found) > 1:
            raise Problem(412, "multiple-matches", f"{len(found)} resources match")
        exists = bool(found)
        return kind, found[0]["id"] if exists else uuid.uuid4().hex, exists and method == "POST"

    def write(
        self, method: str, url: str, resource: Any, none_exist: str | None = None
    ) -> tuple[int, Resource]:
        """One create or update."""
        kind, resource_id, done = self.resolve(method, url, none_exist)
        if not isinstance(resource, dict) or resource.get("resourceType") != kind:
            raise Problem(400, "invalid", f"the body is no {kind}")
        if done:
            return 200, self.resources[f"{kind}/{resource_id}"]
        return self.put(kind, resource_id, resource)

    def transact(self, bundle: Resource) -> Resource:
        """All entries or none: ids are given first, references by fullUrl follow them (FHIR R4 3.1.0.11)."""
        planned: list[tuple[Resource, str, str, bool]] = []
        renamed: dict[str, str] = {}
        for entry in bundle.get("entry", []):
            request, resource = entry.get("request", {}), entry.get("resource")
            kind, resource_id, done = self.resolve(
                request.get("method", ""), request.get("url", ""), request.get("ifNoneExist")
            )
            if not isinstance(resource, dict) or resource.get("resourceType") != kind:
                raise Problem(400, "invalid", f"an entry is no {kind}")
            planned.append((resource, kind, resource_id, done))
            if "fullUrl" in entry:
                renamed[entry["fullUrl"]] = f"{kind}/{resource_id}"
        answers = []
        for resource, kind, resource_id, done in planned:
            stored = self.resources.get(f"{kind}/{resource_id}", {})
            status = 200
            if not done:
                status, stored = self.put(kind, resource_id, _follow(resource, renamed))
            answers.append({"response": _response(status, kind, stored)})
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}


def _identifiers(resource: Resource) -> Iterator[Resource]:
    value = resource.get("identifier", [])
    yield from value if isinstance(value, list) else [value]
    if "masterIdentifier" in resource:
        yield resource["masterIdentifier"]


def _tokens(identifier: Resource) -> Iterator[str]:
    system, value = identifier.get("system", ""), identifier.get("value", "")
    yield from (value, f"{system}|{value}")


def _follow(node: Any, renamed: dict[str, str]) -> Any:
    """The same tree with every reference to a fullUrl pointing at what it became."""
    if isinstance(node, dict):
        tree = {key: _follow(value, renamed) for key, value in node.items()}
        if isinstance(reference := tree.get("reference"), str):
            tree["reference"] = renamed.get(reference, reference)
        return tree
    return [_follow(item, renamed) for item in node] if isinstance(node, list) else node


def _response(status: int, kind: str, stored: Resource) -> Resource:
    version = stored["meta"]["versionId"]
    return {
        "status": "201 Created" if status == 201 else "200 OK",
        "location": f"{kind}/{stored['id']}/_history/{version}",
        "etag": f'W/"{version}"',
        "lastModified": stored["meta"]["lastUpdated"],
    }


def _answer(body: Resource, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(body, status_code=status, headers=headers, media_type=FHIR_JSON)


async def _json(request: Request) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise Problem(413, "too-long", "the body is too large")
    try:
        return json.loads(body)
    except ValueError:
        raise Problem(400, "structure", "the body is no JSON") from None


def application(folder: Path) -> Starlette:
    """The server as an ASGI app."""
    shelf = Shelf(folder)

    async def root(request: Request) -> Response:
        bundle = await _json(request)
        if not isinstance(bundle, dict) or (bundle.get("resourceType"), bundle.get("type")) != (
            "Bundle",
            "transaction",
        ):
            raise Problem(400, "invalid", "the body is no transaction Bundle")
        return _answer(shelf.transact(bundle))

    async def metadata(_: Request) -> Response:
        resources = [{"type": kind, "interaction": [{"code": "create"}]} for kind in sorted(TYPES)]
        rest = [{"mode": "server", "resource": resources, "interaction": [{"code": "transaction"}]}]
        statement = {"resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01"}
        return _answer(
            {**statement, "kind": "instance", "fhirVersion": "4.0.1", "format": ["json"], "rest": rest}
        )

    async def of_type(request: Request) -> Response:
        if request.method == "GET":
            found = shelf.matching(request.path_params["kind"], request.url.query)
            entries = [{"resource": resource} for resource in found]
            return _answer(
                {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries}
            )
        return await change(request)

    async def one(request: Request) -> Response:
        if request.method == "GET":
            stored = shelf.resources.get(request.url.path.strip("/"))
            if stored is None:
                raise Problem(404, "not-found", "no such resource")
            return _answer(stored)
        return await change(request)

    async def change(request: Request) -> Response:
        url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        none_exist = request.headers.get("if-none-exist")
        status, stored = shelf.write(request.method, url, await _json(request), none_exist)
        kind, version = stored["resourceType"], stored["meta"]["versionId"]
        location = {"location": f"/{kind}/{stored['id']}/_history/{version}", "etag": f'W/"{version}"'}
        return _answer(stored, status, location)

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _answer(error.outcome, error.status)

    return Starlette(
        routes=[
            Route("/", root, methods=["POST"]),
            Route("/metadata", metadata),
            Route("/{kind}", of_type, methods=["GET", "POST", "PUT"]),
            Route("/{kind}/{resource_id}", one, methods=["GET", "PUT"]),
        ],
        exception_handlers={Problem: problem},
    )


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="a FHIR server that files what it receives")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    uvicorn.run(application(arguments.folder), host=arguments.host, port=arguments.port, log_level="info")


if __name__ == "__main__":
    main()
