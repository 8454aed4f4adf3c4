"""What can be asked of members."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import case, column, func, union, values
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from exchange.access.tables import Person
from exchange.columns import TEXT_TYPE
from exchange.identifiers import MemberId, PersonId
from exchange.journal.queries import AS_OF, KNOWN_AT, Moment, holding
from exchange.members.names import LOOK, TERM_LENGTH, folded, looks
from exchange.members.states import ADMITTED, MemberState
from exchange.members.tables import Member, MemberFact, MemberHistory, MemberTerm, PersonalDatum, PersonalFact
from exchange.problems import unseen

LAST_CHARACTER: Final = "\U0010ffff"
"""Sorts after all that a text can hold."""
ALIKE_SHOWN: Final = 20
"""So many members of like names are shown at most."""


ACTIVE_NOW: Final = sa_select(func.count()).where(col(Member.state) == MemberState.ACTIVE).scalar_subquery()
"""How many members are active."""
_states: Final = holding(
    col(MemberHistory.member_id), col(MemberHistory.value), col(MemberHistory.fact) == MemberFact.STATE
)
ACTIVE_THEN: Final = sa_select(func.count()).where(_states.c.value == MemberState.ACTIVE).scalar_subquery()
"""How many were, AS_OF a day, as KNOWN_AT a position."""

_companies: Final = sa_select(func.count(func.distinct(col(Member.uscc))))
EVER_ADMITTED_NOW: Final = _companies.where(col(Member.state).in_(ADMITTED)).scalar_subquery()
"""How many companies, by code, were ever admitted."""
EVER_ADMITTED_THEN: Final = (
    _companies.join(MemberHistory, col(MemberHistory.member_id) == Member.id)
    .where(
        col(MemberHistory.fact) == MemberFact.STATE,
        col(MemberHistory.value) == MemberState.ACTIVE,
        col(MemberHistory.effective_on) <= AS_OF,
        col(MemberHistory.position) <= KNOWN_AT,
    )
    .scalar_subquery()
)
"""How many had been, AS_OF a day, as KNOWN_AT a position."""


def active_counts(session: Session, moment: Moment, days: Sequence[date]) -> dict[date, int]:
    """Count the members active on each of some days, as known at a moment."""
    # A line holds from its day until the first day of a line that was recorded after it.
    until = func.min(col(MemberHistory.effective_on)).over(
        partition_by=col(MemberHistory.member_id),
        order_by=(col(MemberHistory.position), col(MemberHistory.number)),
        rows=(1, None),
    )
    lines = (
        sa_select(col(MemberHistory.value), col(MemberHistory.effective_on), until.label("until"))
        .where(col(MemberHistory.fact) == MemberFact.STATE, col(MemberHistory.position) <= moment.position)
        .subquery()
    )
    spans = (
        sa_select(lines.c.effective_on, lines.c.until, func.count())
        .where(lines.c.value == MemberState.ACTIVE)
        .group_by(lines.c.effective_on, lines.c.until)
    )
    found = session.execute(spans).all()
    return {
        day: sum(members for since, until, members in found if since <= day and (until is None or until > day))
        for day in days
    }


def find_member(session: Session, member_id: MemberId, company: str | None) -> Member:
    """Give a member to who may see it: its own company, staff (`company` None), and other members while it is active.

    Raises NotFound.
    """
    member = session.get(Member, member_id)
    if member is None or (company is not None and company != member.uscc and member.state is not MemberState.ACTIVE):
        raise unseen()
    return member


def look_alikes(session: Session, member: Member) -> Sequence[MemberId]:
    """List members of other companies whose names, now or once, look like this one's, now or once: the oldest first, 20 at most."""
    term, number = col(MemberTerm.term), col(MemberTerm.member_id)
    kept = select(term).where(number == member.id, term >= LOOK, term <= LOOK + LAST_CHARACTER)
    # One by one, so that each reads no more than is shown, however many go by the same name.
    alike = {
        one
        for look in session.exec(kept).all()
        for one in session.exec(select(number).where(term == look).order_by(number).limit(ALIKE_SHOWN))
    }
    others = select(col(Member.id)).where(col(Member.id).in_(alike), Member.uscc != member.uscc)
    return session.exec(others.order_by(col(Member.id)).limit(ALIKE_SHOWN)).all()


def show_member(
    session: Session, member_id: MemberId, company: str | None, *, reviews: bool
) -> tuple[Member, Sequence[MemberId] | None]:
    """Give a member, and to who reviews it which others it looks like. Raises NotFound."""
    member = find_member(session, member_id, company)
    return member, look_alikes(session, member) if reviews else None


def first_look_alikes(session: Session, members: Sequence[Member]) -> dict[MemberId, list[MemberId]]:
    """Give for each of these members the oldest of another company that each of its present names looks like: by one query."""
    looks_of = {member.id: looks(member.legal_name, member.short_name) for member in members}
    pairs = sorted({(look, member.uscc) for member in members for look in looks_of[member.id]})
    if not pairs:
        return {}
    asked = values(column("look", TEXT_TYPE), column("uscc", TEXT_TYPE), name="asked").data(pairs).cte()
    term, number = col(MemberTerm.term), col(MemberTerm.member_id)
    # Each walks along the index no further than to the first, however many go by the same name: a range of one look, since
    # an equal look leaves the order to the numbers alone, and PostgreSQL might walk through all of these instead.
    first = (
        sa_select(number)
        .join(Member, col(Member.id) == number)
        .where(term >= asked.c.look, term <= asked.c.look, col(Member.uscc) != asked.c.uscc)
        .order_by(term, number)
        .limit(1)
        .scalar_subquery()
    )
    found = {(look, uscc): one for look, uscc, one in session.execute(sa_select(asked.c.look, asked.c.uscc, first))}
    return {
        member.id: sorted({one for look in looks_of[member.id] if (one := found[look, member.uscc]) is not None})
        for member in members
    }


@dataclass(frozen=True, slots=True)
class MemberFilter:
    """Which members: all that is given must hold."""

    state: MemberState | None = None
    uscc: str | None = None
    name: str | None = None
    """Any part of a name, or of the initials of its pinyin."""


def list_members(
    session: Session, company: str | None, after: int | None, limit: int, which: MemberFilter
) -> Sequence[Member]:
    """List members in order of application; to a company the active ones and its own."""
    query = select(Member).order_by(col(Member.id)).limit(limit)
    if company is not None:
        # A CASE, and no OR, which SQLite would answer by two indexes and a sort of all that they lead to.
        query = query.where(case((col(Member.state) == MemberState.ACTIVE, True), else_=col(Member.uscc) == company))
    if which.state is not None:
        query = query.where(Member.state == which.state)
    if which.uscc is not None:
        query = query.where(Member.uscc == which.uscc)
    if which.name is not None:
        query = query.where(col(Member.id).in_(_named(which.name)))
    if after is not None:
        query = query.where(col(Member.id) > after)
    return session.exec(query).all()


def show_members(
    session: Session, company: str | None, after: int | None, limit: int, which: MemberFilter, *, reviews: bool
) -> tuple[Sequence[Member], dict[MemberId, list[MemberId]] | None]:
    """List members as `list_members` does, and to who reviews them which others each looks like first."""
    members = list_members(session, company, after, limit, which)
    return members, first_look_alikes(session, members) if reviews else None


def _named(part: str) -> SelectOfScalar[MemberId]:
    """Select the members of whose names, or initials, this is a part: a range of terms."""
    begins = folded(part)[:TERM_LENGTH]
    return select(col(MemberTerm.member_id)).where(
        col(MemberTerm.term) >= begins, col(MemberTerm.term) <= begins + LAST_CHARACTER
    )


def memberships(session: Session, company: str) -> Sequence[MemberId]:
    """List the memberships of a company, the oldest first: seldom more than one."""
    return session.exec(select(col(Member.id)).where(Member.uscc == company).order_by(col(Member.id))).all()


def first_ids(session: Session, walks: Sequence[SelectOfScalar[Any]], limit: int) -> list[int]:
    """Give the first ids to which these queries lead: one for each membership and side, together what is a company's own.

    Each is a walk along an index that ends where the page does. Asked for all at once, a database would sort all that a company has,
    or read all that there is.
    """
    if not walks:
        return []
    pages = (sa_select(walk.order_by(*walk.selected_columns).limit(limit).subquery().c[0]) for walk in walks)
    return sorted(session.scalars(union(*pages)))[:limit]


def count_by_state(session: Session) -> dict[MemberState, int]:
    """Count the memberships in each state."""
    query: Any = select(Member.state, func.count()).group_by(col(Member.state))
    return dict(session.exec(query).all())


def list_admitted(session: Session, after: int, limit: int) -> Sequence[Member]:
    """List the memberships that were ever active, in order of application."""
    query = select(Member).where(col(Member.state).in_(ADMITTED), col(Member.id) > after)
    return session.exec(query.order_by(col(Member.id)).limit(limit)).all()


def admitted_of(session: Session, companies: Iterable[str]) -> Sequence[tuple[MemberId, str]]:
    """List the ever active memberships of these companies, each with its company, in order of application."""
    query: Any = select(Member.id, Member.uscc).where(
        col(Member.uscc).in_(set(companies)), col(Member.state).in_(ADMITTED)
    )
    return [(member_id, uscc) for member_id, uscc in session.exec(query.order_by(col(Member.id)))]


def histories_of(session: Session, member_ids: Iterable[MemberId]) -> Sequence[MemberHistory]:
    """List the histories of these members, line by line."""
    query = select(MemberHistory).where(col(MemberHistory.member_id).in_(set(member_ids)))
    return session.exec(query.order_by(col(MemberHistory.position), col(MemberHistory.number))).all()


def personal_of(session: Session, member_ids: Iterable[MemberId]) -> dict[tuple[MemberId, PersonalFact], str | None]:
    """Give the personal values of these members as last told; None where they are erased."""
    query = select(PersonalDatum).where(col(PersonalDatum.member_id).in_(set(member_ids)))
    found = session.exec(query.order_by(col(PersonalDatum.position))).all()
    return {(one.member_id, one.fact): one.value for one in found}


def personal_data_of(session: Session, member_id: MemberId) -> dict[str, str | None]:
    """Give a member's personal values as last told, by what they are."""
    return {str(fact): value for (_, fact), value in personal_of(session, [member_id]).items()}


def person_data(session: Session, person_id: PersonId) -> dict[str, str | None]:
    """Give for whom a person that there is acts, and the name."""
    person = session.get_one(Person, person_id)
    return {"organisation": person.organisation, "name": person.name}
