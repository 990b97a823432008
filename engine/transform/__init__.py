"""Edits on what goes onward; the originals stay byte-exact.

Enter: stored instances, or the header of a result's study, and the `transform:` steps of a route.
Leave: edited copies in a folder, or an edited result. `settings` is how a step is written, `rules` what
it may touch, `steps` what it does to a data set, `copies` and `result` what it is done to.
"""

from engine.transform.copies import copy_instances
from engine.transform.result import edit_result
from engine.transform.steps import Step, Steps, for_copies_of, for_delivery

__all__ = [
    "Step",
    "Steps",
    "copy_instances",
    "edit_result",
    "for_copies_of",
    "for_delivery",
]
