"""`pons user`: people who sign in to the portal; the first admin is made here, the others by him or here.

Nobody's password passes: an invitation is an address, shown once, good once and for three days, at which
somebody chooses his own. A role is `viewer`, `submitter`, `engineer` or `admin`, for every site, or for one:
`viewer@st-marys`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import Connection

from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, ListsByDefault, Reason, TablePath, Yes, founded, read, show, who
from engine.errors import PonsError
from engine.finding import did_you_mean, shown
from engine.people.account import person_of, spelled, told
from engine.people.authority import Actor
from engine.people.register import Register
from engine.people_desk import Invitation
from engine.person import Membership, Person, Role
from engine.proposal import time_of
from engine.reason import checked_reason
from engine.store import people, sign_ins
from engine.table import Table
from engine.table_in_force import table_in_force

T = TypeVar("T")

Username = Annotated[str, typer.Argument(help="The username: letters, digits and . _ @ + -")]
Roles = Annotated[
    list[str],
    typer.Option(
        "--role", help=f"What he may do: {', '.join(Role)}, or ROLE@SITE for one site; repeat it for more."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        cls=ListsByDefault,
        help="People of the portal: list (by default), show, invite, roles, disable, enable, reset.",
    )
    group.command("list")(list_people)
    group.command("show")(show_person)
    group.command("invite")(invite)
    group.command("roles")(roles)
    group.command("disable")(disable)
    group.command("enable")(enable)
    group.command("reset")(reset)
    group.command("sessions")(sessions)
    app.add_typer(group, name="user")


def list_people(table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Everybody: what each may do, and when he was last here."""
    now = _now()
    rows = read(table, people.every)
    show(
        [_told(person_of(row, now)) for row in rows],
        as_json,
        "nobody can sign in; `pons user invite NAME --role admin` invites the first",
    )


def show_person(username: Username, table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """One person."""
    now = _now()
    row = read(table, lambda c: _row(c, username))
    facts = {
        **_told(person_of(row, now)),
        "identity": row.identity_issuer or "password",
        "locked until": _moment(person_of(row, now).locked_until),
        "created": _moment(row.created_at),
        "created by": row.created_by,
        "recovery codes left": read(table, lambda c: people.codes_left(c, row.person_id)),
        "signed in on": len(read(table, lambda c: sign_ins.sessions_of(c, row.person_id, now))),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name + ':':21}{value}")


def invite(
    username: Username,
    role: Roles,
    name: Annotated[str, typer.Option(help="What people call him.")] = "",
    identity: Annotated[
        str,
        typer.Option(help="How the identity provider of people.oidc names him: he signs in there, only."),
    ] = "",
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Invite somebody, or once more who has not come yet; the address that he opens is shown once."""
    loaded = table_in_force(table)
    wanted, portal = _memberships(role, loaded), _portal(loaded)
    provider = loaded.people.oidc
    if identity and provider is None:
        raise PonsError(f"{loaded.path}: --identity needs an identity provider in people.oidc")
    issuer = provider.issuer if provider is not None else ""
    made = _write(loaded, lambda r: r.invite(username, name, wanted, identity=identity, issuer=issuer))
    _tell(made, portal, as_json)


def roles(
    username: Username, role: Roles, table: TablePath = Path("routes.yaml"), as_json: AsJson = False
) -> None:
    """Give somebody these roles in place of those he has; they count at once."""
    loaded = table_in_force(table)
    wanted = _memberships(role, loaded)
    person = _write(loaded, lambda r: r.set_memberships(_id(r, username), wanted))
    if as_json:
        typer.echo(json.dumps(_told(person), indent=2))
        return
    typer.echo(f"{person.username} is now {', '.join(told(person.memberships))}")


def disable(
    username: Username, reason: Reason, yes: Yes = False, table: TablePath = Path("routes.yaml")
) -> None:
    """Shut somebody out: he is signed out at once, and cannot sign in."""
    loaded, why = table_in_force(table), checked_reason(reason)
    if not yes:
        row = read(table, lambda c: _row(c, username))
        typer.echo(f"{row.username} would be signed out at once and shut out; add --yes to do it")
        return
    person = _write(loaded, lambda r: r.disable(_id(r, username), reason=why))
    typer.echo(f"{person.username} is disabled")


def enable(username: Username, table: TablePath = Path("routes.yaml")) -> None:
    """Let somebody in again who was disabled, or is locked out for wrong tries."""
    person = _write(table_in_force(table), lambda r: r.enable(_id(r, username)))
    typer.echo(f"{person.username} may sign in" + (" once invited" if person.state == "invited" else ""))


def reset(
    username: Username, yes: Yes = False, table: TablePath = Path("routes.yaml"), as_json: AsJson = False
) -> None:
    """Forget somebody's password and authenticator, and invite him to set them anew."""
    loaded = table_in_force(table)
    portal = _portal(loaded)
    if not yes:
        row = read(table, lambda c: _row(c, username))
        typer.echo(f"{row.username} would be signed out and could not sign in until he has set both anew;")
        typer.echo("add --yes to do it")
        return
    _tell(_write(loaded, lambda r: r.reset(_id(r, username))), portal, as_json)


def sessions(
    username: Username,
    end: Annotated[bool, typer.Option("--end", help="Sign him out everywhere.")] = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Where somebody is signed in."""
    if end:
        ended = _write(table_in_force(table), lambda r: r.end_sessions(_id(r, username)))
        typer.echo(json.dumps({"ended": ended}) if as_json else f"{ended} sessions ended")
        return
    now = _now()
    rows = read(table, lambda c: sign_ins.sessions_of(c, _row(c, username).person_id, now))
    show(
        [
            {
                "session": row.session_id,
                "step": row.stage,
                "address": row.remote_address,
                "since": _moment(row.signed_in_at),
                "until": _moment(row.expires_at),
            }
            for row in rows
        ],
        as_json,
        "signed in nowhere",
    )


# ── in common ───────────────────────────────────────────────────────────────────────────────────


def _told(person: Person) -> dict[str, Any]:
    return {
        "username": person.username,
        "name": person.display_name,
        "roles": " ".join(told(person.memberships)),
        "state": "locked" if person.locked_until is not None else person.state.value,
        "second factor": "yes" if person.second_factor else "",
        "last here": _moment(person.last_sign_in_at),
    }


def _tell(made: Invitation, portal: str, as_json: bool) -> None:
    """What an invitation is good for, this once."""
    person = made.person
    address = f"{portal}/invitation/{made.token}" if made.token else f"{portal}/"
    facts = {
        "username": person.username,
        "roles": told(person.memberships),
        "address": address,
        "until": _moment(made.until) if made.token else "",
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{person.username} is invited as {', '.join(told(person.memberships))}")
    typer.echo(f"address  {address}")
    if made.token:
        typer.echo(
            f"who opens it chooses his password there: good once, until {facts['until']}, not shown again"
        )
    else:
        typer.echo("he signs in there with the identity provider")


def _memberships(given: list[str], table: Table) -> list[Membership]:
    """Roles as they are typed; PonsError names one that there is not."""
    found, names = [], [one.value for one in Role]
    for one in given:
        role, at_site, site = one.partition("@")
        if role not in names:
            hint = did_you_mean(role, names)
            raise PonsError(f"no role {shown(role)}{hint}; there is {', '.join(names)}")
        if at_site and site not in table.sites:
            raise PonsError(f"{table.path}: no site {shown(site)}{did_you_mean(site, table.sites)}")
        found.append(Membership(Role(role), site or None))
    return found


def _portal(table: Table) -> str:
    """Where people reach the portal; PonsError where the table has none."""
    found = [one for one in table.inbound.values() if one.type.name == "portal"]
    if not found:
        raise PonsError(f"{table.path}: no portal to sign in at; add `portal: {{type: portal}}` to inbound")
    settings = found[0].settings
    below = str(getattr(settings, "path", "/")).rstrip("/")
    outside = getattr(settings, "public_url", None) or table.engine.public_url
    return (outside or f"http://{table.engine.http}") + below


def _row(connection: Connection, username: str) -> Any:
    row = people.named(connection, spelled(username))
    if row is None:
        raise PonsError(f"nobody is called {shown(username)}; `pons user` lists who there is")
    return row


def _id(register_: Register, username: str) -> str:
    return str(_row(register_.connection, username).person_id)


def _now() -> float:
    return SteadyClock().now()


def _moment(seconds: float | None) -> str:
    return at(seconds).isoformat(timespec="seconds") if seconds else ""


def _write(table: Table, work: Callable[[Register], T]) -> T:
    """Run a change as the user of the operating system, who manages everybody."""
    with founded(table) as database:
        now = time_of(database)  # of the engines' clock
        life = table.people.invitation_life

        def change(connection: Connection) -> T:
            return work(Register(connection, Actor(who(), None), now, table.sites.__contains__, life))

        return database.write_now(change)
