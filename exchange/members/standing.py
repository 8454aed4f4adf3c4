"""How members stand, for the commands of this and of higher floors."""

from collections.abc import Iterable
from datetime import date
from typing import Final

from exchange.clock import FIRST_BUSINESS_DAY
from exchange.identifiers import MemberId
from exchange.journal.tables import PartyCounter
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.members.rules import Standing, standing_on
from exchange.members.states import MemberState
from exchange.members.tables import Company, Member, MemberFact, MemberHistory
from exchange.problems import Conflict, Fault, Invalid, unseen

BY_MEMBER: Final = ("member_id",)
BY_USCC: Final = ("uscc",)


class DateWrong(Invalid):
    """The business date cannot be."""

    remedy = "Leave it out for today, or give the day on which it happened."


class NotActive(Conflict):
    """The company is not an active member on that day."""

    remedy = "Choose a day on which it is, or have the membership reinstated."


def party_needed(member_id: MemberId) -> list[Need]:
    """Ask for a member who will be a party to an event."""
    return [Need(Member, member_id), Need(PartyCounter, member_id)]


def own_company_needed(work: UnitOfWork) -> list[Need]:
    """Ask for the company that acts, where one does."""
    return [Need(Company, work.caller.uscc)] if work.caller.uscc is not None else []


def own_member_id(work: UnitOfWork) -> MemberId | None:
    """Give the membership of the company that acts; null where staff acts, or where it has none."""
    company = work.find(Company, work.caller.uscc) if work.caller.uscc is not None else None
    return company.member_id if company else None


def _is_present(work: UnitOfWork, member_ids: tuple[MemberId, ...]) -> bool:
    return work.caller.uscc is None or own_member_id(work) in member_ids


def earlier_needed(work: UnitOfWork, *member_ids: MemberId) -> Needs:
    """Ask for all memberships of the company that acts, where its present one is none of these members, whose object it names.

    So it is where nobody's object is named (no members), too: nobody can tell from the work which it was. Needs `own_company_needed`.
    """
    if not _is_present(work, member_ids):
        yield [Need(Member, work.caller.uscc, BY_USCC)]


def acts_for(work: UnitOfWork, *member_ids: MemberId) -> bool:
    """Tell whether the caller acts for one of these members: staff for all, a company for its membership and those before it.

    Needs `earlier_needed`. What a command needs beyond, it asks for only where this holds.
    """
    if _is_present(work, member_ids):
        return True
    return any(member.id in member_ids for member in work.all(Member, work.caller.uscc, BY_USCC))


def history_needed(work: UnitOfWork, member_ids: Iterable[MemberId], day: date) -> list[Need]:
    """Ask for the histories of those members whose rows do not tell how they stood on that day."""
    members = (work.find(Member, member_id) for member_id in member_ids)
    return [Need(MemberHistory, member.id, BY_MEMBER) for member in members if member and day < member.changed_on]


def named_history_needed(work: UnitOfWork, member_id: MemberId) -> list[Need]:
    """Ask for the history of a member that a company names and may not know, also where there is none: nobody can tell which it was."""
    member = work.find(Member, member_id)
    plain = work.caller.uscc is None or (member is not None and member.state is MemberState.ACTIVE)
    return [] if plain else [Need(MemberHistory, member_id, BY_MEMBER)]


def group(member: Member) -> str:
    """Give the code of a member's present group: its parent's, or its own."""
    return member.group_parent_uscc or member.uscc


def standing(work: UnitOfWork, member: Member, day: date) -> Standing:
    """Say how a member stood on a day; needs `history_needed`."""
    if day >= member.changed_on:
        return Standing(member.state, member.region_code, group(member))
    return standing_on(day, member.uscc, work.all(MemberHistory, member.id, BY_MEMBER))


def active_standing(work: UnitOfWork, member: Member, day: date, what: str) -> Standing:
    """Say how an active member stood on a day. Raises NotActive, naming it by `what`."""
    found = standing(work, member, day)
    if found.state is not MemberState.ACTIVE:
        raise NotActive(f"The {what} is not an active member on {day}.")
    return found


def known(work: UnitOfWork, member: Member, day: date) -> bool:
    """Tell whether the caller may know of a member: staff of all; a company of itself, and of who is active, or was on that day."""
    seen = work.caller.uscc in {None, member.uscc} or member.state is MemberState.ACTIVE
    return seen or standing(work, member, day).state is MemberState.ACTIVE


def visible(work: UnitOfWork, member_id: MemberId) -> Member | None:
    """Give a member to whom may act for it: its company, and staff; null to others, as where there is none."""
    member = work.find(Member, member_id)
    return member if member is not None and work.caller.uscc in {None, member.uscc} else None


def own(work: UnitOfWork, member_id: MemberId) -> Member:
    """Give a member to whom may act for it. Raises NotFound."""
    member = visible(work, member_id)
    if member is None:
        raise unseen()
    return member


def note(work: UnitOfWork, member: Member, day: date, *facts: tuple[MemberFact, str], first: int = 1) -> None:
    """Write changes of a member into its history; `first` numbers on where an earlier note of the same command stopped."""
    for number, (fact, value) in enumerate(facts, first):
        work.insert(
            MemberHistory,
            position=work.position,
            number=number,
            member_id=member.id,
            fact=fact,
            value=value,
            effective_on=day,
        )


def business_day_of_change(work: UnitOfWork, given: date | None, not_before: date) -> date:
    """Give the business date of a change: today, or an earlier one that staff gives. Raises DateWrong.

    A history only grows: no change is dated before the last one.
    """
    if given is None:
        return work.today
    if work.caller.uscc is not None and given != work.today:
        raise DateWrong("Only the exchange dates a change in the past.", Fault("/effective_on", "must be left out"))
    check_past(work, given)
    if given < not_before:
        raise DateWrong(
            f"The last change took effect on {not_before}.", Fault("/effective_on", f"must be {not_before} or later")
        )
    return given


def check_past(work: UnitOfWork, day: date, name: str = "effective_on") -> None:
    """Refuse a business date that lies ahead, or before all exchanges. Raises DateWrong."""
    if not FIRST_BUSINESS_DAY <= day <= work.today:
        rule = f"must lie between {FIRST_BUSINESS_DAY} and {work.today}"
        raise DateWrong("The date lies in the future, or before the exchange began.", Fault(f"/{name}", rule))
