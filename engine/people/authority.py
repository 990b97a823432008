"""Who may give which role to whom. Pure: values in, values or a refusal out.

A *global* admin manages everybody. An admin of sites manages what people are at those sites, sees nothing of
what they are elsewhere, and touches an account as a whole only where it is of his sites alone. Somebody who
can manage everybody is always left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from engine.person import Membership, Person, PersonState, Role, SignInRefused, SignInRefusedReason

MOST = 200  # roles of one person


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change."""

    name: str  # for the audit trail
    sites: Collection[str] | None  # where he manages people; None: everywhere

    def manages(self, person: Person) -> bool:
        """Whether somebody is among those that he may look at and give roles to."""
        return self.sites is None or any(one.site in self.sites for one in person.memberships)


def actor_of(person: Person) -> Actor:
    """Somebody as one who manages others; FORBIDDEN where he does not."""
    if not person.may(Role.ADMIN):
        raise SignInRefused(SignInRefusedReason.FORBIDDEN, "only an admin manages people")
    return Actor(f"person {person.username}", person.sites(Role.ADMIN))


def as_seen_by(actor: Actor, person: Person) -> Person:
    """Somebody, as far as he is the actor's business: what he is at other sites is not."""
    if actor.sites is None:
        return person
    return replace(person, memberships=tuple(one for one in person.memberships if one.site in actor.sites))


def given(
    actor: Actor,
    before: Sequence[Membership],
    wanted: Sequence[Membership],
    knows_site: Callable[[str], bool],
) -> tuple[Membership, ...]:
    """All roles of somebody once the actor has given those he wants: what is not his to give stays.

    Raises:
        SignInRefused: FORBIDDEN, INVALID.
    """
    for one in wanted:
        if actor.sites is not None and one.site not in actor.sites:
            where = "every site" if one.site is None else f"site {one.site}"
            raise SignInRefused(SignInRefusedReason.FORBIDDEN, f"a role at {where} is not yours to give")
        if one.site is not None and not knows_site(one.site):
            raise SignInRefused(SignInRefusedReason.INVALID, f"no site {one.site} in the table")
    kept = [one for one in before if actor.sites is not None and one.site not in actor.sites]
    # Not the highest alone: an engineer who is a viewer, too, is one who treats patients.
    every = sorted({*kept, *wanted}, key=lambda one: (one.site or "", one.role.rank))
    if not every:
        raise SignInRefused(
            SignInRefusedReason.INVALID, "somebody needs at least one role; to shut him out disable him"
        )
    if len(every) > MOST:
        raise SignInRefused(SignInRefusedReason.INVALID, f"more than {MOST} roles of one person")
    return tuple(every)


def check_whole(actor: Actor, person: Person) -> None:
    """Whether an account as a whole is the actor's to disable, enable or reset; FORBIDDEN where it is not."""
    if actor.sites is not None and any(one.site not in actor.sites for one in person.memberships):
        raise SignInRefused(
            SignInRefusedReason.FORBIDDEN, "this account is of other sites, too: ask an admin of all sites"
        )


def check_left(person: Person, others: Sequence[Person]) -> None:
    """Whether somebody who manages everybody is left without a person; CONFLICT where nobody is."""
    if not _is_head(person):
        return
    if not any(_is_head(one) for one in others if one.person_id != person.person_id):
        raise SignInRefused(
            SignInRefusedReason.CONFLICT,
            f"{person.username} is the last admin of all sites who can sign in: let another sign in first",
        )


def _is_head(person: Person) -> bool:
    return person.state is PersonState.ACTIVE and person.may_everywhere(Role.ADMIN)
