"""The measuring process: `python -m engine.processors.quality IN OUT PROTOCOL MAX_FRAMES`.

A process of its own, because parsing thousands of headers would hold the interpreter that serves
associations, and because a decoder that a hostile image crashes should take nothing else along.
It writes OUT/montage.png and OUT/result.json; on a failure it says one line on standard error, free
of patient data, and exits with 65 (EX_DATAERR, sysexits.h).
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

from pydicom import config

from engine.errors import PonsError
from engine.model import Artefact, Report
from engine.processors.quality.acquisition import header_measures
from engine.processors.quality.frames import Frame, Reading, read
from engine.processors.quality.image_quality import image_measures
from engine.processors.quality.measures import Measured
from engine.processors.quality.montage import write_montage
from engine.processors.quality.pixels import PixelReader, Undecodable
from engine.processors.quality.protocol import Protocol, load_protocol
from engine.processors.quality.report import build_report
from engine.processors.quality.volumes import stack

EX_DATAERR = 65


def measure(in_dir: Path, out_dir: Path, protocol: Protocol, max_frames: int) -> Report:
    """Measure the diffusion series under ``in_dir`` and write its montage to ``out_dir``.

    Raises:
        ProcessorFailed: nothing there can be measured; the message says why.
    """
    reading = read(in_dir, max_frames)
    chosen, remarks = _choose(reading)
    arranged = stack(chosen)
    reader = PixelReader()
    values, notes = header_measures(chosen, arranged, reading.subjects[chosen[0].series_instance_uid])
    image_values, image_notes = image_measures(arranged, reader)
    artefacts: tuple[Artefact, ...] = ()
    try:
        write_montage(arranged, reader, out_dir / "montage.png")
        artefacts = (
            Artefact(name="montage.png", media_type="image/png", title="Slices across, volumes down"),
        )
    except Undecodable as error:
        remarks.append(f"No montage: {error}.")
    return build_report(Measured(values | image_values, notes | image_notes), protocol, artefacts, remarks)


def _choose(reading: Reading) -> tuple[list[Frame], list[str]]:
    """The series to measure: of those with diffusion weighting, or of all, the one with most planes."""
    weighted = Counter(
        frame.series_instance_uid for frame in reading.frames if frame.weighting.b_value is not None
    )
    counts = weighted or Counter(frame.series_instance_uid for frame in reading.frames)
    # Ties are broken by UID, so that the same study always gives the same report.
    best = min(counts, key=lambda uid: (-counts[uid], uid))
    chosen = [frame for frame in reading.frames if frame.series_instance_uid == best]
    remarks = []
    if len(reading.subjects) > 1:
        remarks.append(
            "Measured the series with most diffusion images; "
            f"{len(reading.subjects) - 1} other MR series left out."
        )
    if reading.others:
        remarks.append(f"{reading.others} instances that are no MR images left out.")
    return chosen, remarks


def main(arguments: list[str]) -> int:
    """Run once; returns the exit status."""
    # Warnings of a parser quote the values it stumbled over, which may be a patient's.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # What is malformed here is found when it is converted; validating every value costs as much again.
    config.settings.reading_validation_mode = config.IGNORE
    in_dir, out_dir, protocol, max_frames = arguments
    try:
        report = measure(Path(in_dir), Path(out_dir), load_protocol(Path(protocol)), int(max_frames))
        (Path(out_dir) / "result.json").write_text(report.model_dump_json(exclude_none=True), "utf-8")
    except PonsError as error:
        sys.stderr.write(f"{error}\n")
        return EX_DATAERR
    except Exception as error:
        # The place and the kind, not the message: it may quote an element's value.
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        sys.stderr.write(f"{type(error).__name__} at {place}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
