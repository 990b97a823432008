"""A region of interest as content items (PS3.16 TID 1410, 1411, 320).

Enter: the region of a finding and the study's source instances. Leave: the template that a
measurement group of this region follows, and the items that say where the region is. A planar
region is TID 1410, a segment TID 1411; a cloud of points is no region to either, so its group
stays TID 1501 and each measurement is inferred from the points (TID 320).
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from channels.content.coding import dcm
from channels.content.content_item import (
    CONTAINS,
    INFERRED_FROM,
    SELECTED_FROM,
    image,
    scoord,
    scoord3d,
    uid_reference,
)
from engine.errors import Refused
from engine.model import InstanceReference, PlanarRegion, Result, Roi, SegmentReference, SpatialRegion

MEASUREMENTS, PLANAR, VOLUMETRIC = "1501", "1410", "1411"

IMAGE_REGION = dcm("111030", "Image Region")
POINTS_MEASURED = dcm("121112", "Source of Measurement")
SEGMENTATION_FRAME = dcm("121214", "Referenced Segmentation Frame")
SEGMENT = dcm("121191", "Referenced Segment")
SOURCE_IMAGE = dcm("121233", "Source image for segmentation")
SOURCE_SERIES = dcm("121232", "Source series for segmentation")


def template(roi: Roi | None) -> str:
    """The template of the measurement group that has this region."""
    if roi is None or _is_cloud(roi):
        return MEASUREMENTS
    if isinstance(roi, SegmentReference) and roi.frame_number is None:
        return VOLUMETRIC
    return PLANAR


def of_group(roi: Roi | None, result: Result) -> list[Dataset]:
    """The items of a whole group's region: rows 5 to 8 of TID 1410, rows 7 and 12 of TID 1411."""
    if roi is None or _is_cloud(roi):
        return []
    if isinstance(roi, SegmentReference):
        return _segment(roi, result)
    return [_drawn(CONTAINS, roi, result)]


def of_finding(roi: Roi | None, result: Result) -> list[Dataset]:
    """The points that one measurement is inferred from (TID 320)."""
    return [_drawn(INFERRED_FROM, roi, result)] if roi is not None and _is_cloud(roi) else []


def images(rois: Iterable[Roi], result: Result) -> list[InstanceReference]:
    """The source images that regions are drawn on: each must stand in the image library (TID 1600)."""
    uids = []
    for roi in rois:
        if isinstance(roi, PlanarRegion):
            uids.append(roi.referenced_sop_instance_uid)
        elif isinstance(roi, SegmentReference) and roi.source_sop_instance_uid:
            uids.append(roi.source_sop_instance_uid)
    return [_source(uid, result) for uid in dict.fromkeys(uids)]


def segmentations(rois: Iterable[Roi]) -> list[InstanceReference]:
    """The segmentation objects that regions name: evidence beside the sources."""
    return [
        InstanceReference(
            series_instance_uid=roi.series_instance_uid,
            sop_class_uid=roi.sop_class_uid,
            sop_instance_uid=roi.sop_instance_uid,
        )
        for roi in rois
        if isinstance(roi, SegmentReference)
    ]


def _is_cloud(roi: Roi) -> bool:
    return isinstance(roi, PlanarRegion | SpatialRegion) and roi.graphic_type == "MULTIPOINT"


def _drawn(relationship: str, roi: Roi, result: Result) -> Dataset:
    concept = POINTS_MEASURED if relationship == INFERRED_FROM else IMAGE_REGION
    if isinstance(roi, SpatialRegion):
        return scoord3d(relationship, concept, roi.graphic_type, roi.coordinates, roi.frame_of_reference_uid)
    assert isinstance(roi, PlanarRegion)
    source = _source(roi.referenced_sop_instance_uid, result)
    selected = image(
        source.sop_class_uid,
        source.sop_instance_uid,
        relationship=SELECTED_FROM,
        frame=roi.referenced_frame_number,
    )
    return scoord(relationship, concept, roi.graphic_type, roi.coordinates, selected)


def _segment(roi: SegmentReference, result: Result) -> list[Dataset]:
    segment = image(
        roi.sop_class_uid,
        roi.sop_instance_uid,
        concept=SEGMENT if roi.frame_number is None else SEGMENTATION_FRAME,
        frame=roi.frame_number,
        segment=roi.segment_number if roi.frame_number is None else None,  # one or the other (table 10-3)
    )
    if roi.source_sop_instance_uid is not None:
        source = _source(roi.source_sop_instance_uid, result)
        return [segment, image(source.sop_class_uid, source.sop_instance_uid, concept=SOURCE_IMAGE)]
    series = roi.source_series_instance_uid or _first_series(roi, result)
    return [segment, uid_reference(CONTAINS, SOURCE_SERIES, series)]


def _first_series(roi: SegmentReference, result: Result) -> str:
    if not result.study.instances:
        raise Refused(f"segmentation {roi.sop_instance_uid} names no source series and the study has none")
    return result.study.instances[0].series_instance_uid


def _source(sop_instance_uid: str, result: Result) -> InstanceReference:
    for one in result.study.instances:
        if one.sop_instance_uid == sop_instance_uid:
            return one
    raise Refused(
        f"a region is drawn on instance {sop_instance_uid}, which is none of the study's instances; "
        "the processor must name an instance that it was given"
    )
