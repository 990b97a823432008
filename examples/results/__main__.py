"""Render one result in every format: `python -m examples.results [FOLDER]`.

Enter: the invented result beside this file. Leave: a file for each format in FOLDER (this one when it
is not given). Text files are as they are sent, made readable where that is needed: HL7 with a line for
each segment, JSON indented, DICOM as pydicom prints it, and a PDF inside another format by its size.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import DataElement

from channels.content import event, fhir, oru, pdf, sc, sr
from engine.artefact_links import ArtefactLinks
from engine.catalog import installed_exports
from engine.channel import Link
from engine.model import Payload, Result
from examples.results import invented

DataElement.maxBytesToDisplay = 400  # print texts whole, and still no pixels

HERE = Path(__file__).parent

# A published key, so that the example never changes; an engine makes its own and keeps it.
_LINKS = ArtefactLinks("https://pons.example", b"an example, not a key to anything", installed_exports())
_BASE64 = re.compile(r'"[A-Za-z0-9+/]{400,}={0,2}"')


def rendered() -> dict[str, bytes]:
    """Name of a file -> what is in it."""
    result, history = invented.result(), invented.history()
    files = {f"result{one.suffix}": one.export(result) for one in installed_exports() if one.render is None}
    texts: dict[str, Callable[[], str]] = {
        "sr.dcm.txt": lambda: _dicom(sr.render(result, history)),
        "sc.dcm.txt": lambda: _dicom(sc.render(result, history)),
        "pdf.dcm.txt": lambda: _dicom(pdf.render(result, history)),
        "oru.hl7": lambda: _body(oru.render(result, history)).replace("\r", "\n"),
        "fhir-upsert.json": lambda: _indented(fhir.render(result, history, "upsert")),
        "fhir-report.json": lambda: _indented(fhir.render(result, history, "report")),
        "fhir-document.json": lambda: _indented(fhir.render(result, history, "document")),
        "event.json": lambda: _indented(event.render(result, history, "full", _links(result))),
    }
    return files | {name: text().encode() for name, text in texts.items()}


def _links(result: Result) -> list[Link]:
    expires: datetime = invented.RENDERED_AT + timedelta(days=7)
    return list(_LINKS.links(result, expires))


def _body(payload: Payload) -> str:
    return payload.parts[0].read().decode("utf-8")


def _dicom(payload: Payload) -> str:
    dataset = dcmread(BytesIO(payload.parts[0].read()))
    return "\n".join(line.rstrip() for line in str(dataset).splitlines()) + "\n"


def _indented(payload: Payload) -> str:
    """JSON as people read it: numbers keep their digits, an attached page is told by its size."""
    mark = "\ufdd0"
    loaded = json.loads(
        _body(payload), parse_float=lambda digits: mark + digits + mark, parse_int=lambda d: mark + d + mark
    )
    text = json.dumps(loaded, indent=1, ensure_ascii=False)
    text = text.replace(f'"{mark}', "").replace(f'{mark}"', "")
    return _BASE64.sub(lambda found: f'"… {len(found[0]) - 2} characters of base64 …"', text) + "\n"


def main() -> None:
    """Write the files and say which."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.results", description="One result, every format."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="where to write")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in rendered().items():
        (folder / name).write_bytes(content)
        print(f"{folder / name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
