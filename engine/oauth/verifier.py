"""Who checks the access tokens that channels are shown (RFC 6750, RFC 9068 4).

Enter: an `Authorization` header, and what the request needs. Leaves: a `Grant`, or the refusal to answer.
What a token says is held against its client's row at every use: a client or token that was revoked, or a
site that the table has no longer, opens nothing from that moment, on every engine of the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.bearer import Grant, TokenRefused, TokenVerifier, granted, presented
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable
from engine.oauth.access_token import read
from engine.oauth.key_store import KeyStore
from engine.store import clients
from engine.store.database import Database


class Verifier(TokenVerifier):
    """Checks the tokens of one issuer."""

    def __init__(
        self,
        issuer: str,
        keys: KeyStore,
        database: Database,
        clock: Clock,
        knows_site: Callable[[str], bool],
    ) -> None:
        """
        Args:
            knows_site: whether the table that runs has a site.
        """
        self._issuer = issuer
        self._keys = keys
        self._database = database
        self._clock = clock
        self._knows_site = knows_site

    async def verify(self, authorization: str | None, *, scope: str, site: str | None = None) -> Grant:
        """What a request may do; raises TokenRefused or Busy."""
        token = presented(authorization, scope)
        grant = read(token, self._keys.ring(), self._issuer, self._clock.now())
        try:
            row = await self._database.read(lambda c: clients.standing(c, grant.client_id, grant.token_id))
        except DatabaseUnavailable:
            raise Busy("the database is away: whether a token still holds cannot be looked up") from None
        if row is None or row.revoked_at is not None or row.token_revoked or row.site != grant.site:
            raise TokenRefused("invalid_token", "this access token was revoked")
        if grant.site is not None and not self._knows_site(grant.site):
            raise TokenRefused("wrong_site", "the site of this token is not in the table", scope=scope)
        return granted(replace(grant, scopes=grant.scopes & frozenset(row.scopes)), scope, site)
