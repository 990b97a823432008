"""The contract of looking after an engine: the portal asks, `engine.operations` answers.

A channel has it by `InboundContext.operations`. Who may ask is the channel's to say: it gives the sites that
its peer may see, and what is of another site is not there. What changes something is durable on return and on
the audit trail, in the name of the ``actor``. Calls raise `OperationRefused`, and `DatabaseUnavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from engine.delivery_model import (
    ActionPlan,
    DeliveryDetails,
    DeliveryPage,
    DeliveryQuery,
    HeldRow,
    Message,
    ReplayQuery,
)
from engine.operations_model import (
    DestinationStanding,
    Happening,
    Overview,
    Sites,
    SiteStanding,
    TrailPage,
    TrailProof,
    TrailQuery,
)
from engine.table_model import (
    Explained,
    TableApplied,
    TableChange,
    TableInForce,
    TableProposal,
    ToldLine,
)


class OperationsDesk(Protocol):
    """Where those ask who look after an engine."""

    # ── how it stands ──

    async def overview(self, sites: Sites = None) -> Overview:
        """How the engine stands; cheap to ask every second, it is worked out every other one at most."""
        ...

    async def sites(self, sites: Sites = None) -> Sequence[SiteStanding]:
        """Every site of the table, in its order."""
        ...

    async def destinations(self, sites: Sites = None) -> Sequence[DestinationStanding]:
        """Every way out of the table, in its order, then those that only have something left."""
        ...

    async def pause(self, destination: str, *, actor: str, reason: str, sites: Sites = None) -> None:
        """Let nothing more go out to a destination; what is queued waits.

        Raises:
            OperationRefused: NOT_FOUND, CHANGED (it is paused already), INVALID (no reason).
        """
        ...

    async def resume(self, destination: str, *, actor: str, reason: str = "", sites: Sites = None) -> None:
        """Let it go on, and try one that counts as down at once.

        Raises:
            OperationRefused: NOT_FOUND, CHANGED (nothing was in its way).
        """
        ...

    # ── studies and deliveries ──

    async def trace(self, study_instance_uid: str, sites: Sites = None) -> Sequence[Happening]:
        """A study's whole story, oldest first, of each site that sent it; OperationRefused(NOT_FOUND)."""
        ...

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of deliveries."""
        ...

    async def delivery(self, delivery_id: str, sites: Sites = None) -> DeliveryDetails:
        """A delivery with its attempts and the pieces of its message; OperationRefused(NOT_FOUND)."""
        ...

    async def message(
        self, delivery_id: str, part: int = 0, *, revealed: bool = False, sites: Sites = None
    ) -> Message:
        """What a delivery sends, as text; values of the patient stand as `SHIELD` unless they are revealed.

        That somebody looked is the channel's to put on the trail (`PeopleDesk.seen`), before it shows it.

        Raises:
            OperationRefused: NOT_FOUND (no such delivery or part, not rendered yet, removed by retention).
        """
        ...

    # ── what waits for a person ──

    async def holds(
        self, sites: Sites = None, *, study: str | None = None, released: bool = False, limit: int = 500
    ) -> Sequence[HeldRow]:
        """Holds, the longest wait first; those that were answered, too, when ``released``."""
        ...

    async def plan_release(
        self, ids: Sequence[int], then: Literal["route", "process"] | None = None, sites: Sites = None
    ) -> ActionPlan:
        """What releasing holds would do; OperationRefused(NOT_FOUND)."""
        ...

    async def release(
        self,
        ids: Sequence[int],
        then: Literal["route", "process"] | None = None,
        *,
        actor: str,
        reason: str,
        sites: Sites = None,
    ) -> ActionPlan:
        """Answer holds: the study goes on.

        Args:
            then: also decide it again by the table of now, or process it as it was decided.

        Raises:
            OperationRefused: NOT_FOUND, INVALID (no reason).
        """
        ...

    async def discard(self, ids: Sequence[str], *, actor: str, reason: str, sites: Sites = None) -> int:
        """Give dead letters up: they stay on record; returns how many.

        Raises:
            OperationRefused: NOT_FOUND, CHANGED (one is no dead letter any more), INVALID (no reason).
        """
        ...

    async def plan_replay(self, query: ReplayQuery) -> ActionPlan:
        """What a replay would do; nothing is changed.

        Raises:
            OperationRefused: NOT_FOUND (an id), INVALID (nothing was named; no such destination).
        """
        ...

    async def replay(self, query: ReplayQuery, *, expect: int, actor: str, reason: str) -> ActionPlan:
        """Carry a replay out.

        Args:
            expect: to so many as the plan had said something happens.

        Raises:
            OperationRefused: as `plan_replay`; CHANGED (there are others by now), INVALID (no reason).
        """
        ...

    # ── the table ──

    async def table(self, sites: Sites = None) -> TableInForce:
        """The table that runs; of its routes those that can concern the sites."""
        ...

    async def explain(
        self, study_instance_uid: str, sites: Sites = None, *, revealed: bool = False
    ) -> Sequence[Explained]:
        """Each latest decision on a study, followed by what the table in force makes of it.

        Args:
            revealed: show what predicates found in attributes of the patient.

        Raises:
            OperationRefused: NOT_FOUND (no such study, or not decided yet).
        """
        ...

    async def versions(self, limit: int = 50) -> Sequence[TableChange]:
        """Every change of the running table, the latest first. For who sees every site, as what follows."""
        ...

    async def files(self, version: str) -> Mapping[str, str]:
        """The files of a version by name, the table's own first; OperationRefused(NOT_FOUND)."""
        ...

    async def compare(self, old: str, new: str) -> Sequence[ToldLine]:
        """The difference of two versions, line by line; OperationRefused(NOT_FOUND)."""
        ...

    async def propose(self, edits: Mapping[str, str], studies: int = 100) -> TableProposal:
        """What the running table with these files in the place of its own would change; as `pons plan`.

        Args:
            edits: name of a file of the table -> its new text.
            studies: so many of the latest are decided by both tables.

        Raises:
            OperationRefused: INVALID (a name that leaves the table's folder, too much text).
        """
        ...

    async def apply(
        self,
        edits: Mapping[str, str],
        *,
        expect: int | None,
        actor: str,
        message: str,
        force: bool = False,
    ) -> TableApplied:
        """Make it the running table, and wait shortly for the engines to take it; as `pons apply`.

        Args:
            expect: the change that the proposal was compared with (`TableProposal.running`).

        Raises:
            OperationRefused: CHANGED (another was applied since), REFUSED (objections), INVALID.
        """
        ...

    # ── the trail ──

    async def trail(self, query: TrailQuery) -> TrailPage:
        """A page of the audit trail. For who manages every site, as what follows."""
        ...

    async def verify_trail(self) -> TrailProof:
        """Read all of the trail and say whether it is whole."""
        ...
