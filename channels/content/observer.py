"""Who made a document and in what language it speaks (PS3.16 TID 1204, 1001, 1002, 1004).

Enter: a result. Leave: the content items that stand first in every SR document of ours.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from channels.content import composite
from channels.content.coding import dcm
from channels.content.content_item import HAS_CONCEPT_MOD, HAS_OBS_CONTEXT, coded, uid_reference, words
from engine.model import Code, Result

LANGUAGE = dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code(value="en-US", scheme="RFC5646", meaning="English (United States)")
OBSERVER_TYPE = dcm("121005", "Observer Type")
DEVICE = dcm("121007", "Device")


def language() -> Dataset:
    """TID 1204: what Pons itself says in a document is English."""
    return coded(HAS_CONCEPT_MOD, LANGUAGE, ENGLISH)


def device_observer(result: Result) -> list[Dataset]:
    """TID 1001 with 1002 and 1004: the algorithm observed."""
    algorithm = result.report.algorithm
    texts = (
        (dcm("121013", "Device Observer Name"), algorithm.name),
        (dcm("121014", "Device Observer Manufacturer"), algorithm.manufacturer),
        (dcm("121015", "Device Observer Model Name"), f"{algorithm.name} {algorithm.version}".strip()),
    )
    return [
        coded(HAS_OBS_CONTEXT, OBSERVER_TYPE, DEVICE),
        uid_reference(HAS_OBS_CONTEXT, dcm("121012", "Device Observer UID"), composite.device_uid(result)),
        *(words(HAS_OBS_CONTEXT, concept, value) for concept, value in texts if value),
    ]
