"""The table of a first hospital, as text: what `pons init` writes.

Enter: what an operator knows of the hospital. Leave: the files of a table that passes `pons check` and
its own tests: `routes.yaml`, which belongs to the engine, and `sites/<key>.yaml`, which belongs to the
hospital. A second hospital is one more file of the second kind. Pure: nothing is read or written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.yaml_text import in_line

SCHEMA_FOLDER = "schema"


class DicomPeer(NamedTuple):
    """Where a PACS listens, and as whom."""

    host: str
    port: int
    ae_title: str


class Socket(NamedTuple):
    """Where a receiver of HL7 messages listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class FirstSite:
    """What is known of a hospital."""

    key: str
    name: str
    timezone: str = "UTC"
    addresses: tuple[str, ...] = ()
    tunnel: str = ""
    ae_titles: tuple[str, ...] = ()
    pacs: DicomPeer | None = None
    ris: Socket | None = None
    fhir: str = ""
    fhir_token: str = ""  # the environment variable that holds it; none where the server asks for none
    webhook: str = ""
    webhook_secret: str = ""  # likewise; empty: the file of `webhook_secret_file`
    modality: str = "MR"
    description: str = ""  # words of the series description; any where empty
    processor: str = "qc"  # its key in the table

    @property
    def webhook_secret_file(self) -> str:
        """Where the signing secret of the events is kept, from the table's folder."""
        return f"secrets/{self.key}-hook"

    @property
    def route(self) -> str:
        """The name of its route."""
        return " ".join(filter(None, (self.name, self.modality, self.description)))


def table_file(processor: str, settings: dict[str, Any], *, listen: str, http: str) -> str:
    """`routes.yaml`: the engine, its ways in and the processor; hospitals are included."""
    return f"""\
# yaml-language-server: $schema={SCHEMA_FOLDER}/routes.schema.json
# The engine and what all hospitals share. `pons check` says what is wrong, `pons test` runs the tests.
version: 1

engine:
  data: data                      # records and instances, on a disk with room for them
  http: {in_line(http)}            # DICOMweb, health, metrics

include: [sites/*.yaml]           # one file for each hospital

assembly: {{stable_after: 60s, force_after: 45m}}   # when a study counts as complete

inbound:
  pacs: {{type: c_store, listen: {in_line(listen)}, ae_title: PONS}}   # the address that hospitals reach
  web: {{type: stow_rs}}

processors:
  {processor}: {in_line(settings)}
"""


def site_file(site: FirstSite) -> str:
    """`sites/<key>.yaml`: the hospital, its destinations, its route and the tests of that."""
    destinations = _destinations(site)
    known: dict[str, Any] = {"name": site.name, "timezone": site.timezone}
    known |= {"tunnel": site.tunnel} if site.tunnel else {}
    known |= {"addresses": list(site.addresses)} if site.addresses else {}
    known |= {"ae_titles": list(site.ae_titles)} if site.ae_titles else {}
    series: dict[str, Any] = {"Modality": site.modality}
    if site.description:
        series["SeriesDescription"] = {"matches": f"(?i){re.escape(site.description)}"}
    lines = [
        f"# yaml-language-server: $schema=../{SCHEMA_FOLDER}/included.schema.json",
        f"# {site.name}: who it is, where its results go, which studies are processed.",
        "sites:",
        f"  {site.key}:",
        *(f"    {key}: {in_line(value)}" for key, value in known.items()),
        "",
        "outbound:",
        *(f"  {key}: {in_line(block)}" for key, block in destinations.items()),
        "",
        "routes:",
        f"  - name: {in_line(site.route)}",
        f"    match: {in_line({'site': site.key, 'series': series})}",
        f"    process: {site.processor}",
        "    deliver:",
        *(f"      - {in_line(one)}" for one in _deliver(destinations)),
        "",
        "tests:",
        *_tests(site, list(destinations)),
    ]
    return "\n".join(lines) + "\n"


def _destinations(site: FirstSite) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if site.pacs is not None:
        found[f"{site.key}-pacs"] = {"type": "dicom_sr", "site": site.key, **site.pacs._asdict()}
    if site.ris is not None:
        found[f"{site.key}-ris"] = {"type": "hl7_oru", "site": site.key, **site.ris._asdict()}
    if site.fhir:
        block = {"type": "fhir_diagnostic_report", "site": site.key, "url": site.fhir}
        token = {"auth": {"type": "bearer", "token": {"env": site.fhir_token}}} if site.fhir_token else {}
        found[f"{site.key}-fhir"] = {**block, **token}
    if site.webhook:
        secret = {"env": site.webhook_secret} if site.webhook_secret else {"file": site.webhook_secret_file}
        block = {"type": "webhook", "site": site.key, "url": site.webhook}
        found[f"{site.key}-hook"] = {**block, "secret": secret}
    return found


def _deliver(destinations: dict[str, dict[str, Any]]) -> list[Any]:
    """A RIS hears of a report when the PACS has it, so that its link never points at nothing."""
    pacs = [key for key, block in destinations.items() if block["type"] == "dicom_sr"]
    return [
        {"to": key, "after": pacs} if block["type"] == "hl7_oru" and pacs else key
        for key, block in destinations.items()
    ]


def _tests(site: FirstSite, destinations: list[str]) -> list[str]:
    """One that passes the route's predicates, and one for each that it fails."""
    taken = {"Modality": site.modality}
    taken |= {"SeriesDescription": site.description} if site.description else {}
    other = "US" if site.modality != "US" else "MR"
    goes = {"routes": [site.route], "deliver": destinations}
    rows: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        (f"what {site.name} sends of {site.modality} comes back as a result", taken, goes),
        (f"{other} from {site.name} waits for a person", {"Modality": other}, {"routes": []}),
    ]
    if site.description:
        unlike = {**taken, "SeriesDescription": "something else"}
        rows.append((f"another {site.modality} series from {site.name} waits, too", unlike, {"routes": []}))
    return [
        line
        for name, series, expect in rows
        for line in (
            f"  - name: {in_line(name)}",
            f"    given: {in_line({'site': site.key, 'series': [series]})}",
            f"    expect: {in_line(expect)}",
        )
    ]
