"""`pons site`: give a hospital its tunnel, change its key, take it away; what the register knows of it.

Each change is on the audit trail. The private key of a site is made at the site: `enrol` takes its public
key, with or without the one-time token of `add`. `export` writes the kit for the hospital's network people.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.audit import append_event
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, TablePath, show, who
from engine.commands.tunnel import status
from engine.errors import PonsError
from engine.store.database import locate, open_database
from engine.store.migrate import migrate
from engine.table import Table
from engine.table_in_force import table_in_force
from engine.tunnel import disagreements, folder_of, kit
from wg.block import BlockFull
from wg.key import make_private_key, public_key, write_secret
from wg.register import Register, RegisterError, SiteTunnel, admit, enrol, revoke

SiteKey = Annotated[str, typer.Argument(help="Key of the site in the table.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    site = typer.Typer(no_args_is_help=True, help="Sites and their tunnels.")
    site.command("add")(add_site)
    site.command("enrol")(enrol_site)
    site.command("show")(show_site)
    site.command("list")(list_sites)
    site.command("status")(status)
    site.command("export")(export_kit)
    site.command("rotate")(rotate_site)
    site.command("revoke")(revoke_site)
    app.add_typer(site, name="site")


def add_site(site: SiteKey, table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Give a site its address and a one-time token; repeat it for a new token."""
    loaded = table_in_force(table)
    entry, token = _admit(loaded, site, "tunnel added")
    expires = at(entry.token_expires_at).isoformat(timespec="minutes")
    if as_json:
        typer.echo(json.dumps({**_told(entry), "token": token, "expires": expires}))
        return
    typer.echo(f"site {site} has tunnel address {entry.ipv4}")
    known = loaded.sites.get(site)
    if known is None or known.tunnel != entry.ipv4:
        typer.echo(f"write into the table: sites: {{{site}: {{tunnel: {entry.ipv4}, ...}}}}")
    typer.echo(f"enrolment token, shown once, until {expires}: {token}")


def enrol_site(
    site: SiteKey,
    key: Annotated[str, typer.Option("--public-key", help="The site's public key.")],
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Take a site's public key that its people sent; where it has one, the new one replaces it in time."""
    loaded = table_in_force(table)
    entry = _take_key(loaded, site, key)
    _audit(loaded, "tunnel key taken", entry)
    again = "; it takes over at its first handshake" if entry.next_public_key else ""
    typer.echo(f"site {site} is enrolled{again}")


def show_site(site: SiteKey, table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """What the register knows of one site; no secret."""
    loaded = table_in_force(table)
    facts = _told(_standing(loaded, site))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name + ':':18}{value}")


def list_sites(table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Every site with a tunnel, and where table and register do not agree."""
    loaded = table_in_force(table)
    with _refusals():
        known = folder_of(loaded).load()
    wrong = {one.site: one.why for one in disagreements(loaded.sites, known)}
    rows = [{**_told(entry), "remark": wrong.pop(entry.site, "")} for entry in known.standing()]
    empty = dict.fromkeys(_told(SiteTunnel("", "0.0.0.0", "", 0.0)), "")  # noqa: S104 no address
    rows += [{**empty, "site": site, "state": "missing", "remark": why} for site, why in wrong.items()]
    show(rows, as_json, "no site has a tunnel")


def export_kit(
    site: SiteKey,
    out: Annotated[Path, typer.Option(help="Folder to make for the kit.")],
    with_private_key: Annotated[
        bool, typer.Option("--with-private-key", help="Make the key here: for a site that cannot.")
    ] = False,
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Write the kit for the hospital's network people into a folder of its own, mode 0700."""
    loaded = table_in_force(table)
    declared = loaded.sites.get(site)
    if declared is None:
        raise PonsError(f"no site {site} in the table; add it under sites: first")
    entry = _standing(loaded, site)
    if out.exists():
        raise PonsError(f"{out}: is there already; name a new folder")
    private = make_private_key() if with_private_key else ""
    with _refusals():
        folder = folder_of(loaded)
        files = kit(loaded, folder, folder.load(), declared, private).files
    if private:
        entry = _take_key(loaded, site, public_key(private))
        _audit(loaded, "tunnel key made for the site", entry)
    out.mkdir(parents=True, mode=0o700)
    for name, content in files.items():
        write_secret(out / name, content.decode().removesuffix("\n"))
    _audit(loaded, "tunnel kit exported", entry)
    typer.echo(f"{out}: {', '.join(sorted(files))}")


def rotate_site(site: SiteKey, table: TablePath = Path("routes.yaml")) -> None:
    """A token by which the site brings a new key; the old one serves until the new one is heard."""
    loaded = table_in_force(table)
    _standing(loaded, site)
    entry, token = _admit(loaded, site, "tunnel rotation begun")
    expires = at(entry.token_expires_at).isoformat(timespec="minutes")
    typer.echo(f"rotation token of site {site}, shown once, until {expires}: {token}")


def revoke_site(site: SiteKey, yes: Yes = False, table: TablePath = Path("routes.yaml")) -> None:
    """End a site's tunnel at once; its address is not given again for a year."""
    loaded = table_in_force(table)
    entry = _standing(loaded, site)
    if not yes:
        typer.echo(f"site {site} at {entry.ipv4} would lose its tunnel at once; add --yes to do it")
        return
    with _refusals():
        folder = folder_of(loaded)
        folder.change(lambda known: (revoke(known, site, time.time()), None))
        folder.forget(site)
    _audit(loaded, "tunnel revoked", entry)
    typer.echo(
        f"site {site} is revoked; `pons tunnel watch` cuts it within seconds, `pons tunnel sync` at once"
    )


def _take_key(table: Table, site: str, key: str) -> SiteTunnel:
    """Enrol a site by its people's word; a key that is none leaves everything as it was."""

    def work(known: Register) -> tuple[Register, SiteTunnel]:
        known.site(site)  # or say that it has none
        now = time.time()
        invited, _, token = admit(known, site, now)
        return enrol(invited, token, key, now)

    with _refusals():
        entry: SiteTunnel = folder_of(table).change(work)
    return entry


def _admit(table: Table, site: str, action: str) -> tuple[SiteTunnel, str]:
    def work(known: Register) -> tuple[Register, tuple[SiteTunnel, str]]:
        changed, entry, token = admit(known, site, time.time())
        return changed, (entry, token)

    with _refusals():
        entry, token = folder_of(table).change(work)
    _audit(table, action, entry)
    return entry, token


def _standing(table: Table, site: str) -> SiteTunnel:
    with _refusals():
        return folder_of(table).load().site(site)


def _told(entry: SiteTunnel) -> dict[str, Any]:
    facts = asdict(entry)
    del facts["token_sha256"]
    facts["since"] = at(entry.since).isoformat(timespec="seconds")
    facts["token_expires_at"] = (
        at(entry.token_expires_at).isoformat(timespec="minutes") if entry.token_expires_at else ""
    )
    return facts


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (RegisterError, BlockFull, ValueError, PermissionError) as error:
        raise PonsError(str(error)) from None


def _audit(table: Table, action: str, entry: SiteTunnel) -> None:
    """On the trail, beside everything else that was done; the trail is begun where there is none yet."""
    database = open_database(locate(table.engine))
    try:
        migrate(database.engine)
        detail = {"address": entry.ipv4, "state": entry.state, "public_key": entry.public_key}
        now = SteadyClock().now()
        database.write_now(
            lambda c: append_event(
                c, now, actor=who(), action=action, subject=f"site {entry.site}", detail=detail
            )
        )
    finally:
        database.close()
