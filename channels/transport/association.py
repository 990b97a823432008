"""Send instances by C-STORE and verify by C-ECHO (PS3.4 B, PS3.7 9.1.1 and 9.1.5).

Enter: a peer and parts, each a DICOM file in memory or on disk. Leave: an acknowledgement for all
of them, or TryAgain or Refused as the statuses say (see `dimse_status`). Where it is wanted, the
peer is then asked to commit to them (see `commitment_scu`). How they travel is told in `offer`: the data
set goes out as it is filed, byte for byte, and is encoded anew (see `reencoding`) only where that is allowed
and the peer takes it in no other way. Every attempt sends the same instances under the same SOP Instance
UIDs, so that a peer recognises a repetition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from channels.transport import command_set, dimse_status
from channels.transport.dimse_command import C_ECHO_RQ
from channels.transport.dimse_status import Verdict
from channels.transport.instance_file import InstanceFile
from channels.transport.offer import WINDOW, Answer, offer, read_response, wanted
from channels.transport.reencoding import IMPLICIT_VR_LITTLE_ENDIAN, Encoding
from channels.transport.upper_layer import MAX_CONTEXTS, Association, Peer, associate
from engine.errors import Refused, TryAgain
from engine.model import Acknowledgement, CommitmentReport, Part

__all__ = ["Commitment", "Peer", "check_commitment", "echo", "groups", "store"]

_VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True, slots=True)
class Commitment:
    """That a peer is to be asked to commit to all it was sent (PS3.4 J.3)."""

    transaction_uid: str
    stored: frozenset[str]  # SOP Instance UIDs that it has already
    wait: float  # seconds that its report is awaited on the same association


@dataclass(slots=True)
class _Progress:
    """How far an attempt has come, whatever ends it."""

    answers: list[Answer]
    offered: bool = False  # an instance was on its way: without an answer it may have arrived

    @property
    def arrived(self) -> list[str]:
        """The SOP Instance UIDs of what the peer has taken."""
        taken = (Verdict.DELIVERED, Verdict.WARNING)
        return [answer.sop_instance_uid for answer in self.answers if answer.verdict in taken]


async def store(
    peer: Peer,
    parts: Sequence[Part],
    *,
    encoding: Encoding = Encoding.AS_FILED,
    commitment: Commitment | None = None,
) -> Acknowledgement:
    """Store every part at the peer, over one association where 128 contexts suffice.

    Args:
        encoding: how far an instance may be encoded anew when the peer does not take the transfer syntax
            that it is filed in.
        commitment: what is stored already is not sent again, and once the peer has everything it is
            asked to commit to it, on the same association where it takes that there.

    Raises:
        TryAgain: an instance got A7xx or 0110, or the association failed or was too slow; or the
            peer cannot be asked to commit now.
        Refused: an instance got a permanent failure or no presentation context, after every
            other instance had been offered; or the peer takes no storage commitment.
    """
    if not parts:
        raise Refused("there is no instance to send", code="empty")
    progress = _Progress([])
    stored = commitment.stored if commitment else frozenset()
    report: CommitmentReport | None = None
    try:
        async with asyncio.timeout(peer.timeout) as limit:
            files = await asyncio.to_thread(lambda: [InstanceFile.of(part) for part in parts])
            missing = [file for file in files if file.sop_instance_uid not in stored]
            asking = _Asking(peer, commitment, files) if commitment else None
            for group in groups(missing, encoding):
                if any(answer.is_out_of_resources for answer in progress.answers):
                    break
                more = asking.contexts(group, missing) if asking else ()
                async with associate(peer, [*group.contexts, *more], window=WINDOW) as association:
                    await _store_group(peer, association, group.files, encoding, progress, limit)
                    if asking and group.files[-1] is missing[-1]:
                        await asking.ask(association, progress, limit)
            acknowledgement = _settle(peer, progress, len(missing), len(parts))
            if asking and not asking.asked:
                await asking.ask_apart(limit)
            report = asking.report if asking else None
    except TimeoutError as error:
        raise TryAgain(
            f"{peer} acknowledged {len(progress.answers)} of {len(parts)} instances,"
            f" then none for {peer.timeout:g} s",
            code="timeout",
            uncertain=progress.offered or bool(stored),
        ) from error
    except TryAgain as error:
        error.uncertain |= bool(progress.arrived or stored)
        raise
    except Refused as error:
        error.stored = (*stored, *progress.arrived)
        raise
    if commitment is not None and report is None:
        words = f"{acknowledgement.detail}, asked to commit"
        return replace(acknowledgement, detail=words, awaits_report=True)
    return replace(acknowledgement, report=report)


class _Asking:
    """Asking a peer to commit to the files of one attempt, once it has them all."""

    def __init__(self, peer: Peer, commitment: Commitment, files: Sequence[InstanceFile]) -> None:
        self.asked = False
        self.report: CommitmentReport | None = None
        self._peer = peer
        self._commitment = commitment
        self._references = [(file.sop_class_uid, file.sop_instance_uid) for file in files]

    def contexts(self, group: Group, missing: Sequence[InstanceFile]) -> Sequence[tuple[str, str]]:
        """What the association of the last group proposes beside its own, where there is room."""
        from channels.transport.commitment_scu import CONTEXTS  # late: it takes 150 ms

        fits = len(group.contexts) + len(CONTEXTS) <= MAX_CONTEXTS
        return CONTEXTS if fits and group.files[-1] is missing[-1] else ()

    async def ask(self, association: Association, progress: _Progress, limit: asyncio.Timeout) -> None:
        """Ask on this association, unless the peer does not take it here or has not got everything."""
        from channels.transport import commitment_scu

        failed = any(answer.verdict in (Verdict.TRY_AGAIN, Verdict.REFUSED) for answer in progress.answers)
        if failed or commitment_scu.accepted(association) is None:
            return
        limit.reschedule(None)  # asking keeps its own time
        self.asked = True
        self.report = await commitment_scu.request_commitment(
            association,
            self._peer,
            self._commitment.transaction_uid,
            self._references,
            wait=self._commitment.wait,
        )

    async def ask_apart(self, limit: asyncio.Timeout) -> None:
        """Ask on an association for nothing else."""
        from channels.transport import commitment_scu

        limit.reschedule(asyncio.get_running_loop().time() + self._peer.timeout)
        async with associate(self._peer, commitment_scu.CONTEXTS) as association:
            await self.ask(association, _Progress([]), limit)
            if not self.asked:
                raise _without_commitment(self._peer)


async def check_commitment(peer: Peer) -> None:
    """Whether the peer accepts storage commitment; asks it nothing.

    Raises:
        TryAgain: no association, or none in time.
        Refused: it does not, or rejects us for good.
    """
    from channels.transport import commitment_scu  # late: it takes 150 ms

    try:
        async with asyncio.timeout(peer.timeout), associate(peer, commitment_scu.CONTEXTS) as association:
            if commitment_scu.accepted(association) is None:
                raise _without_commitment(peer)
    except TimeoutError as error:
        raise TryAgain(f"{peer} took no association within {peer.timeout:g} s", code="timeout") from error


def _without_commitment(peer: Peer) -> Refused:
    return Refused(
        f"{peer} does not accept storage commitment: enable it there for {peer.calling_ae_title},"
        " or set storage_commitment: false",
        code="no context",
    )


async def echo(peer: Peer) -> None:
    """C-ECHO; returns when the peer answered with success.

    Raises:
        TryAgain: no answer, or none with success.
        Refused: the peer rejects us for good or does not offer verification.
    """
    wanted = (_VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
    try:
        async with asyncio.timeout(peer.timeout), associate(peer, [wanted]) as association:
            if wanted not in association.accepted:
                raise Refused(f"{peer} does not accept verification", code="no context")
            command = command_set.encode(
                {
                    command_set.AFFECTED_SOP_CLASS_UID: _VERIFICATION,
                    command_set.COMMAND_FIELD: C_ECHO_RQ,
                    command_set.MESSAGE_ID: 1,
                    command_set.DATA_SET_TYPE: command_set.NO_DATA_SET,
                }
            )
            await association.send(association.accepted[wanted], command)
            elements = command_set.decode(await association.receive())
            status = read_response(peer, elements, C_ECHO_RQ, 1)
    except TimeoutError as error:
        raise TryAgain(f"{peer} did not answer C-ECHO within {peer.timeout:g} s", code="timeout") from error
    if status != 0:
        raise TryAgain(f"{peer} answered C-ECHO with {dimse_status.describe(status)}")


@dataclass(frozen=True, slots=True)
class Group:
    """The instances of one association and the contexts they need."""

    files: list[InstanceFile]
    contexts: list[tuple[str, str]]


def groups(files: Sequence[InstanceFile], encoding: Encoding) -> Iterator[Group]:
    """The files in as many groups as their contexts need associations, in order."""
    group = Group([], [])
    for file in files:
        more = [context for context in wanted(file, encoding) if context not in group.contexts]
        if len(group.contexts) + len(more) > MAX_CONTEXTS:
            yield group
            group = Group([], [])
            more = wanted(file, encoding)
        group.files.append(file)
        group.contexts.extend(more)
    if group.files:
        yield group


async def _store_group(
    peer: Peer,
    association: Association,
    files: Sequence[InstanceFile],
    encoding: Encoding,
    progress: _Progress,
    limit: asyncio.Timeout,
) -> None:
    """Offer every instance and note its answer at once.

    Each answer earns the peer another ``peer.timeout``: a large study may take its time.
    """

    def began(_: int) -> None:
        progress.offered = True

    async with aclosing(offer(peer, association, files, encoding, began=began)) as answers:
        async for _, answer in answers:
            progress.answers.append(answer)
            limit.reschedule(asyncio.get_running_loop().time() + peer.timeout)


def _settle(peer: Peer, progress: _Progress, sent: int, total: int) -> Acknowledgement:
    """One outcome for all: a transient failure outweighs a permanent one, for the rest is sent again."""
    answers = progress.answers
    for verdict, error in ((Verdict.TRY_AGAIN, TryAgain), (Verdict.REFUSED, Refused)):
        failed = [answer for answer in answers if answer.verdict is verdict]
        if failed:
            first = failed[0]
            words = (
                f"{peer} did not store {len(failed)} of {sent} instances,"
                f" first {first.sop_instance_uid}: {first}"
            )
            if error is Refused:
                raise Refused(words, code=first.code)
            # 0110 says that this instance could not be processed, not that the peer is down
            of_payload = all(answer.status == 0x0110 for answer in failed)
            raise TryAgain(words, code=first.code, of_payload=of_payload)
    kept = [answer for answer in answers if answer.verdict is Verdict.WARNING]
    earlier = f", {total - sent} of {total} earlier" if sent < total else ""
    return Acknowledgement(
        code=kept[0].code if kept else dimse_status.code(0),
        detail=f"{sent} {'instance' if sent == 1 else 'instances'} stored{earlier}",
        warning="; ".join(
            f"{sum(answer.status == status for answer in kept)} of {sent}: {dimse_status.describe(status)}"
            for status in dict.fromkeys(answer.status for answer in kept)
            if status is not None
        ),
    )
