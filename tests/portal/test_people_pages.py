"""People and clients as admins manage them in the portal: each admin his own, secrets shown once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.portal.visitor import Visited, Visitor, serving_portal, signed_in, trail, visiting


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    with serving_portal(tmp_path_factory.mktemp("portal"), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def ada(engine: Engine) -> Iterator[Visitor]:
    """An admin of all sites."""
    with signed_in(engine, "ada", "admin", address="127.0.3.1") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def mary(engine: Engine) -> Iterator[Visitor]:
    """An admin of St. Mary's."""
    with signed_in(engine, "mary", "admin@st-marys", address="127.0.3.2") as visitor:
        yield visitor


def invite(admin: Visitor, username: str, **typed: Any) -> Visited:
    given = {"role-1": "viewer", "site-1": "st-marys", **typed}
    return admin.submit(admin.get("/people/invite"), "/people/invite", username=username, **given)


def address_in(page: Visited) -> str:
    return page.answer.text.partition('<code id="invitation">')[2].partition("</code>")[0]


def account(admin: Visitor, username: str) -> Visited:
    """The page of somebody."""
    listed = admin.get("/people", params={"q": username})
    (link,) = [one for one in listed.links if one.startswith("/people/") and one != "/people/invite"]
    page = admin.get(link)
    assert page.status == 200, page.text
    return page


def act(admin: Visitor, page: Visited, what: str, **typed: Any) -> Visited:
    """Send the form of an account's page that does something."""
    (action,) = [form.action for form in page.forms if form.action.endswith(f"/{what}")]
    return admin.submit(page, action, **typed)


# ── people ──────────────────────────────────────────────────────────────────────────────────────


def test_whoever_is_invited_in_the_portal_comes_in_with_the_roles_given(engine: Engine, ada: Visitor) -> None:
    page = invite(
        ada, "bo@st-marys.example", display_name="Bo <b>Berg</b>", **{"role-2": "engineer", "site-2": "*"}
    )
    assert page.status == 200
    address = address_in(page)
    assert address.startswith(f"{engine.url}/invitation/")
    with visiting(engine.url, "127.0.3.3") as bo:
        bo.accept(address)
        profile = bo.get("/profile")
        assert "viewer: St. Mary's" in profile.text
        assert "engineer: every site" in profile.text
        assert "Bo <b>Berg</b>" in profile.text, "a name is text, whatever it looks like"
        assert bo.get("/people").status == 403
    assert address.rpartition("/")[2] not in "\n".join(engine.log_lines())


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ({"username": "ada"}, 409, "taken"),
        ({"username": "no spaces"}, 422, "username"),
        ({"username": "cleo", "role-1": "viewer", "site-1": ""}, 422, "a role needs a site"),
        ({"username": "cleo", "role-1": "", "site-1": ""}, 422, "at least one role"),
        ({"username": "cleo", "role-1": "viewer", "site-1": "nowhere"}, 422, "no site"),
    ],
)
def test_an_invitation_that_cannot_be_says_why_and_keeps_what_was_typed(
    ada: Visitor, typed: dict[str, str], status: int, said: str
) -> None:
    page = ada.submit(ada.get("/people/invite"), "/people/invite", **typed)
    assert page.status == status
    assert said in page.text.lower()
    assert 'role="alert"' in page.answer.text
    assert page.form("/people/invite").fields["username"] == [typed["username"]]


def test_roles_are_taken_and_given(engine: Engine, ada: Visitor) -> None:
    invite(ada, "dan", **{"role-2": "submitter", "site-2": "st-johns"})
    page = account(ada, "dan")
    (form,) = [one for one in page.forms if one.action.endswith("/roles")]
    assert set(form.fields["keep"]) == {"viewer@st-marys", "submitter@st-johns"}
    done = act(ada, page, "roles", keep=["viewer@st-marys"], **{"role-1": "engineer", "site-1": "st-johns"})
    assert done.status == 303
    text = ada.follow(done).text
    assert "dan has other roles" in text
    assert "engineer at St. John's" in text
    assert "submitter at" not in text
    none_left = act(ada, account(ada, "dan"), "roles", keep=[])
    assert (none_left.status, "at least one role" in none_left.text) == (422, True)
    assert trail(engine, "person.roles_changed")[-1]["actor"] == "person ada"


def test_whoever_is_disabled_is_out_at_once_and_in_again_when_enabled(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.3.4") as eli:
        eli.accept(address_in(invite(ada, "eli")))
        assert eli.get("/profile").status == 200
        done = act(ada, account(ada, "eli"), "disable")
        assert "cannot sign in any more" in ada.follow(done).text
        assert eli.get("/profile").status == 303
        assert eli.first_step("eli").status == 401
        assert act(ada, account(ada, "eli"), "enable").status == 303
        assert eli.first_step("eli").status == 303


def test_a_reset_account_sets_both_factors_anew(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.3.5") as fred:
        fred.accept(address_in(invite(ada, "fred")))
        page = act(ada, account(ada, "fred"), "reset")
        assert page.status == 200
        assert fred.get("/profile").status == 303
        fred.accept(address_in(page), "another tune for harbours")
        assert fred.get("/profile").status == 200


def test_the_last_admin_stays(ada: Visitor) -> None:
    page = act(ada, account(ada, "ada"), "disable")
    assert page.status == 409
    assert "last admin" in page.text
    assert ada.get("/people").status == 200


def test_an_admin_of_a_site_sees_and_gives_what_is_of_the_site(ada: Visitor, mary: Visitor) -> None:
    invite(ada, "greg", **{"site-1": "st-johns"})
    listed = mary.get("/people")
    assert "greg" not in listed.text
    link = next(one for one in ada.get("/people", params={"q": "greg"}).links if one.count("/") == 2
                and one.startswith("/people/") and one != "/people/invite")  # fmt: skip
    assert mary.get(link).status == 404
    form = mary.get("/people/invite")
    assert "St. John's" not in form.text
    refused = mary.submit(form, "/people/invite", username="hugo", **{"role-1": "admin", "site-1": "*"})
    assert (refused.status, "not yours to give" in refused.text) == (403, True)
    assert (
        mary.submit(
            form, "/people/invite", username="hugo", **{"role-1": "admin", "site-1": "st-marys"}
        ).status
        == 200
    )


def test_nobody_of_a_name_is_a_page_that_says_so(ada: Visitor) -> None:
    assert ada.get("/people/nobody").status == 404
    page = ada.get("/people", params={"q": "xyzzy"})
    assert "Nobody of that name" in page.text


# ── clients ─────────────────────────────────────────────────────────────────────────────────────


def token_status(engine: Engine, client_id: str, secret: str) -> int:
    answer = httpx.post(
        f"{engine.url}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(client_id, secret),
        trust_env=False,
        timeout=60,
    )
    return answer.status_code


def secret_in(page: Visited) -> str:
    return page.answer.text.partition('<code id="client-secret">')[2].partition("</code>")[0]


def test_a_client_gets_a_secret_that_opens_and_is_shown_once(engine: Engine, ada: Visitor) -> None:
    added = ada.submit(
        ada.get("/clients/new"), "/clients/new",
        client_id="stm-his", name="HIS", site="st-marys", scopes=["orders:read", "results:read"],
    )  # fmt: skip
    assert added.status == 200, added.text
    secret = secret_in(added)
    assert secret.startswith("pons_")
    assert token_status(engine, "stm-his", secret) == 200
    page = ada.get("/clients/stm-his")
    assert secret not in page.answer.text
    assert "orders:read" in page.text

    rotated = ada.submit(page, "/clients/stm-his/rotate", keep="3600")
    assert "honoured until" in rotated.text
    assert [token_status(engine, "stm-his", one) for one in (secret, secret_in(rotated))] == [200, 200]
    last = secret_in(ada.submit(ada.get("/clients/stm-his"), "/clients/stm-his/rotate", keep="0"))
    assert token_status(engine, "stm-his", secret_in(rotated)) == 401

    assert ada.submit(page, "/clients/stm-his/revoke", reason="").status == 422
    revoked = ada.submit(page, "/clients/stm-his/revoke", reason="the HIS was replaced")
    assert revoked.location == "/clients"
    assert "revoked" in ada.follow(revoked).text
    assert token_status(engine, "stm-his", last) == 401
    told = trail(engine)
    assert {one["actor"] for one in told if one["action"] == "client added"} == {"person ada"}
    assert not any(one in str(told) + "\n".join(engine.log_lines()) for one in (secret, last))


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ({"client_id": "Not Good"}, 422, "is no name"),
        ({"scopes": []}, 422, "at least one scope"),
        ({"scopes": ["admin"]}, 403, "admin of all sites"),
        ({"site": "st-johns"}, 403, "not yours to make"),
        ({"site": "*"}, 403, "not yours to make"),
        ({"key_set": "{"}, 422, "not JSON"),
    ],
)
def test_a_client_that_cannot_be_says_why_at_its_field(
    mary: Visitor, typed: dict[str, Any], status: int, said: str
) -> None:
    asked = {"client_id": "his", "site": "st-marys", "scopes": ["orders:read"], **typed}
    page = mary.submit(mary.get("/clients/new"), "/clients/new", **asked)
    assert page.status == status
    assert said in page.text
    assert page.form("/clients/new").fields["client_id"] == [asked["client_id"]]
    assert mary.get("/clients/his").status == 404


def test_a_client_of_another_site_is_not_there(ada: Visitor, mary: Visitor) -> None:
    ada.submit(
        ada.get("/clients/new"), "/clients/new", client_id="stj", site="st-johns", scopes=["orders:read"]
    )
    token = mary.get("/profile").form("/sign-out").fields["csrf"]
    assert "stj" not in mary.get("/clients").text
    for path in ("/clients/stj", "/clients/nothing"):
        assert mary.get(path).status == 404
        assert mary.post(f"{path}/revoke", {"csrf": token, "reason": "x"}).status == 404
