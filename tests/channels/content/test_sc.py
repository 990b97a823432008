"""Secondary captures: the picture is there, the words are burned in, the judge is content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from channels.content import sc
from engine.model import Artefact, History, Result, ResultStatus

Standing = Callable[..., tuple[Result, History]]


def with_pictures(result: Result, folder: Path, *contents: bytes) -> Result:
    """The result with these PNG files as its artefacts."""
    artefacts = []
    for number, content in enumerate(contents):
        path = folder / f"picture-{number}.png"
        path.write_bytes(content)
        artefacts.append(Artefact(name=path.name, media_type="image/png", title=path.stem, path=path))
    return result.model_copy(
        update={"report": result.report.model_copy(update={"artefacts": tuple(artefacts)})}
    )


@pytest.mark.judges
@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_dciodvfy_finds_no_error(
    in_standing: Standing, dciodvfy: Any, kind: str, status: ResultStatus
) -> None:
    for part in sc.render(*in_standing(kind, status)).parts:
        assert dciodvfy(part) == []


@pytest.mark.judges
@pytest.mark.parametrize("body_part", ["BRAIN", "KNEE", None])
def test_dciodvfy_finds_no_error_whatever_was_imaged(
    full: Result, history: Any, dciodvfy: Any, body_part: str | None
) -> None:
    header = full.study.header | {"00180015": {"vr": "CS", "Value": [body_part]}}
    study = full.study.model_copy(update={"header": header})
    assert dciodvfy(sc.render(full.model_copy(update={"study": study}), history()).parts[0]) == []


@pytest.mark.judges
def test_dciodvfy_finds_no_error_with_a_real_header(
    full: Result, history: Any, dciodvfy: Any, real_header: dict[str, Any]
) -> None:
    study = full.study.model_copy(update={"header": real_header})
    assert dciodvfy(sc.render(full.model_copy(update={"study": study}), history()).parts[0]) == []


def test_the_picture_stands_unchanged_between_its_bands(full: Result, history: Any, read: Any) -> None:
    dataset = read(sc.render(full, history()).parts[0])
    pixels = dataset.pixel_array
    assert (dataset.Columns, dataset.SamplesPerPixel) == (640, 3)
    assert dataset.Rows > 480
    assert np.all(pixels[:480] == (20, 90, 160))
    band = pixels[480:]
    assert np.any(band == 255), "nothing is written below the picture"
    assert dataset.BurnedInAnnotation == "YES"
    assert full.report.disclaimer in dataset.ImageComments


def test_a_preliminary_picture_says_so_above(in_standing: Standing, read: Any) -> None:
    final = read(sc.render(*in_standing("full", ResultStatus.FINAL)).parts[0])
    preliminary = read(sc.render(*in_standing("full", ResultStatus.PRELIMINARY)).parts[0])
    assert preliminary.Rows > final.Rows
    assert np.any(preliminary.pixel_array[:20, :, 0] > 200)
    assert preliminary.SeriesDescription.startswith("PRELIMINARY")


def test_every_picture_is_an_instance_of_one_series(
    full: Result, history: Any, read: Any, tmp_path: Path, picture_png: Any
) -> None:
    result = with_pictures(full, tmp_path, picture_png(), picture_png(100, 100), picture_png(3000, 20))
    payload = sc.render(result, history())
    datasets = [read(part) for part in payload.parts]
    assert [one.InstanceNumber for one in datasets] == [1, 2, 3]
    assert len({one.SOPInstanceUID for one in datasets}) == 3
    assert len({one.SeriesInstanceUID for one in datasets}) == 1
    assert [part.identifier for part in payload.parts] == [one.SOPInstanceUID for one in datasets]


MODES = [
    # mode of the PNG, its colour, what is seen
    ("L", 100, (100, 100, 100)),
    ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
    ("P", 0, (0, 0, 0)),
    ("1", 1, (255, 255, 255)),
    ("I;16", 0x8000, (128, 128, 128)),
]


@pytest.mark.parametrize(("mode", "colour", "seen"), MODES)
def test_every_kind_of_png_becomes_rgb(
    full: Result,
    history: Any,
    read: Any,
    tmp_path: Path,
    picture_png: Any,
    mode: str,
    colour: Any,
    seen: tuple[int, int, int],
) -> None:
    result = with_pictures(full, tmp_path, picture_png(600, 40, mode, colour))
    pixels = read(sc.render(result, history()).parts[0]).pixel_array
    assert tuple(pixels[20, 300]) == seen


def test_a_picture_is_bounded(
    full: Result, history: Any, read: Any, tmp_path: Path, picture_png: Any
) -> None:
    result = with_pictures(full, tmp_path, picture_png(5000, 500, "L", 9))
    dataset = read(sc.render(result, history()).parts[0])
    assert dataset.Columns == sc.MAX_SIDE


def test_a_bomb_of_a_picture_is_replaced_by_the_findings_in_words(
    full: Result, history: Any, read: Any, tmp_path: Path, picture_png: Any
) -> None:
    result = with_pictures(full, tmp_path, picture_png(20_000, 20_000, "1", 0))
    [part] = sc.render(result, history()).parts
    dataset = read(part)
    assert dataset.ImageComments.startswith("Summary")
    assert dataset.Columns == 800


def test_a_picture_that_is_not_the_stored_one_is_refused(
    full: Result, history: Any, tmp_path: Path, picture_png: Any
) -> None:
    path = tmp_path / "swapped.png"
    path.write_bytes(picture_png())
    artefact = Artefact(name="swapped.png", media_type="image/png", path=path, sha256="0" * 64)
    report = full.report.model_copy(update={"artefacts": (artefact,)})
    with pytest.raises(ValueError, match=r"swapped\.png does not match its digest"):
        sc.render(full.model_copy(update={"report": report}), history())


def test_without_a_picture_the_findings_are_written_out(
    minimal: Result, full: Result, history: Any, read: Any
) -> None:
    report = full.report.model_copy(update={"artefacts": ()})
    dataset = read(sc.render(minimal.model_copy(update={"report": report}), history()).parts[0])
    dark, light = dataset.pixel_array == 24, dataset.pixel_array > 160
    assert np.any(light[:100])
    assert np.sum(dark) > np.sum(light)


def test_a_long_summary_is_cut_and_says_so(full: Result, history: Any, read: Any) -> None:
    report = full.report.model_copy(update={"artefacts": (), "findings": full.report.findings * 200})
    dataset = read(sc.render(full.model_copy(update={"report": report}), history()).parts[0])
    assert dataset.Rows < 2000


def test_a_word_longer_than_a_line_is_broken() -> None:
    ink, paper = (255, 255, 255), (0, 0, 0)
    one, many = (np.asarray(sc._written("M" * n, 512, ink, paper)) for n in (30, 900))
    assert many.shape[0] > 15 * one.shape[0]
    assert not np.any(many[:, -sc.MARGIN :]), "a letter stands where no letter may"
