"""What must be true of those who act."""

from typing import Final

from sqlmodel import Session, col, select

from exchange.access.tables import Person
from exchange.journal.invariants import SHOWN, Invariant, none_of, opens


def _names_open(session: Session) -> tuple[int, list[str]]:
    people = session.exec(select(Person).where(col(Person.name).is_not(None)).order_by(col(Person.id))).all()
    offending = [
        f"person {person.id} has another name than the one committed to"
        for person in people
        if person.name is not None
        and person.salt is not None
        and not opens(person.name_commitment, person.salt, person.name)
    ]
    return len(people), offending[:SHOWN]


INVARIANTS: Final = [
    Invariant(
        "A1",
        "What needs two was approved by another person than the one who proposed it.",
        none_of(
            "SELECT count(*) FROM proposal",
            "SELECT id AS proposal FROM proposal WHERE state = 'approved' "
            "AND (approved_by IS NULL OR approved_at IS NULL OR approved_by = proposed_by)",
            "SELECT id AS proposal FROM proposal WHERE state = 'open' AND (approved_by IS NOT NULL OR approved_at IS NOT NULL)",
        ),
    ),
    Invariant("A2", "The names of persons are those that the events commit to.", _names_open),
]
