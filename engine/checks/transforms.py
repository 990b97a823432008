"""The edits of a route can be made, are made on something, and find their secrets.

Enters: a reading. Leave: findings about `transform:` of routes and of their `deliver:` entries. What a
single step may do is said by `engine.transform.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.checks.surroundings import missing_of
from engine.finding import Location, shown
from engine.predicate import demands
from engine.reading import Reading
from engine.route import Route
from engine.settings import Secret
from engine.transform import for_copies_of
from engine.transform.rules import Use, complaints_of_step
from engine.transform.settings import HashSettings


def check_transforms(reading: Reading, location: Location, route: Route) -> None:
    """Every step of one route is one that can be made, on something that goes onward."""
    _check_steps(reading, (*location, "transform"), route.transform, "route")
    if route.transform and route.process is None and not route.deliver:
        message = "nothing goes onward that it could edit"
        reading.complain((*location, "transform"), message, "transform-unused")
        return
    forwards = [one.to for one in route.deliver if _carries(reading, one.to) in ("study", "")]
    for index, step in enumerate(route.transform):
        reader = step.get("for")
        if reader == "processor" and route.process is None:
            message = "is for a processor, but there is no process"
        elif reader == "forward" and not forwards:
            message = "is for what is forwarded, but no destination carries studies; edit what a result "
            message += "says in the transform of its deliver entry"
        else:
            continue
        reading.complain((*location, "transform", index), message, "transform-unused")
    for index, sending in enumerate(route.deliver):
        use: Use = "forward" if _carries(reading, sending.to) == "study" else "result"
        _check_steps(reading, (*location, "deliver", index, "transform"), sending.transform, use)
        declared = reading.outbound.get(sending.to)
        if declared is not None and declared.type.name == "dicom_objects" and _hides_patient(route):
            message = (
                f"{sending.to} takes no object of another patient, and the processor is shown another "
                "Patient ID: what it writes is refused unless it carries the study's own"
            )
            reading.warn((*location, "deliver", index), message, "objects-refused")


def _check_steps(reading: Reading, location: Location, steps: Sequence[dict[str, Any]], use: Use) -> None:
    for index, step in enumerate(steps):
        for inner, message in complaints_of_step(step, use):
            reading.complain((*location, index, *inner), message, "bad-transform")


def _hides_patient(route: Route) -> bool:
    """Whether the processor of a route is shown another Patient ID than the study's, or none."""
    for step in for_copies_of(route.transform, "processor"):
        named = [*step.get("set", ()), *step.get("remove", ()), *step.get("map", ())]
        named += [*step.get("copy", {}).values(), *step.get("hash", {}).get("keys", ())]
        if "PatientID" in named or "(0010,0020)" in named:
            return True
    return False


def _carries(reading: Reading, destination: str) -> str:
    declared = reading.outbound.get(destination)
    return declared.type.carries if declared else ""  # what is wrong with it is told elsewhere


def check_first_counts(reading: Reading) -> None:
    """Of two routes that tell one destination the same result, the first decides how it is edited."""
    told: dict[tuple[str, str], tuple[Route, Any]] = {}
    for index, route in sorted(reading.routes.items()):
        for place, sending in enumerate(route.deliver):
            study = _carries(reading, sending.to) == "study"
            edits = (route.transform if study else (), sending.transform)
            thing = (sending.to, "" if study else str(route.process))
            first, its_edits = told.setdefault(thing, (route, edits))
            live = first is not route and not route.shadow and not first.shadow
            if live and edits != its_edits and not _apart(first, route):
                message = (
                    f"route {shown(first.name)} edits what it sends to {sending.to} in another way; of a "
                    "study that both take it gets one, as the first of them edits it"
                )
                reading.warn(("routes", index, "deliver", place), message, "edits-differ")


def _apart(one: Route, other: Route) -> bool:
    """Whether two routes ask for different values of the same: few studies hold both."""
    first, second = demands(one.match), demands(other.match)
    return any(not values & second[name] for name, values in first.items() if name in second)


def check_transform_secrets(reading: Reading) -> None:
    """The secrets that edits name are on this machine."""
    for index, route in sorted(reading.routes.items()):
        for location, reference in _secrets(route, ("routes", index)):
            secret = Secret.model_validate(reference)
            if secret.file is not None:
                secret = Secret(file=reading.document.base / secret.file)
            holder = HashSettings(keys=("PatientName",), secret=secret)
            for inner, message, code in missing_of(holder, reading.document.base):
                reading.complain((*location, *inner), message, code)


def _secrets(route: Route, location: Location) -> Iterator[tuple[Location, dict[str, Any]]]:
    places: list[tuple[Location, Sequence[dict[str, Any]]]] = [((*location, "transform"), route.transform)]
    for number, sending in enumerate(route.deliver):
        places.append(((*location, "deliver", number, "transform"), sending.transform))
    for place, steps in places:
        for index, step in enumerate(steps):
            for operation in ("hash", "shift_dates"):
                if "secret" in step.get(operation, {}):
                    yield (*place, index, operation), step[operation]["secret"]
