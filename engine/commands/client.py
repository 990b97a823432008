"""`pons client`: programs that are let in by tokens; each belongs to one site and may do what it is granted.

A secret is shown once, when it is made; only its hash is kept. A client that signs hands over its public keys
instead (`--jwks`). A revoked client, and every token that it has, opens nothing from that moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from engine.bearer import SCOPES
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, ListsByDefault, Reason, TablePath, Yes, founded, read, show, who
from engine.errors import PonsError
from engine.finding import did_you_mean
from engine.oauth import register as register_
from engine.oauth.client import Client, checked_id, checked_scopes, hash_of, new_secret
from engine.oauth.client_desk import client_of
from engine.oauth.client_keys import LARGEST, read_key_set
from engine.oauth.key_store import FILE, key_store, rotate
from engine.proposal import time_of
from engine.reason import checked_reason
from engine.settings import parse_duration
from engine.store import clients
from engine.table import Table
from engine.table_in_force import table_in_force

Name = Annotated[
    str, typer.Argument(help="The client's identifier (client_id): lower-case, digits, - and _.")
]
KeySet = Annotated[
    Path | None,
    typer.Option("--jwks", help="Its public keys, a JWK Set: it signs and has no secret.", dir_okay=False),
]
LONGEST_OVERLAP = 30 * 86400.0  # seconds


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        cls=ListsByDefault, help="Clients of the API: list (by default), show, add, rotate, revoke, keys."
    )
    group.command("list")(list_clients)
    group.command("show")(show_client)
    group.command("add")(add_client)
    group.command("rotate")(rotate_client)
    group.command("revoke")(revoke_client)
    group.command("keys")(keys)
    app.add_typer(group, name="client")


def list_clients(
    table: TablePath = Path("routes.yaml"),
    revoked: Annotated[bool, typer.Option("--revoked", help="Those that were revoked, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every client: its site, what it may do, when it last got a token."""
    rows = read(table, lambda c: clients.every(c, revoked=revoked))
    show([_told(row) for row in rows], as_json, "there are no clients; `pons client add` makes one")


def show_client(client: Name, table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """One client; no secret, for there is none to show."""
    row = read(table, lambda c: clients.find(c, client))
    if row is None:
        raise PonsError(f"no client {client}; `pons client` lists those there are")
    facts = {**_told(row), "created_by": row.created_by}
    if row.keys:
        facts["kid"] = ", ".join(str(key.get("kid", "-")) for key in row.keys)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name + ':':14}{value}")


def add_client(
    client: Name,
    scope: Annotated[
        list[str], typer.Option(help=f"What it may do; repeat it for more: {', '.join(SCOPES)}.")
    ],
    site: Annotated[str | None, typer.Option(help="The site that it belongs to.")] = None,
    all_sites: Annotated[bool, typer.Option("--all-sites", help="It may act for every site.")] = False,
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    jwks: KeySet = None,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Make a client. Its secret is shown once; with --jwks it has none and signs."""
    loaded = table_in_force(table)
    _check_site(loaded, site, all_sites)
    secret = new_secret() if jwks is None else ""
    facts = Client(
        client_id=checked_id(client),
        name=" ".join(name.split())[:200] or client,
        site=site,
        scopes=checked_scopes(scope),
        secret_hash=hash_of(client, secret) if secret else "",
        keys=_key_set(jwks) if jwks else (),
        created_by=who(),
    )

    def work(connection: Connection, now: float) -> None:
        register_.add(connection, _at(facts, now))

    _write(loaded, work)
    if as_json:
        told = {"client_id": client, "site": site, "scopes": list(facts.scopes), "method": facts.method}
        typer.echo(json.dumps({**told, **({"client_secret": secret} if secret else {})}, indent=2))
        return
    typer.echo(f"client {client} of {facts.reach} may: {' '.join(facts.scopes)}")
    _tell(client, secret)


def rotate_client(
    client: Name,
    jwks: KeySet = None,
    keep_old: Annotated[
        str,
        typer.Option(help="How long the secret before is honoured besides, for example 24h; at most 30d."),
    ] = "0s",
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Give a client another secret, or with --jwks other keys. The secret before ends at once, or as told."""
    loaded = table_in_force(table)
    keep = _overlap(keep_old)
    if jwks is not None:
        keys = _key_set(jwks)
        _write(loaded, lambda c, now: register_.rotate_keys(c, client, keys, now, who()))
        kids = [key.get("kid", "-") for key in keys]
        typer.echo(
            json.dumps({"client_id": client, "kid": kids}) if as_json else f"client {client} has new keys"
        )
        return
    secret = new_secret()
    kept = hash_of(client, secret)
    _write(loaded, lambda c, now: register_.rotate_secret(c, client, kept, now, who(), keep=keep))
    if as_json:
        typer.echo(json.dumps({"client_id": client, "client_secret": secret}, indent=2))
        return
    typer.echo(f"the secret before {'is honoured for ' + keep_old + ' more' if keep else 'has ended'}")
    _tell(client, secret)


def revoke_client(
    client: Name, reason: Reason, yes: Yes = False, table: TablePath = Path("routes.yaml")
) -> None:
    """End a client and every token that it has, at once, on every engine."""
    loaded, why = table_in_force(table), checked_reason(reason)
    if not yes:
        row = read(table, lambda c: register_.standing(c, client))
        reach = client_of(row).reach
        typer.echo(f"client {client} of {reach} would end at once, with its tokens; add --yes to do it")
        return
    _write(loaded, lambda c, now: register_.revoke(c, client, now, who(), why))
    typer.echo(f"client {client} is revoked")


def keys(
    table: TablePath = Path("routes.yaml"),
    rotate_: Annotated[
        bool,
        typer.Option("--rotate", help="Let a new key sign; those before verify until their tokens end."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The keys that sign access tokens, by their ids; the first signs."""
    loaded = table_in_force(table)
    data, now = loaded.engine.data, SteadyClock().now()
    if rotate_:
        if loaded.oauth.signing_key is not None:
            raise PonsError(
                f"{table}: oauth.signing_key names the key; put the new one there and the one before into"
                " oauth.verifying_keys (docs/oauth.md)"
            )
        key_id, until = rotate(data, now, loaded.oauth.token_life)
        detail = {"kid": key_id, "before_honoured_until": at(until).isoformat(timespec="seconds")}
        _write(loaded, lambda c, moment: register_.key_rotated(c, moment, who(), detail))
    elif loaded.oauth.signing_key is None and not (data / FILE).exists():
        raise PonsError(f"{data / FILE}: no key yet; the engine makes one when it starts")
    ring = key_store(loaded.oauth, data, now).ring()
    rows = [
        {
            "kid": key.key_id,
            "since": _moment(key.since),
            "verifies until": _moment(key.until),
            "signs": "yes" if key is ring.signer else "",
        }
        for key in ring.honoured(now)
    ]
    show(rows, as_json, "")


def _told(row: Any) -> dict[str, Any]:
    client = client_of(row)
    return {
        "client": client.client_id,
        "name": client.name,
        "site": client.reach,
        "scopes": " ".join(client.scopes),
        "method": client.method,
        "created": _moment(row.created_at),
        "last token": _moment(row.last_token_at),
        "state": "revoked" if row.revoked_at is not None else "active",
    }


def _moment(seconds: float | None) -> str:
    return at(seconds).isoformat(timespec="seconds") if seconds else ""


def _check_site(table: Table, site: str | None, all_sites: bool) -> None:
    if all_sites == (site is not None):
        raise PonsError("a client belongs to one site, --site NAME, or may act for all, --all-sites")
    if site is not None and site not in table.sites:
        raise PonsError(f"{table.path}: no site {site}{did_you_mean(site, table.sites)}")


def _key_set(path: Path) -> Any:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    try:
        return read_key_set(content)
    except PonsError as error:
        raise PonsError(f"{path}: {error}") from None


def _overlap(text: str) -> float:
    try:
        keep = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--keep-old") from None
    if keep > LONGEST_OVERLAP:
        raise typer.BadParameter("at most 30d", param_hint="--keep-old")
    return keep


def _at(client: Client, now: float) -> Client:
    return replace(client, created_at=now)


def _tell(client: str, secret: str) -> None:
    if secret:
        typer.echo(f"client_id      {client}")
        typer.echo(f"client_secret  {secret}")
        typer.echo("the secret is not kept here and not shown again")


def _write(table: Table, work: Callable[[Connection, float], None]) -> None:
    with founded(table) as database:
        now = time_of(database)  # of the engines' clock
        database.write_now(lambda c: work(c, now))
