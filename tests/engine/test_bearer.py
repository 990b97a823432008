"""What a request shows, and what it is answered: the rules of RFC 6750 alone, without a token's making."""

from __future__ import annotations

import pytest

from engine.bearer import LONGEST, SCOPES, Grant, NoTokens, TokenRefused, granted, presented

GRANT = Grant("his", "st-marys", frozenset({"orders:read"}), "t-1", 1.0)


@pytest.mark.parametrize("header", ["Bearer abc.d-e_f~+/=", "bearer abc.d-e_f~+/=", "BEARER  abc.d-e_f~+/= "])
def test_a_scheme_is_written_as_one_likes(header: str) -> None:
    assert presented(header, "admin") == "abc.d-e_f~+/="


@pytest.mark.parametrize(
    ("header", "status", "error"),
    [
        (None, 401, None),
        ("", 401, None),
        ("Basic abc", 401, None),
        ("Bearer", 400, "invalid_request"),
        ("Bearer a,b", 400, "invalid_request"),
        ("Bearer ä", 400, "invalid_request"),
        ("Bearer a\\", 400, "invalid_request"),
        ("Bearer " + "a" * (LONGEST + 1), 400, "invalid_request"),
    ],
    ids=str,
)
def test_what_shows_no_token_is_asked_for_one(header: str | None, status: int, error: str | None) -> None:
    with pytest.raises(TokenRefused) as refused:
        presented(header, "orders:read")
    assert refused.value.status == status
    told = refused.value.challenge
    assert told.startswith('Bearer realm="pons", scope="orders:read"')
    assert (f'error="{error}"' in told) if error else ("error" not in told)


def test_a_grant_reaches_no_further_than_its_scope_and_site() -> None:
    assert granted(GRANT, "orders:read", "st-marys") is GRANT
    assert granted(GRANT, "orders:read", None) is GRANT
    for scope, site, why in (
        ("orders:write", "st-marys", "insufficient_scope"),
        ("admin", None, "insufficient_scope"),
        ("orders:read", "st-johns", "wrong_site"),
    ):
        with pytest.raises(TokenRefused) as refused:
            granted(GRANT, scope, site)
        assert (refused.value.why, refused.value.status) == (why, 403)
        assert 'error="insufficient_scope"' in refused.value.challenge  # RFC 6750 3.1 has no other


def test_one_for_all_sites_is_for_each() -> None:
    everywhere = Grant("root", None, frozenset(SCOPES), "t-2", 1.0)
    assert everywhere.is_for("st-marys")
    assert granted(everywhere, "admin", "st-johns") is everywhere


async def test_where_no_engine_is_nobody_is_let_in() -> None:
    with pytest.raises(TokenRefused) as refused:
        await NoTokens().verify("Bearer abc", scope="admin")
    assert refused.value.status == 401
    with pytest.raises(TokenRefused, match="is needed"):
        await NoTokens().verify(None, scope="admin")


def test_a_challenge_is_one_header_whatever_is_said() -> None:
    told = TokenRefused("invalid_token", 'a "quote" and a \\ and ü').challenge
    assert told == 'Bearer realm="pons", error="invalid_token", error_description="a \'quote\' and a  and "'
