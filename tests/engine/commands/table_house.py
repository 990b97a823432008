"""A small routing table, and the command as an operator types it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from engine.cli import application

TABLE = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112"}
outbound:
  archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
routes:
  - {name: magnetic, match: {site: a, series: {Modality: MR, instances: {at_least: 2}}}, deliver: [archive]}
  - {name: rest, otherwise: true, hold: nobody took it}
tests:
  - name: a pair goes on
    given: {site: a, series: [{Modality: MR, instances: 2}]}
    expect: {routes: [magnetic]}
"""


def pons(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application(), [str(argument) for argument in arguments])
