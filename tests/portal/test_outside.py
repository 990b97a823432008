"""Signing in with an outside identity provider, through the portal and a provider that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.engine import Engine, running_engine
from tests.peers.identity_provider import Provider
from tests.portal.visitor import TABLE, Visited, Visitor, signed_in, trail, visiting

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def engine(
    tmp_path_factory: pytest.TempPathFactory, free_port: Any, _running_identity_provider: Provider
) -> Iterator[Engine]:
    oidc = {"issuer": _running_identity_provider.url, "client_id": "pons", "name": "St. Mary's login"}
    table = {**TABLE, "people": {"oidc": oidc}}
    folder = tmp_path_factory.mktemp("outside")
    with running_engine(folder, free_port(), 0, table) as running:
        running.pons("user", "invite", "jane", "--role", "viewer@st-marys", "--identity", "jd")
        yield running


@pytest.fixture
def provider(_running_identity_provider: Provider) -> Provider:
    """With the keys that the engine has seen: it does not ask for others at every sign-in."""
    _running_identity_provider.person(sub="johndoe", preferred_username="jd")
    return _running_identity_provider


def there(visitor: Visitor, target: str = "") -> str:
    """Where the provider is, as the button leads there."""
    page = visitor.get(f"/sign-in?next={target}")
    assert "Sign in with St. Mary's login" in page.text
    (link,) = [one for one in page.links if one.startswith("/sign-in/outside")]
    left = visitor.get(link)
    assert left.status == 303
    return left.location


def back(visitor: Visitor, came: dict[str, str]) -> Visited:
    headers = {"Sec-Fetch-Site": "cross-site"}
    return visitor.get("/sign-in/outside/return", params=came, headers=headers)


def test_there_and_back_one_is_where_one_wanted(engine: Engine, provider: Provider) -> None:
    with visiting(engine.url) as visitor:
        came = provider.visit(there(visitor, "/profile"))
        page = back(visitor, came)
        assert (page.status, page.location) == (303, "/profile")
        profile = visitor.get("/profile")
        assert "viewer: St. Mary's" in profile.text
        assert "Change password" not in profile.text
        assert visitor.get("/profile/password").status == 404
        assert back(visitor, came).location == "/sign-in", "what came back serves once"


def test_whoever_is_invited_by_his_name_there_needs_no_invitation(engine: Engine, provider: Provider) -> None:
    with signed_in(engine, "ada", "admin") as ada, visiting(engine.url) as visitor:
        typed = {"username": "kim", "identity": "kimmy", "role-1": "viewer", "site-1": "st-johns"}
        page = ada.submit(ada.get("/people/invite"), "/people/invite", **typed)
        assert (page.status, "No invitation is needed" in page.text) == (200, True)
        provider.person(sub="k-1", preferred_username="kimmy")
        assert back(visitor, provider.visit(there(visitor))).location == "/"
        assert "viewer: St. John's" in visitor.get("/profile").text


def test_a_link_signs_nobody_in_as_somebody_else(engine: Engine, provider: Provider) -> None:
    with visiting(engine.url) as attacker, visiting(engine.url) as victim:
        came = provider.visit(there(attacker))
        page = back(victim, came)
        assert page.location == "/sign-in"
        assert "did not begin in this browser" in victim.follow(page).text
        there(victim)
        assert back(victim, came).location == "/sign-in", "nor with a sign-in of his own under way"
        assert victim.get("/profile").status == 303


def test_who_is_nobody_here_is_told_so(engine: Engine, provider: Provider) -> None:
    provider.person(sub="stranger", preferred_username="nobody")
    with visiting(engine.url) as visitor:
        page = back(visitor, provider.visit(there(visitor)))
        assert page.status == 401
        assert "names nobody who may sign in here" in page.text
    assert trail(engine, "person.sign_in_refused") == []


def test_who_gives_up_there_may_begin_again(engine: Engine, provider: Provider) -> None:
    with visiting(engine.url) as visitor:
        state = there(visitor).partition("state=")[2].partition("&")[0]
        page = back(visitor, {"error": "access_denied", "state": state})
        assert page.location == "/sign-in"
        assert "did not sign you in" in visitor.follow(page).text
