"""What tests of changing tables share: another table for a running engine, and what it made of it."""

from __future__ import annotations

import time
from typing import Any

import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE
from sqlalchemy import Select

from engine.active_table import activate as make_active
from engine.document import read
from engine.store import table_versions
from engine.store.database import SqliteDatabase
from tests.e2e.engine import Engine

VERIFICATION = "1.2.840.10008.1.1"


def instance(study: str) -> Dataset:
    """A small MR instance with a file meta header."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.1"
    made.Modality, made.PatientID, made.PatientName = "MR", "LIVE-1", "Live^Reload"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def is_let_in(calling: str, port: int) -> bool:
    """Whether an association from this AE title is accepted."""
    ae = AE(calling)
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", port, ae_title="PONS")
    accepted = bool(association.is_established)
    association.release()
    return accepted


def taken(engine: Engine) -> int:
    """How many tables the engine has taken since it started."""
    return sum('"table taken"' in line for line in engine.log_lines())


def activate(engine: Engine, content: dict[str, Any]) -> str:
    """What `pons apply` does: a table that is on record becomes the active one. Its version."""
    folder = engine.folder / "next"
    folder.mkdir(exist_ok=True)
    path = folder / "routes.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(engine.table.read_text()), **content}))
    version, now = read(path).version, time.time()
    database = SqliteDatabase(engine.data / "pons.sqlite")
    try:
        files = {path.name: path.read_text()}
        database.write_now(lambda c: table_versions.record_version(c, version, path.name, files, now))
        database.write_now(lambda c: make_active(c, version, now, actor="a test", action="applied"))
    finally:
        database.close()
    return version


def rows(engine: Engine, query: Select[Any]) -> list[Any]:
    """What a query finds in the engine's database."""
    database = SqliteDatabase(engine.data / "pons.sqlite")
    try:
        return list(database.read_now(lambda c: c.execute(query).all()))
    finally:
        database.close()
