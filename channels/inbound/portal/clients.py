"""Clients of the API, for admins: programs of a site, what each may do, their secrets and their end.

Enter: forms of an admin. Leave: pages; `engine.channel.ClientRegister` says what is theirs to do and records
it. A secret is shown this once and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import FormData
from starlette.responses import Response

from channels.inbound.portal.failure import status_of
from channels.inbound.portal.page import Page, Visit
from engine.channel import (
    SCOPES,
    ClientRefused,
    ClientRegister,
    RegisteredClient,
    Role,
    SecretIssued,
)
from engine.errors import Busy

KEEP: Sequence[tuple[str, str]] = (
    ("0", "ends at once"),
    ("3600", "is honoured for one hour more"),
    ("86400", "is honoured for one day more"),
    ("604800", "is honoured for seven days more"),
)
"""How long the secret before opens besides: seconds, and in words."""
_EVERYWHERE = "*"


async def show(visit: Visit) -> Response:
    """Those that the admin manages."""
    return visit.render("clients.html", clients=await _register(visit).clients(actor=visit.actor))


async def show_one(visit: Visit) -> Response:
    """One client."""
    return _one(visit, await _client(visit))


async def show_add(visit: Visit) -> Response:
    """The form of a new client."""
    return _add_form(visit)


async def add(visit: Visit) -> Response:
    """A new client, with its secret."""
    form = await visit.form()
    site = str(form.get("site", ""))
    try:
        issued = await _register(visit).add(
            str(form.get("client_id", "")).strip(),
            name=str(form.get("name", "")),
            site=None if site == _EVERYWHERE else site,
            scopes=[str(one) for one in form.getlist("scopes")],
            key_set=str(form.get("key_set", "")),
            actor=visit.actor,
        )
    except ClientRefused as refused:
        return _add_form(visit, form, refused)
    return _issued(visit, issued)


async def rotate(visit: Visit) -> Response:
    """Another secret."""
    client, keep = await _client(visit), await visit.field("keep")
    honoured = float(keep) if keep in dict(KEEP) else 0.0
    try:
        issued = await _register(visit).rotate(client.client_id, keep=honoured, actor=visit.actor)
    except ClientRefused as refused:
        return _one(visit, client, refused)
    return _issued(visit, issued)


async def revoke(visit: Visit) -> Response:
    """The end of a client and of every token that it has."""
    client, reason = await _client(visit), await visit.field("reason")
    try:
        await _register(visit).revoke(client.client_id, reason, actor=visit.actor)
    except ClientRefused as refused:
        return _one(visit, client, refused)
    return visit.redirect("/clients", f"{client.client_id} is revoked: nothing it has opens any more.")


def _register(visit: Visit) -> ClientRegister:
    clients = visit.portal.context.clients
    if clients is None:
        raise Busy("no engine runs behind this portal")
    return clients


async def _client(visit: Visit) -> RegisteredClient:
    return await _register(visit).client(visit.parts["client_id"], actor=visit.actor)


def _one(visit: Visit, client: RegisteredClient, refused: ClientRefused | None = None) -> Response:
    return visit.render(
        "client.html",
        200 if refused is None else status_of(refused),
        client=client,
        scopes=SCOPES,
        keep=KEEP,
        errors={} if refused is None else {refused.field: str(refused)},
    )


def _add_form(visit: Visit, form: FormData | None = None, refused: ClientRefused | None = None) -> Response:
    named = [(site.key, f"{site.name} ({site.key})") for site in visit.named_sites(Role.ADMIN)]
    mighty = visit.person.may_everywhere(Role.ADMIN)
    return visit.render(
        "add_client.html",
        200 if refused is None else status_of(refused),
        typed={name: str(value) for name, value in form.items()} if form is not None else {},
        chosen=[str(one) for one in form.getlist("scopes")] if form is not None else [],
        scopes=[(one, text) for one, text in SCOPES.items() if mighty or one != "admin"],
        sites=[*named, *([(_EVERYWHERE, "every site")] if mighty else [])],
        errors={} if refused is None else {refused.field: str(refused)},
    )


def _issued(visit: Visit, issued: SecretIssued) -> Response:
    return visit.render("client_secret.html", client=issued.client, secret=issued.secret)


PAGES = (
    Page("/clients", show, Role.ADMIN, label="Clients", section="Administration"),
    Page("/clients/new", show_add, Role.ADMIN),
    Page("/clients/new", add, Role.ADMIN, methods=("POST",), max_body=128 << 10),
    Page("/clients/{client_id}", show_one, Role.ADMIN),
    Page("/clients/{client_id}/rotate", rotate, Role.ADMIN, methods=("POST",)),
    Page("/clients/{client_id}/revoke", revoke, Role.ADMIN, methods=("POST",)),
)
