"""Who comes in to the REST API, how many at once, and how often.

Enter: a request before its body is read. Leaves: a `Visit` that holds a place until it is over, or the
refusal: 401 and 403 (RFC 6750), 503 where all places are taken, 429 for a client that asks too often. A
bucket of requests for each client fills steadily and lets a burst of its size through.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request

from channels.inbound.http_peer import PeerRefused, token_of
from channels.inbound.places import Places
from channels.inbound.rest_operation import Operation, Visit
from channels.inbound.rest_problem import ProblemRaised
from channels.inbound.uploads.desk import Uploads
from channels.inbound.uploads.refusal import UploadRefused
from channels.inbound.uploads.upload import Upload
from engine.channel import Grant, InboundContext, Intake

_CLIENTS = 10_000  # buckets; past that, those that are full again are forgotten: they say nothing


class Buckets:
    """Requests that each client has left."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._size = max(1.0, 2 * per_second)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # client -> requests, when

    def __len__(self) -> int:
        return len(self._left)

    def take(self, client: str) -> float:
        """One request: 0, or the seconds until there is one."""
        now = self._clock()
        left, when = self._left.get(client, (self._size, now))
        left = min(self._size, left + (now - when) * self._per_second)
        if left < 1:
            self._left[client] = (left, now)
            return (1 - left) / self._per_second
        self._left[client] = (left - 1, now)
        if len(self._left) > _CLIENTS:
            full_after = self._size / self._per_second
            self._left = {name: one for name, one in self._left.items() if now - one[1] < full_after}
        return 0.0


class Gate:
    """Lets requests in."""

    def __init__(
        self,
        context: InboundContext,
        intake: Intake,
        base: str,
        only: str | None,
        places: Places,
        bodies: Places,
        buckets: Buckets,
        uploads: Uploads,
    ) -> None:
        """
        Args:
            only: the one site whose clients may come in; any when None.
            places: of requests that are answered soon.
            bodies: of those that bring uploads.
        """
        self._context = context
        self._intake = intake
        self._base = base
        self._only = only
        self._places = places
        self._bodies = bodies
        self._uploads = uploads
        self._buckets = buckets

    @contextlib.asynccontextmanager
    async def entered(self, request: Request, operation: Operation) -> AsyncIterator[Visit]:
        """A request that was let in, for as long as it takes.

        Raises:
            PeerRefused: without a token that is good here.
            UploadRefused: at a signed address that is none.
            ProblemRaised: too many, too often.
        """
        if request.client is None:
            raise PeerRefused(400, "the connection is gone")
        address = request.client.host.removeprefix("::ffff:")
        upload: Upload | None = None
        if operation.linked:
            upload = await self._by_link(request, address)
            grant = Grant("signed address", upload.site, frozenset(), "", 0.0)
        else:
            grant, _ = await token_of(request, self._context, self._intake, address, operation.scope)
            self._pace(grant)
        if self._only is not None and not grant.is_for(self._only):
            raise PeerRefused(403, "the site of this token has no business here")
        who = grant.site or grant.client_id
        places = self._bodies if operation.streams else self._places
        full = places.take(who)
        if full is not None:
            raise ProblemRaised("busy", "too many requests at once; try again later")
        try:
            yield Visit(request, self._context, self._intake, grant, self._base, self._uploads, upload=upload)
        finally:
            places.leave(who)

    async def _by_link(self, request: Request, address: str) -> Upload:
        shown = request.query_params
        try:
            return await self._uploads.linked(
                request.path_params["upload_id"], shown.get("expires", ""), shown.get("signature", "")
            )
        except UploadRefused:
            self._intake.turned_away(self._context.name, "token", address, "", "")
            raise

    def _pace(self, grant: Grant) -> None:
        wait = self._buckets.take(grant.client_id)
        if wait:
            said = "this client asks too often; Retry-After says when there is room"
            raise ProblemRaised("too-many", said, headers={"Retry-After": str(int(wait) + 1)})
