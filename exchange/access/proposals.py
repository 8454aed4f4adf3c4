"""Four eyes: what one person proposes, another approves, while it is fresh and its subject unchanged."""

from collections.abc import Iterable
from datetime import date
from typing import Final

from exchange.access.commands import BY_NAME
from exchange.access.tables import Person, Proposal, ProposalKind, ProposalState
from exchange.identifiers import MemberId, ProposalId
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.problems import Conflict, Forbidden

FRESH_DAYS: Final = 7


class NothingProposed(Conflict):
    """There is no open proposal to approve."""

    remedy = "Propose it first."


class ProposedAlready(Conflict):
    """There is an open proposal of this kind."""

    remedy = "Have another person approve it, or wait until it lapses after 7 days."


class ProposalStale(Conflict):
    """The proposal is too old, or its subject has changed since."""

    remedy = "Look at it again and propose anew."


class OwnProposal(Forbidden):
    """Nobody approves what they proposed themselves."""

    remedy = "Another person must approve it."


class OwnInterest(Forbidden):
    """Nobody proposes or approves what concerns a company that they act for themselves."""

    remedy = "Another person, who does not act for that company, must do it."


def interest_needed(work: UnitOfWork, companies: Iterable[str]) -> Needs:
    """Ask, in rounds, whether somebody of the caller's name acts for one of these companies."""
    yield [Need(Person, work.caller.person_id or 0)]
    if person := work.find(Person, work.caller.person_id or 0):
        yield [Need(Person, (company, person.name), BY_NAME) for company in companies]


def refuse_interest(work: UnitOfWork, *companies: str) -> None:
    """Refuse who has, or had, a key of one of these companies. Persons are told by their names, so namesakes are refused, too.

    Needs `interest_needed`. Raises OwnInterest.
    """
    name = work.get(Person, work.caller.person_id or 0).name
    found = [work.find(Person, (company, name), BY_NAME) for company in companies]
    if any(one is not None and one.name is not None for one in found):
        raise OwnInterest("A person of this name acts for a company that it concerns.")


def propose(
    work: UnitOfWork,
    kind: ProposalKind,
    subject: str,
    reason: str,
    *,
    effective_on: date | None = None,
    member_id: MemberId | None = None,
) -> Proposal:
    """Put a proposal by the present caller."""
    assert work.caller.person_id is not None
    return work.insert(
        Proposal,
        id=ProposalId(work.position),
        kind=kind,
        subject=subject,
        reason=reason,
        effective_on=effective_on,
        proposed_on=work.today,
        proposed_by=work.caller.person_id,
        proposing_member_id=member_id,
        state=ProposalState.OPEN,
        approved_by=None,
        approved_at=None,
    )


def is_fresh(work: UnitOfWork, proposal: Proposal, subject_changed_at: int) -> bool:
    """Tell whether a proposal can be approved still: open, young, and the last thing that happened to its subject."""
    age_days = (work.today - proposal.proposed_on).days
    return proposal.state is ProposalState.OPEN and age_days <= FRESH_DAYS and subject_changed_at == proposal.id


def refuse_second(work: UnitOfWork, proposal_id: ProposalId | None, subject_changed_at: int) -> None:
    """Refuse to propose what is proposed already; a stale proposal is no hindrance."""
    if proposal_id is not None and is_fresh(work, work.get(Proposal, proposal_id), subject_changed_at):
        raise ProposedAlready("It has been proposed already and waits for approval.")


def approve(work: UnitOfWork, proposal_id: ProposalId | None, subject_changed_at: int) -> Proposal:
    """Approve as the present caller. Raises NothingProposed, OwnProposal, ProposalStale."""
    proposal = work.get(Proposal, proposal_id) if proposal_id is not None else None
    if proposal is None or proposal.state is ProposalState.APPROVED:
        raise NothingProposed("Nothing is proposed here.")
    if proposal.proposed_by == work.caller.person_id:
        raise OwnProposal("The same person proposed it.")
    if not is_fresh(work, proposal, subject_changed_at):
        raise ProposalStale("It was proposed more than 7 days ago, or something has happened in between.")
    work.change(proposal, state=ProposalState.APPROVED, approved_by=work.caller.person_id, approved_at=work.position)
    return proposal
