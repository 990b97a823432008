"""A study as a payload: its files where they are, untouched.

Pure. Enters: a study revision. Leaves: one part an instance, in the order of their series. The
files are content-addressed and never change, so naming them freezes them; large studies are never
copied.
"""

from __future__ import annotations

from engine.model import Part, Payload, Study


def study_payload(study: Study) -> Payload:
    """One part for every stored instance; edits of a route are already in the files it names."""
    ordered = sorted(study.stored, key=lambda each: (each.series_instance_uid, each.sop_instance_uid))
    return Payload(
        parts=tuple(
            Part(
                identifier=each.sop_instance_uid,
                media_type="application/dicom",
                content=each.path,
                facts={
                    "sop_class_uid": each.sop_class_uid,
                    "transfer_syntax_uid": each.transfer_syntax_uid,
                    "study_instance_uid": study.study_instance_uid,
                    "series_instance_uid": each.series_instance_uid,
                    "sha256": each.sha256,
                },
            )
            for each in ordered
        ),
        summary=f"study of {len(ordered)} instances",
    )
