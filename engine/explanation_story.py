"""An explanation in words: what follows of a route that fires, and what is not as it was decided.

Pure. Enter: explanations. Leave: sentences for people, in the names of the table, without values of a study.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.explanation import Destination, Explanation, RouteExplained


def in_words(destination: Destination, outcome: RouteExplained) -> str:
    """Where a route delivers, after what, when and how edited."""
    parts = [destination.to, destination.type, destination.where]
    if destination.after:
        parts.append(f"after {', '.join(destination.after)}")
    if destination.when_in_words:
        parts.append(f"when {destination.when_in_words}")
    if outcome.schedule and destination.carries == "study":
        parts.append(f"not before {' or '.join(outcome.schedule)}")
    if destination.transform:
        parts.append(f"edited: {'; '.join(destination.transform)}")
    return "  ".join(part for part in parts if part)


def consequences(outcome: RouteExplained) -> list[str]:
    """Everything that follows when a route fires, a sentence each; indented what is of the one before."""
    lines = []
    if outcome.process:
        hours = f" not before {' or '.join(outcome.schedule)}" if outcome.schedule else ""
        lines.append(f"process {outcome.process} with {len(outcome.series)} series{hours}:")
        lines.extend(f"  {uid}" for uid in outcome.series)
    if outcome.transform:
        lines.append(f"edit copies: {'; '.join(outcome.transform)}")
    verb = "would deliver" if outcome.shadow else "deliver"
    lines.extend(f"{verb} to {in_words(one, outcome)}" for one in outcome.deliver)
    if outcome.hold:
        lines.append(f"hold: {outcome.hold}")
    return lines


def changes(then: Explanation, again: Explanation) -> Iterator[str]:
    """What is otherwise when a study is decided again; nothing where it is the same."""
    was, now = ({one.route: one for one in each.outcomes if one.hit} for each in (then, again))
    for name in was.keys() - now.keys():
        now_says = next((one.why for one in again.outcomes if one.route == name), "the route is gone")
        yield f"no longer fires: {name}: {now_says}"
    for name in now.keys() - was.keys():
        yield f"fires now: {name}: {now[name].why}"


def decides_the_same(then: Explanation, again: Explanation) -> bool:
    """Whether the same routes fire and the same destinations get something."""
    was, now = ({one.route for one in each.outcomes if one.hit} for each in (then, again))
    return was == now and then.destinations == again.destinations
