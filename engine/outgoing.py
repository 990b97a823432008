"""What a decided study would send: who gets what, as it would be edited and rendered, without sending.

Enter: a study that a table decided, the result its processors are to give, and a folder for files.
Leave: the destinations in order, the attributes of edited copies, the fields of rendered payloads. It
goes by the engine's own ways: instances are files, copies are edited as processors and receivers get
them, a channel is built as it starts and renders as for a delivery. Nothing is opened or sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from functools import cached_property
from pathlib import Path

from pydicom.dataset import Dataset

from engine.catalog import installed_exports
from engine.channel import Outbound, OutboundContext
from engine.errors import PonsError
from engine.given_files import write_instance, write_study
from engine.given_result import made_result
from engine.model import (
    Acknowledged,
    DeliveryId,
    History,
    Payload,
    Result,
    ResultStatus,
    StoredInstance,
    Study,
)
from engine.payload_field import values_in_file, values_of
from engine.result_of_run import wanted_of
from engine.route import Decision, RouteOutcome, Sending, forwards_of, runs_of
from engine.study_context import StudyContext, read_context
from engine.table import GivenResult, Table
from engine.transform import Steps, copy_instances, edit_result, for_copies_of, for_delivery
from engine.when import unmet

LATER = (ResultStatus.CORRECTED, ResultStatus.RETRACTED)
"""What there is only of a result that went out before."""


class NothingSent(PonsError):
    """Nothing goes to the processor or destination that was asked about."""


class Outgoing:
    """What would go out of one decided study."""

    def __init__(
        self, table: Table, study: Study, decision: Decision, given: GivenResult | None, folder: Path
    ) -> None:
        self._table = table
        self._study = study
        self._hits = decision.hits
        self._given = given
        self._folder = folder
        self._rendered: dict[str, list[Payload]] = {}

    # ── who gets what ───────────────────────────────────────────────────────────────────────────

    @property
    def destinations(self) -> tuple[str, ...]:
        """Who gets something, each once, in order; where no result is given, whatever it may be."""
        reached: dict[str, None] = {}
        for hit in self._live:
            for sending in hit.deliver:
                if self._given is None or self._carries_study(sending.to) or self._sendings(sending.to, hit):
                    reached.setdefault(sending.to)
        return tuple(reached)

    @property
    def _live(self) -> list[RouteOutcome]:
        return [hit for hit in self._hits if not hit.shadow]

    def _carries_study(self, destination: str) -> bool:
        return self._table.outbound[destination].type.carries == "study"

    def _forwarded(self, destination: str) -> Steps | None:
        """With which edits the study itself goes there: those of the first route that names it."""
        for hit, sending in forwards_of(self._hits, self._carries_study):
            if sending.to == destination:
                return for_delivery(hit.transform, sending.transform)
        return None

    def _sendings(
        self, destination: str, of: RouteOutcome | None = None
    ) -> list[tuple[list[RouteOutcome], Sending]]:
        """The runs whose result goes there, each with the entry that says so."""
        if self._given is None or self._carries_study(destination):
            return []
        found = []
        for run in runs_of(self._live):
            wanted = wanted_of(run, self._result(run), self._holders).get(destination)
            if wanted is not None and (of is None or of in run):
                found.append((run, wanted))
        return found

    @property
    def _holders(self) -> tuple[str, ...]:
        """Who holds an earlier version: of a correction or retraction, everybody."""
        if self._given is None or self._given.status not in LATER:
            return ()
        return tuple(self._table.outbound)

    @property
    def left_out(self) -> dict[str, str]:
        """The destinations of routes that fired whose `when` the result does not meet, and why."""
        reached = self.destinations
        return {
            sending.to: unmet(sending.when, self._result(run), told=sending.to in self._holders)
            for run in (runs_of(self._live) if self._given is not None else ())
            for hit in run
            for sending in hit.deliver
            if sending.to not in reached
        }

    def _why_nothing(self, holder: str) -> str:
        why = self.left_out.get(holder)
        return f"nothing: {why}" if why else "nothing: no route that fired sends there"

    # ── edited ──────────────────────────────────────────────────────────────────────────────────

    def edited(self, holder: str, name: str) -> Iterator[tuple[str, ...]]:
        """The values an attribute has in each instance that a processor or destination gets.

        Raises:
            NothingSent: nothing goes there.
            PonsError: an edit cannot be made.
        """
        for files in self._edited_files(holder):
            for file in dict.fromkeys(one.path for one in files):
                yield tuple(values_in_file(file, name))

    def _edited_files(self, holder: str) -> Iterator[tuple[StoredInstance, ...]]:
        if holder in self._table.processors:
            runs = [run for run in runs_of(self._hits) if run[0].process == holder]
            for number, run in enumerate(runs):
                chosen = [one for one in self._stored if one.series_instance_uid in run[0].series]
                steps = for_copies_of(run[0].transform, "processor")
                yield self._copies(chosen, f"{holder}-{number}", steps)
            found = bool(runs)
        else:
            forwarded = self._forwarded(holder)
            if forwarded is not None:
                yield self._copies(self._stored, holder, forwarded)
            for number, (run, sending) in enumerate(self._sendings(holder)):
                yield self._told(run, sending, f"{holder}-{number}")
            found = forwarded is not None or bool(self._sendings(holder))
        if not found:
            raise NothingSent(self._why_nothing(holder))

    def _copies(
        self, stored: Sequence[StoredInstance], name: str, steps: Steps
    ) -> tuple[StoredInstance, ...]:
        return copy_instances(stored, self._folder / "copies" / name, steps, self._table.base)

    def _told(self, run: list[RouteOutcome], sending: Sending, name: str) -> tuple[StoredInstance, ...]:
        """What a result tells its destination of the study, as a file."""
        told = edit_result(self._result(run), sending.transform, self._table.base)
        path = self._folder / f"{name}.dcm"
        write_instance(Dataset.from_json(told.study.header), path, self._study.study_instance_uid, 0)
        return (replace(self._stored[0], path=path),)

    # ── rendered ────────────────────────────────────────────────────────────────────────────────

    def rendered(self, destination: str, field: str) -> Iterator[tuple[str, ...]]:
        """The values a field has in what a destination is sent; once for each delivery.

        Raises:
            NothingSent: nothing goes there.
            PonsError: it cannot be rendered, or looked into.
        """
        for payload in self.payloads(destination):
            yield values_of(payload, field)

    def payloads(self, destination: str) -> list[Payload]:
        """What a destination is sent, one payload a delivery; raises as `rendered`."""
        payloads = self._rendered.get(destination)
        if payloads is None:
            payloads = self._rendered[destination] = list(self._render(destination))
        if not payloads:
            raise NothingSent(self._why_nothing(destination))
        return payloads

    def _render(self, destination: str) -> Iterator[Payload]:
        forwarded = self._forwarded(destination)
        if forwarded is None and not self._carries_study(destination) and self._given is None:
            raise PonsError(f"{destination} carries results; give the test one: `given: {{result: …}}`")
        channel = self._channel(destination)
        if forwarded is not None:
            stored = self._copies(self._stored, f"{destination}-sent", forwarded)
            yield _rendered(destination, channel, replace(self._study, stored=stored), self._history())
        for run, sending in self._sendings(destination):
            result = edit_result(self._result(run), sending.transform, self._table.base)
            yield _rendered(destination, channel, result, self._past(destination, channel, result))

    def _channel(self, destination: str) -> Outbound:
        declared = self._table.outbound[destination]
        site = self._table.sites[declared.settings.site]
        work = self._folder / f"{destination}-work"
        work.mkdir(parents=True, exist_ok=True)
        try:
            lent = OutboundContext(
                destination, site, self._table.engine.ae_title, work, exports=installed_exports
            )
            return declared.type.build(declared.settings, lent)
        except Exception as error:  # a channel may refuse what this machine lacks in any way
            raise PonsError(f"{destination} cannot be built here: {_first_line(error)}") from None

    def _result(self, run: list[RouteOutcome]) -> Result:
        assert self._given is not None
        assert run[0].process is not None
        return made_result(
            self._given,
            site=self._study.site,
            route=run[0].route,
            processor=run[0].process,
            context=self._context,
            produced_at=self._study.received_at.replace(tzinfo=UTC),
        )

    def _history(
        self, acknowledged: tuple[Acknowledged, ...] = (), standing: Result | None = None
    ) -> History:
        moment = self._study.received_at.replace(tzinfo=UTC)
        return History(DeliveryId("table-test-2"), moment, acknowledged, standing)

    def _past(self, destination: str, channel: Outbound, result: Result) -> History:
        """What the destination holds: of a correction or retraction, the version before it."""
        if result.status not in LATER:
            return self._history()
        before = result.model_copy(
            update={
                "result_id": result.supersedes,
                "status": ResultStatus.FINAL,
                "revision": 1,
                "supersedes": None,
            }
        )
        moment = self._study.received_at.replace(tzinfo=UTC)
        first = _rendered(destination, channel, before, History(DeliveryId("table-test-1"), moment))
        held = Acknowledged(
            delivery_id=DeliveryId("table-test-1"),
            status=ResultStatus.FINAL,
            revision=1,
            identifiers=tuple(part.identifier for part in first.parts),
            sop_class_uids=tuple(part.facts.get("sop_class_uid", "") for part in first.parts),
            series_instance_uids=tuple(part.facts.get("series_instance_uid", "") for part in first.parts),
        )
        return self._history((held,), before)

    # ── the study as files ──────────────────────────────────────────────────────────────────────

    @cached_property
    def _context(self) -> StudyContext:
        return read_context(self._stored, self._table.sites[self._study.site], self._study.revision)

    @cached_property
    def _stored(self) -> tuple[StoredInstance, ...]:
        return self._study.stored or write_study(self._study, self._folder / "instances")


def _rendered(destination: str, channel: Outbound, subject: Result | Study, history: History) -> Payload:
    try:
        return channel.render(subject, history)
    except Exception as error:  # as in a delivery: whatever it is, it is no delivery
        raise PonsError(f"{destination} cannot render this: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
