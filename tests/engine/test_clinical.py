"""Regions of interest: as many coordinates as their graphic type has, and nothing else passes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.model import Finding, PlanarRegion, Report, SegmentReference, SpatialRegion

FINDING = {"concept": {"value": "x", "scheme": "99A", "meaning": "x"}, "value": "there"}


def scoord(graphic_type: str, count: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "scoord",
        "graphic_type": graphic_type,
        "coordinates": [1.5] * count,
        "referenced_sop_instance_uid": "1.2.3",
        **more,
    }


def scoord3d(graphic_type: str, count: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "scoord3d",
        "graphic_type": graphic_type,
        "coordinates": [1.5] * count,
        "frame_of_reference_uid": "1.2.4",
        **more,
    }


SEGMENT = {
    "kind": "segment",
    "series_instance_uid": "1.2.5",
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
    "sop_instance_uid": "1.2.6",
    "segment_number": 1,
}


@pytest.mark.parametrize(
    ("roi", "kind"),
    [
        (scoord("POINT", 2), PlanarRegion),
        (scoord("MULTIPOINT", 6), PlanarRegion),
        (scoord("POLYLINE", 8, referenced_frame_number=3), PlanarRegion),
        (scoord("CIRCLE", 4), PlanarRegion),
        (scoord("ELLIPSE", 8), PlanarRegion),
        (scoord3d("POINT", 3), SpatialRegion),
        (scoord3d("MULTIPOINT", 3), SpatialRegion),
        (scoord3d("POLYLINE", 6), SpatialRegion),
        (scoord3d("POLYGON", 12), SpatialRegion),
        (scoord3d("ELLIPSE", 12), SpatialRegion),
        (SEGMENT, SegmentReference),
        (SEGMENT | {"frame_number": 4, "source_sop_instance_uid": "1.2.7"}, SegmentReference),
    ],
)
def test_a_region_survives_json(roi: dict[str, Any], kind: type) -> None:
    finding = Finding.model_validate(FINDING | {"roi": roi})

    assert isinstance(finding.roi, kind)
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        (scoord("POINT", 4), "POINT takes 1 point(s) of 2 coordinates, not 4 coordinates"),
        (scoord("POLYLINE", 2), "at least 2 point(s)"),
        (scoord("POLYLINE", 5), "at least 2 point(s)"),  # half a point
        (scoord("CIRCLE", 6), "CIRCLE takes 2"),
        (scoord("ELLIPSE", 4), "ELLIPSE takes 4"),
        (scoord("POLYGON", 8), "Input should be"),  # only in space
        (scoord("POINT", 2, referenced_frame_number=0), "greater than or equal to 1"),
        (scoord("POINT", 2, referenced_sop_instance_uid="1.2.x"), "match pattern"),
        (scoord("POINT", 2, coordinates=[1, float("nan")]), "finite"),
        (scoord("MULTIPOINT", 30_002), "at most 30000"),
        (scoord3d("POINT", 2), "POINT takes 1 point(s) of 3 coordinates"),
        (scoord3d("POLYGON", 9), "at least 4"),
        (scoord3d("POLYGON", 12, coordinates=[*range(12)]), "must end at the point it begins with"),
        (scoord3d("CIRCLE", 6), "Input should be"),  # only on an image
        (SEGMENT | {"segment_number": 0}, "greater than or equal to 1"),
        (SEGMENT | {"frame_number": 4}, "belong together"),
        (SEGMENT | {"kind": "mesh"}, "does not match any of the expected tags"),
        (SEGMENT | {"coordinates": [1, 2]}, "not permitted"),
    ],
)
def test_what_is_no_region_is_refused(roi: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Finding.model_validate(FINDING | {"roi": roi})

    assert words in str(caught.value.errors()[0]["msg"])


def test_the_documented_regions_are_regions() -> None:
    page = (Path(__file__).parents[2] / "docs/processors/command.md").read_text("utf-8")
    [regions] = [
        block for block in re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S) if block.startswith("[")
    ]
    kinds = [type(Finding.model_validate(FINDING | {"roi": roi}).roi) for roi in json.loads(regions)]

    assert kinds == [PlanarRegion, SpatialRegion, SegmentReference]


def test_a_finding_needs_no_region() -> None:
    assert Finding.model_validate(FINDING).roi is None


def test_the_schema_of_a_report_knows_regions() -> None:
    definitions = Report.model_json_schema()["$defs"]

    assert {"PlanarRegion", "SpatialRegion", "SegmentReference"} <= set(definitions)
    assert "roi" in definitions["Finding"]["properties"]
