"""`pons init`: a table that works, for a first hospital, for one more, or from an example.

By flags, or by asking where a terminal is there to answer. Nothing is ever overwritten.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from engine import site_answers as answers
from engine.catalog import Catalog
from engine.config import examine, load
from engine.errors import ConfigurationError
from engine.example_table import copy_example, examples
from engine.first_site import SCHEMA_FOLDER, FirstSite, site_file, table_file
from engine.schema import included_schema, table_schema

T = TypeVar("T")
_IGNORED = "data/\nsecrets/\n"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def _read(how: Callable[[str], T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        try:
            return how(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def _option(help_text: str, how: Callable[[str], Any] | None = None, metavar: str = "TEXT") -> Any:
    return typer.Option(help=help_text, metavar=metavar, parser=_read(how) if how else None)


def init(
    folder: Annotated[Path, typer.Argument(help="Where the table is to be.")] = Path(),
    site: Annotated[str | None, _option("Key of the hospital, such as st-marys.", answers.key)] = None,
    name: Annotated[str | None, _option("What people call it.", answers.name)] = None,
    timezone: Annotated[str | None, _option("Its time zone.", answers.timezone, "ZONE")] = None,
    address: Annotated[
        list[str] | None, _option("Where it sends from; may be repeated.", answers.address, "IP|BLOCK")
    ] = None,
    tunnel: Annotated[str | None, _option("Its address inside its tunnel.", answers.tunnel, "IP")] = None,
    ae_title: Annotated[
        list[str] | None, _option("AE title it calls with; may be repeated.", answers.ae_title)
    ] = None,
    pacs: Annotated[
        Any, _option("PACS that takes structured reports.", answers.pacs, "HOST:PORT:AE-TITLE")
    ] = None,
    ris: Annotated[Any, _option("RIS or HIS that takes HL7.", answers.ris, "HOST:PORT")] = None,
    fhir: Annotated[str | None, _option("FHIR server.", answers.url, "URL")] = None,
    fhir_token_env: Annotated[
        str | None, _option("Environment variable with its bearer token.", answers.variable, "NAME")
    ] = None,
    webhook: Annotated[str | None, _option("Receiver of signed events.", answers.url, "URL")] = None,
    webhook_secret_env: Annotated[
        str | None, _option("Environment variable with their secret.", answers.variable, "NAME")
    ] = None,
    processor: Annotated[
        Any, _option("quality_control, or a command with {in} and {out}.", answers.processor)
    ] = None,
    modality: Annotated[str | None, _option("Modality that is processed.", answers.name)] = None,
    description: Annotated[
        str | None, _option("Words that the series description has.", answers.name)
    ] = None,
    listen: Annotated[str, _option("Where DICOM is received.", answers.listen)] = "127.0.0.1:11112",
    http: Annotated[str, _option("Where HTTP is served.", answers.listen)] = "127.0.0.1:8080",
    add: Annotated[
        bool, typer.Option("--add", help="One more hospital, to the table that is there.")
    ] = False,
    example: Annotated[str | None, typer.Option(help="Copy a site story instead; `list` names them.")] = None,
    ask: Annotated[bool | None, typer.Option(help="Ask for what the flags leave open.")] = None,
) -> None:
    """Make a table that works: for a first hospital, for one more (--add), or from an example."""
    if example == "list":
        for story, told in sorted(examples().items()):
            typer.echo(f"{story}: {(told / 'README.md').read_text('utf-8').splitlines()[0].lstrip('# ')}")
        return
    if example is not None:
        _from_example(example, folder)
        return
    given = FirstSite(
        key=site or "",
        name=name or "",
        timezone=timezone or "",
        addresses=tuple(address or ()),
        tunnel=tunnel or "",
        ae_titles=tuple(ae_title or ()),
        pacs=pacs,
        ris=ris,
        fhir=fhir or "",
        fhir_token=fhir_token_env or "",
        webhook=webhook or "",
        webhook_secret=webhook_secret_env or "",
        modality=modality or "",
        description=description or "",
    )
    asking = sys.stdin.isatty() if ask is None else ask
    found = _completed(given, asking)
    made, block = _processor(folder / "routes.yaml", processor, add, asking)
    found = replace(found, processor=made)
    files = {f"sites/{found.key}.yaml": site_file(found)}
    if block is not None:
        files["routes.yaml"] = table_file(made, block, listen=listen, http=http)
        files |= _schemas()
        if not (folder / ".gitignore").exists():
            files[".gitignore"] = _IGNORED
    hidden = {}
    if found.webhook and not found.webhook_secret:
        hidden[found.webhook_secret_file] = f"whsec_{_random_key()}\n"
    _write(folder, files, hidden)
    _tell(folder, found, list(files), list(hidden))


def _processor(table: Path, given: Any, add: bool, asking: bool) -> tuple[str, dict[str, Any] | None]:
    """Key and block of the processor; no block where the table that is there has it."""
    if add:
        there = load(table, surroundings=False)
        if not there.processors:
            raise ConfigurationError(f"{table}: has no processor; give it one before a hospital is added")
        return next(iter(there.processors)), None
    question = "Processor (quality_control, or a command with {in} and {out})"
    chosen: tuple[str, dict[str, Any]] = given or (
        _asked(question, answers.processor, "quality_control")
        if asking
        else answers.processor("quality_control")
    )
    return chosen


def _completed(given: FirstSite, asking: bool) -> FirstSite:
    """What is left open is asked for, or is what is likely."""
    if not asking and not given.key:
        raise typer.BadParameter("name the hospital: --site st-marys; or --ask to be asked")
    key = given.key or _asked("Key of the hospital, such as st-marys", answers.key)

    def value(current: Any, question: str, how: Callable[[str], T], likely: str) -> Any:
        return current or (_asked(question, how, likely) if asking else how(likely))

    title = key.upper().replace("-", "_")[:16]
    name = value(given.name, "What people call it", answers.name, key)
    zone = value(given.timezone, "Its time zone", answers.timezone, "UTC")
    addresses = given.addresses
    if not addresses and not given.tunnel:
        addresses = value((), "Addresses it sends from", _several(answers.address), "127.0.0.1")
    found = replace(
        given,
        key=key,
        name=name,
        timezone=zone,
        addresses=addresses,
        ae_titles=value(given.ae_titles, "AE titles it calls with", _several(answers.ae_title), title),
        modality=value(given.modality, "Modality that is processed", answers.name, "MR"),
    )
    if asking:
        found = replace(
            found,
            description=found.description or _wanted("Words of the series description", answers.name) or "",
            pacs=found.pacs or _wanted("PACS, HOST:PORT:AE-TITLE", answers.pacs),
            ris=found.ris or _wanted("RIS for HL7, HOST:PORT", answers.ris),
            fhir=found.fhir or _wanted("FHIR server, URL", answers.url) or "",
            webhook=found.webhook or _wanted("Receiver of events, URL", answers.url) or "",
        )
    if not (found.pacs or found.ris or found.fhir or found.webhook):
        raise typer.BadParameter("results need a destination: --pacs, --ris, --fhir or --webhook")
    return found


def _several(how: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(how(one) for one in text.replace(",", " ").split())


def _asked(question: str, how: Callable[[str], T], likely: str | None = None) -> T:
    found: T = typer.prompt(question, default=likely, value_proc=_read(how), show_default=likely != "")
    return found


def _wanted(question: str, how: Callable[[str], T]) -> T | None:
    """Like `_asked`, but an empty answer means none."""
    return _asked(f"{question} (empty: none)", lambda text: how(text) if text.strip() else None, "")


def _random_key() -> str:
    """32 random bytes as Standard Webhooks writes them."""
    return secrets.token_urlsafe(32).replace("-", "+").replace("_", "/") + "="


def _schemas() -> dict[str, str]:
    catalog = Catalog()
    found = {"routes": table_schema(catalog), "included": included_schema(catalog)}
    return {f"{SCHEMA_FOLDER}/{name}.schema.json": json.dumps(one) + "\n" for name, one in found.items()}


def _write(folder: Path, files: dict[str, str], hidden: dict[str, str]) -> None:
    """All of them, or none where one is there already."""
    there = [name for name in (*files, *hidden) if (folder / name).exists()]
    if there:
        remedy = "; --add makes one more hospital" if "routes.yaml" in there else ""
        raise ConfigurationError(f"{folder / there[0]} is there already and is not overwritten{remedy}")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
    for name, text in hidden.items():
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).touch(mode=0o600, exist_ok=False)
        (folder / name).write_text(text, "utf-8")


def _from_example(name: str, folder: Path) -> None:
    for path in copy_example(name, folder, _schemas()):
        typer.echo(str(path))
    _next(folder)


def _tell(folder: Path, site: FirstSite, files: list[str], hidden: list[str]) -> None:
    for name in files:
        typer.echo(f"wrote {folder / name}")
    for name in hidden:
        typer.echo(f"wrote {folder / name}: the receiver of the events needs it too")
    for variable in filter(None, (site.fhir_token, site.webhook_secret)):
        typer.echo(f"set the environment variable {variable} before the engine starts")
    _, findings = examine(folder / "routes.yaml")
    for finding in findings:
        typer.echo(str(finding.under(folder)))
    table, _ = examine(folder / "routes.yaml", surroundings=False)
    if table is not None and site.key not in table.sites:
        typer.echo(f"{folder / 'routes.yaml'} does not include it yet: add include: [sites/*.yaml]")
    if table is None or site.key not in table.sites:
        raise typer.Exit(1)
    _next(folder)


def _next(folder: Path) -> None:
    typer.echo("next:")
    table = folder / "routes.yaml"
    for command in (f"pons check {table}", f"pons test {table}", f"pons run --table {table}"):
        typer.echo(f"  {command}")
