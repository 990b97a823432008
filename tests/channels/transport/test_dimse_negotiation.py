"""Association requests as another implementation writes them, and answers as it reads them."""

from __future__ import annotations

import logging

import pytest
from pydicom.uid import UID
from pynetdicom import build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)

from channels.transport.dimse_negotiation import AssociationRequest, Rejection
from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
JPEG, EXPLICIT = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1"


def request(*items: object, application_context: str = "1.2.840.10008.3.1.1.1") -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(application_context)
    primitive.calling_ae_title = "STM_PACS"
    primitive.called_ae_title = "PONS"
    contexts = [build_context(MR, [JPEG, EXPLICIT]), build_context(CT, [EXPLICIT])]
    for context_id, context in zip((1, 3), contexts, strict=True):
        context.context_id = context_id
    primitive.presentation_context_definition_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = 32768
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3")
    primitive.user_information = [length, implementation, *items]
    return A_ASSOCIATE_RQ(primitive).encode()


def answer(read: AssociationRequest, *served: str) -> tuple[dict[int, tuple[str, str]], A_ASSOCIATE_AC]:
    contexts, encoded = read.accept(lambda uid: uid in served, 131072)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encoded)
    return {key: (cx.abstract_syntax, cx.transfer_syntax_uid) for key, cx in contexts.items()}, pdu


def test_titles_and_maximum_length_are_read() -> None:
    read = AssociationRequest(request())
    assert (read.calling_ae_title, read.called_ae_title, read.max_pdu) == ("STM_PACS", "PONS", 32768)
    assert read.unacceptable is None


def test_served_contexts_are_accepted_with_the_first_syntax_named() -> None:
    contexts, pdu = answer(AssociationRequest(request()), MR)
    assert contexts == {1: (MR, JPEG)}
    results = [(item.context_id, item.result, item.transfer_syntax) for item in pdu.presentation_context]
    assert results[0] == (1, 0, JPEG)
    assert results[1][:2] == (3, 3)  # abstract syntax not supported
    assert pdu.user_information is not None
    assert pdu.user_information.maximum_length == 131072
    assert pdu.user_information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert pdu.user_information.implementation_version_name == IMPLEMENTATION_VERSION_NAME


def test_a_peer_that_could_be_both_is_scu_here() -> None:
    """PS3.7 D.3.3.4; C-GET users propose the SCP role for storage."""
    _, pdu = answer(AssociationRequest(request(build_role(MR, scu_role=True, scp_role=True))), MR)
    assert pdu.user_information is not None
    (role,) = pdu.user_information.role_selection.values()
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (MR, True, False)


@pytest.mark.parametrize("roles", [(True, False), (False, True), (True, True)])
def test_in_storage_commitment_a_peer_has_the_roles_it_wants(roles: tuple[bool, bool]) -> None:
    """PS3.4 J.1: an archive that reports on an association of its own is SCP there."""
    proposed = request(build_role(MR, scu_role=roles[0], scp_role=roles[1]))
    _, encoded = AssociationRequest(proposed).accept(lambda uid: uid == MR, 131072, {MR})
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encoded)
    assert pdu.user_information is not None
    (role,) = pdu.user_information.role_selection.values()
    assert (role.scu_role, role.scp_role) == roles


def test_of_what_is_read_here_only_readable_syntaxes_are_accepted() -> None:
    contexts, _ = AssociationRequest(request()).accept(lambda _: True, 131072, {MR})
    assert contexts[1].transfer_syntax_uid == EXPLICIT  # JPEG was named first
    unreadable = request().replace(EXPLICIT.encode(), b"1.2.840.10008.1.9.9")
    contexts, _ = AssociationRequest(unreadable).accept(lambda _: True, 131072, {MR, CT})
    assert contexts == {}


def test_a_user_identity_is_neither_needed_nor_answered() -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"user", b"secret"
    _, pdu = answer(AssociationRequest(request(identity)), MR)
    assert pdu.user_information is not None
    assert pdu.user_information.user_identity is None


def test_what_it_does_not_know_is_passed_over() -> None:
    """PS3.8 9.3.1; an item of another edition, in the place of each that is optional."""
    known = request(build_role(MR, scu_role=True, scp_role=True))
    unknown = known.replace(b"\x54\0\0\x1d", b"\x5f\0\0\x1d")
    assert unknown != known
    assert answer(AssociationRequest(unknown), MR)[0] == {1: (MR, JPEG)}
    beside = request() + b"\x7f\0\0\x03abc"
    assert answer(AssociationRequest(beside), MR)[0] == {1: (MR, JPEG)}


def test_every_context_of_many_is_answered_in_its_place() -> None:
    """PS3.8 9.3.3.2: 128 contexts at most, their ids odd."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = "STM_PACS", "PONS"
    contexts = [build_context(f"1.2.3.{number}", [EXPLICIT, JPEG]) for number in range(128)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = 0
    primitive.user_information = [length]
    read = AssociationRequest(A_ASSOCIATE_RQ(primitive).encode())
    served = {f"1.2.3.{number}" for number in range(0, 128, 3)}
    accepted, pdu = answer(read, *served)
    assert {syntax for syntax, _ in accepted.values()} == served
    results = {item.context_id: item.result for item in pdu.presentation_context}
    assert results == {2 * number + 1: 3 * (f"1.2.3.{number}" not in served) for number in range(128)}
    assert (pdu.called_ae_title.strip(), pdu.calling_ae_title.strip()) == ("PONS", "STM_PACS")


def test_another_application_context_or_protocol_is_not_acceptable() -> None:
    assert (
        AssociationRequest(request(application_context="1.2.3")).unacceptable is Rejection.APPLICATION_CONTEXT
    )
    old = bytearray(request())
    old[7] = 2
    assert AssociationRequest(bytes(old)).unacceptable is Rejection.PROTOCOL_VERSION


@pytest.mark.parametrize("rejection", list(Rejection), ids=lambda rejection: rejection.name)
def test_a_rejection_is_read_by_another_implementation(rejection: Rejection) -> None:
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(rejection.encode())
    assert (pdu.result, pdu.source, pdu.reason_diagnostic) == rejection.value
    assert "" not in (pdu.result_str, pdu.source_str, pdu.reason_str)  # each code has a name


MALFORMED = [
    ("a title in Latin-1", lambda pdu: pdu.replace(b"STM_PACS", b"M\xfcnchen ")),
    ("a blank title", lambda pdu: pdu.replace(b"PONS    ", b"        ")),
    ("cut short", lambda pdu: pdu[:100]),
    ("an item past its end", lambda pdu: pdu[:74] + pdu[74:].replace(b"\x20\0\0", b"\x20\0\xff", 1)),
    ("an abstract syntax that is no text", lambda pdu: pdu.replace(b"1.2.840.10008.5", b"\xff" * 15, 1)),
    ("an even context id", lambda pdu: pdu.replace(b"\x03\0\0\0\x30", b"\x04\0\0\0\x30")),
    ("a maximum length that is none", lambda pdu: pdu.replace(b"\x51\0\0\x04", b"\x51\0\0\x03")),
    ("a control character in a title", lambda pdu: pdu.replace(b"PONS", b"PO\nS")),
    ("a backslash in a title", lambda pdu: pdu.replace(b"PONS", b"PO\\S")),
    ("a control character in a UID", lambda pdu: pdu.replace(MR.encode(), b"\n" + MR.encode()[1:])),
    ("zeros", lambda pdu: pdu[:74] + bytes(len(pdu) - 74)),
]  # fmt: skip


@pytest.mark.parametrize("damage", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_a_damaged_request_is_refused_quietly(damage: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(damage)
    assert damage(request()) != request()
    with pytest.raises(ValueError, match=r"AE title|malformed"):
        AssociationRequest(damage(request()))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
