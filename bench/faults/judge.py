"""Judges a run from its records: lost, twice, out of order, stuck.

Enter: what senders were told, what receivers took in the order they took it, what the store holds at
the end. Leave: a verdict that names each offender. A result carries a mask, one bit an instance it was
made of, so that its content alone says what it knows: every later version of it knows more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.faults.records import Acknowledged, Receipt

RANK = {"preliminary": 0, "final": 1, "corrected": 2}
INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class Expected:
    """A destination, and what must come to it of every study of its site."""

    destination: str
    site: str
    instances: bool = False  # each instance itself; otherwise a result that knows all of them


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds once everything has ended."""

    intact: Mapping[str, str]  # SOP Instance UID -> digest of the data set that is on the disk
    unfinished: Sequence[str] = ()  # what is queued, waiting, dead, leased, running, half received


@dataclass(frozen=True, slots=True)
class Offence:
    """One promise that was broken, and where to look."""

    study: str
    destination: str
    what: str

    def __str__(self) -> str:
        where = f" at {self.destination}" if self.destination else ""
        return f"study {self.study}{where}: {self.what}" if self.study else self.what


@dataclass
class Verdict:
    """Counts, and who offended."""

    acknowledged: int = 0  # instances
    delivered: int = 0  # different messages, events and objects that arrived
    duplicates: int = 0  # arrivals of something that had arrived before
    lost: list[Offence] = field(default_factory=list)
    unrecognised: list[Offence] = field(default_factory=list)
    out_of_order: list[Offence] = field(default_factory=list)
    stuck: list[Offence] = field(default_factory=list)

    @property
    def offences(self) -> list[Offence]:
        """All of them, the gravest first."""
        return [*self.lost, *self.out_of_order, *self.unrecognised, *self.stuck]


def judge(
    told: Iterable[Acknowledged], receipts: Sequence[Receipt], expected: Sequence[Expected], kept: Kept
) -> Verdict:
    """The verdict on one run."""
    known = {one.sop_instance_uid: one for one in told}
    verdict = Verdict(acknowledged=len(known))
    _lost_in_the_store(known.values(), kept, verdict)
    _lost_on_the_way(known.values(), receipts, expected, verdict)
    _repeated(receipts, verdict)
    _overtaken(receipts, verdict)
    verdict.stuck = [Offence("", "", what) for what in kept.unfinished]
    return verdict


def _lost_in_the_store(told: Iterable[Acknowledged], kept: Kept, verdict: Verdict) -> None:
    for one in told:
        found = kept.intact.get(one.sop_instance_uid)
        if found != one.sha256:
            what = "is not in the store" if found is None else "has other bytes in the store"
            verdict.lost.append(
                Offence(one.study, "", f"instance {one.number}, acknowledged by {one.way}, {what}")
            )


def _lost_on_the_way(
    told: Iterable[Acknowledged], receipts: Sequence[Receipt], expected: Sequence[Expected], verdict: Verdict
) -> None:
    wanted: dict[tuple[str, str], int] = {}
    for one in told:
        wanted[one.site, one.study] = wanted.get((one.site, one.study), 0) | 1 << one.number
    each: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for receipt in receipts:
        where = (receipt.destination, receipt.study)
        each[where] = each.get(where, 0) | receipt.mask
        last[where] = receipt.mask
    for destination in expected:
        arrived = each if destination.instances else last
        for (site, study), mask in wanted.items():
            missing = mask & ~arrived.get((destination.destination, study), 0)
            if site == destination.site and missing:
                numbers = ", ".join(str(n) for n in range(missing.bit_length()) if missing >> n & 1)
                what = "never arrived" if destination.instances else "are in no result that it has last"
                verdict.lost.append(Offence(study, destination.destination, f"instances {numbers} {what}"))


def _repeated(receipts: Sequence[Receipt], verdict: Verdict) -> None:
    """The same content again must carry the same identifier: only so can a receiver tell."""
    identifiers: dict[tuple[str, str, int], set[str]] = {}
    contents: dict[tuple[str, str], tuple[str, int]] = {}
    for receipt in receipts:
        content = (receipt.destination, receipt.study, receipt.mask)
        same = identifiers.setdefault(content, set())
        if same:
            verdict.duplicates += 1
        else:
            verdict.delivered += 1
        if same and receipt.identifier not in same:
            what = f"result of mask {receipt.mask:b} came under {len(same) + 1} identifiers"
            verdict.unrecognised.append(Offence(receipt.study, receipt.destination, what))
        same.add(receipt.identifier)
        identity = (receipt.study, receipt.mask)
        if contents.setdefault((receipt.destination, receipt.identifier), identity) != identity:
            what = f"{receipt.identifier} came with two contents"
            verdict.unrecognised.append(Offence(receipt.study, receipt.destination, what))


def _overtaken(receipts: Sequence[Receipt], verdict: Verdict) -> None:
    """Whatever comes knows all that came before it, and is no less final."""
    before: dict[tuple[str, str], Receipt] = {}
    for receipt in receipts:
        if receipt.status == INSTANCE:
            continue
        where = (receipt.destination, receipt.study)
        earlier = before.setdefault(where, receipt)
        older = earlier.mask & ~receipt.mask or RANK[receipt.status] < RANK[earlier.status]
        if older:
            what = (
                f"{receipt.status} of mask {receipt.mask:b} ({receipt.identifier}) came after "
                f"{earlier.status} of mask {earlier.mask:b} ({earlier.identifier})"
            )
            verdict.out_of_order.append(Offence(receipt.study, receipt.destination, what))
        else:
            before[where] = receipt
