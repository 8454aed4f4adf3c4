"""What must be true of members."""

from collections import defaultdict
from typing import Final

from sqlmodel import Session, col, select

from exchange.journal.invariants import SHOWN, Invariant, none_of, opens
from exchange.members.names import TERM_LENGTH, folded
from exchange.members.tables import Member, MemberTerm, PersonalDatum

_LAST_STATE = (
    "SELECT member_id, value, effective_on, row_number() OVER (PARTITION BY member_id ORDER BY position DESC, number DESC) AS place "
    "FROM member_history WHERE fact = 'state'"
)


def _personal_data_open(session: Session) -> tuple[int, list[str]]:
    checked, offending = 0, []
    for datum in session.exec(select(PersonalDatum).where(col(PersonalDatum.value).is_not(None))):
        checked += 1
        if datum.value is not None and datum.salt is not None and not opens(datum.commitment, datum.salt, datum.value):
            offending.append(f"{datum.fact} of member {datum.member_id} is not what was committed to")
    return checked, offending[:SHOWN]


def _members_are_found(session: Session) -> tuple[int, list[str]]:
    known: defaultdict[int, set[str]] = defaultdict(set)
    for term, member_id in session.exec(select(MemberTerm.term, MemberTerm.member_id)):
        known[member_id].add(term)
    named = session.exec(select(Member.id, Member.legal_name, Member.short_name).order_by(col(Member.id))).all()
    # Pinyin is its library's to say: what a member is surely found by is what it is called.
    lost = [number for number, *called in named if not {folded(name)[:TERM_LENGTH] for name in called} <= known[number]]
    return len(named), [f"member {number} is not found by its names" for number in lost[:SHOWN]]


INVARIANTS: Final = [
    Invariant(
        "M1",
        "A member is in the state that its history ends with.",
        none_of(
            "SELECT count(*) FROM member",
            f"SELECT m.id AS member, m.state, h.value FROM member m LEFT JOIN ({_LAST_STATE}) h ON h.member_id = m.id AND h.place = 1 "
            "WHERE h.value IS NULL OR h.value <> m.state OR h.effective_on > m.changed_on",
        ),
    ),
    Invariant(
        "M2",
        "A history only grows: no change is dated before the one recorded before it.",
        none_of(
            "SELECT count(*) FROM member_history",
            "SELECT member_id AS member, position FROM (SELECT member_id, position, effective_on, lag(effective_on) OVER "
            "(PARTITION BY member_id ORDER BY position, number) AS before FROM member_history) h WHERE effective_on < before",
        ),
    ),
    Invariant(
        "M3",
        "A company has at most one live membership, its latest.",
        none_of(
            "SELECT count(*) FROM company",
            "SELECT m.uscc, count(*) AS live FROM member m WHERE m.state NOT IN ('rejected', 'withdrawn', 'expelled') "
            "GROUP BY m.uscc HAVING count(*) > 1",
            "SELECT c.uscc, c.member_id AS member FROM company c LEFT JOIN member m ON m.id = c.member_id WHERE m.id IS NULL "
            "OR m.uscc <> c.uscc OR c.live <> (m.state NOT IN ('rejected', 'withdrawn', 'expelled'))",
        ),
    ),
    Invariant(
        "M4",
        "The number of a member's open trades is the number of its trades proposed, confirmed or filed.",
        none_of(
            "SELECT count(*) FROM member",
            "SELECT m.id AS member, m.open_trades FROM member m LEFT JOIN (SELECT id, count(*) AS trades FROM ("
            "SELECT buyer_id AS id FROM trade WHERE state IN ('proposed', 'confirmed', 'filed') UNION ALL "
            "SELECT seller_id AS id FROM trade WHERE state IN ('proposed', 'confirmed', 'filed')) o GROUP BY id) t ON t.id = m.id "
            "WHERE m.open_trades <> coalesce(t.trades, 0)",
        ),
    ),
    Invariant("M5", "Personal data is what the events commit to.", _personal_data_open),
    Invariant("M6", "Every member is found by its names.", _members_are_found),
]
