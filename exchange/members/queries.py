"""What can be asked of members."""

from datetime import date

from sqlalchemy import func
from sqlmodel import Session, col, select

from exchange.journal.queries import Moment
from exchange.members.states import MemberState
from exchange.members.tables import Member, MemberFact, MemberHistory


def active_count(session: Session, moment: Moment, as_of: date) -> int:
    """Count the members active on a day, as known at a moment."""
    lines = (
        select(
            MemberHistory.value,
            func.row_number()
            .over(
                partition_by=col(MemberHistory.member_id),
                order_by=(col(MemberHistory.position).desc(), col(MemberHistory.number).desc()),
            )
            .label("place"),
        )
        .where(
            MemberHistory.fact == MemberFact.STATE,
            col(MemberHistory.effective_on) <= as_of,
            col(MemberHistory.position) <= moment.position,
        )
        .subquery()
    )
    query = select(func.count()).select_from(lines).where(lines.c.place == 1, lines.c.value == MemberState.ACTIVE)
    return session.exec(query).one()


def ever_admitted_count(session: Session, moment: Moment, as_of: date) -> int:
    """Count the companies, by code, that were admitted by a day, as known at a moment."""
    query = (
        select(func.count(func.distinct(Member.uscc)))
        .join(MemberHistory, col(MemberHistory.member_id) == Member.id)
        .where(
            MemberHistory.fact == MemberFact.STATE,
            MemberHistory.value == MemberState.ACTIVE,
            col(MemberHistory.effective_on) <= as_of,
            col(MemberHistory.position) <= moment.position,
        )
    )
    return session.exec(query).one()
