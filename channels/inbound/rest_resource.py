"""One resource of the REST API: a request is let in, read and answered, or told why not.

Enter: any request for its path. Leave: what the operation of its method answers, else problem details (RFC
9457), with 405 and `Allow` where it has no such method (RFC 9110 15.5.6). What no operation foresaw is logged
as a defect without anything of the request.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from channels.inbound import rest_body, rest_problem
from channels.inbound.http_peer import PeerRefused
from channels.inbound.rest_gate import Gate
from channels.inbound.rest_operation import Operation
from channels.inbound.rest_problem import Mistake, ProblemRaised
from channels.inbound.uploads.refusal import UploadRefused
from engine.errors import Busy, OrderRefused

logger = logging.getLogger("pons.rest")

_PART = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)  # ids and UIDs: nothing else is anything's name here
_REFUSED = {400: "malformed", 401: "unauthorized", 403: "forbidden", 503: "busy"}


class Resource:
    """The operations of one path."""

    def __init__(
        self,
        base: str,
        operations: Sequence[Operation],
        gate: Gate,
        max_body: int,
        max_depth: int,
        timeout: float,
    ) -> None:
        self._base = base
        self._operations: dict[str, Operation] = {one.method: one for one in operations}
        self._gate = gate
        self._max_body = max_body
        self._max_depth = max_depth
        self._timeout = timeout

    @property
    def _allowed(self) -> str:
        return ", ".join(
            sorted({*self._operations, "OPTIONS"} | ({"HEAD"} if "GET" in self._operations else set()))
        )

    def _streams(self, request: Request) -> bool:
        operation = self._operations.get(request.method)
        return operation is not None and operation.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ProblemRaised as problem:
            response = self._told(request, problem)
            if self._streams(request):
                await rest_body.read_on(request)
        except ClientDisconnect:
            response = Response(status_code=400)  # for nobody
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            facts = {"error": type(error).__name__, "where": f"{where.filename}:{where.lineno}"}
            logger.error("defect: request not answered", extra={"pons": facts})
            response = self._told(request, ProblemRaised("defect", "see the engine's log"))
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self._allowed})
        operation = self._operations.get(method)
        if operation is None:
            said = f"this resource has {self._allowed}"
            raise ProblemRaised("method", said, headers={"Allow": self._allowed})
        try:
            async with self._gate.entered(request, operation) as visit:
                visit.parts = _parts(request)
                visit.query = _query(request, operation)
                visit.body = await self._body(request, operation)
                return await operation.perform(visit)
        except PeerRefused as refused:
            code = _REFUSED[refused.status]
            raise ProblemRaised(code, str(refused), headers=refused.headers) from None
        except OrderRefused as refused:
            raise rest_problem.of_order(refused) from None
        except UploadRefused as refused:
            raise rest_problem.of_upload(refused) from None
        except Busy as busy:
            raise rest_problem.of_busy(busy) from None

    async def _body(self, request: Request, operation: Operation) -> BaseModel | None:
        if operation.body is None:
            return None
        content = await rest_body.read(request, self._max_body, self._timeout)
        if not content and not operation.body_required:
            return operation.body()
        rest_body.of_type(request, operation.body_types)
        value = rest_body.parsed(content, self._max_depth)
        try:
            return operation.body.model_validate(value)
        except ValidationError as error:
            raise rest_problem.of_body(error) from None

    def _told(self, request: Request, problem: ProblemRaised) -> Response:
        if problem.status != 404:
            facts = {"status": problem.status, "reason": problem.code, "method": request.method}
            logger.warning("request refused", extra={"pons": facts})
        return problem.response(self._base)


def _parts(request: Request) -> Mapping[str, str]:
    parts: Mapping[str, str] = request.path_params
    for value in parts.values():
        if not _PART.fullmatch(value):
            raise ProblemRaised("not-found", "there is nothing of this name here")
    return parts


def _query(request: Request, operation: Operation) -> BaseModel | None:
    """The parameters of the address: what is not known is refused, for it would filter nothing."""
    given = request.query_params
    if operation.query is None:
        if given:
            mistakes = [
                Mistake(parameter=name[:64], detail="is not known here") for name in dict.fromkeys(given)
            ]
            raise ProblemRaised("invalid", "this resource takes no parameters", mistakes=mistakes)
        return None
    found: dict[str, Any] = {}
    for name in dict.fromkeys(given):
        values = given.getlist(name)
        field = operation.query.model_fields.get(name)
        if field is not None and isinstance(field.default, list):
            found[name] = values
        elif len(values) > 1:
            mistake = Mistake(parameter=name[:64], detail="is given more than once")
            raise ProblemRaised("invalid", "the parameters cannot be used, see errors", mistakes=[mistake])
        else:
            found[name] = values[0]
    try:
        return operation.query.model_validate(found)
    except ValidationError as error:
        raise rest_problem.of_query(error) from None
