"""What can be asked of mandates."""

from datetime import date

from sqlmodel import Session, col, select

from exchange.agents.rules import in_force
from exchange.agents.tables import Mandate, MandateStep
from exchange.identifiers import MandateId
from exchange.members.queries import first_ids
from exchange.members.states import MemberState
from exchange.members.tables import Member
from exchange.problems import unseen


def find_mandate(session: Session, mandate_id: MandateId) -> Mandate:
    """Give a mandate. Raises NotFound."""
    mandate = session.get(Mandate, mandate_id)
    if mandate is None:
        raise unseen()
    return mandate


def list_mandates(session: Session, company: str | None, after: int | None, limit: int) -> list[Mandate]:
    """List mandates, the oldest first; to a company those that it gave and those that it holds."""
    place = [] if after is None else [col(Mandate.id) > after]
    query = select(Mandate).where(*place)
    if company is not None:
        walks = [
            select(col(Mandate.id)).where(col(side) == company, *place)
            for side in (Mandate.principal_uscc, Mandate.agent_uscc)
        ]
        query = query.where(col(Mandate.id).in_(first_ids(session, walks, limit)))
    return list(session.exec(query.order_by(col(Mandate.id)).limit(limit)))


def steps_held(session: Session, principal_uscc: str, agent_uscc: str, day: date) -> frozenset[MandateStep]:
    """Give the steps that an agent may take for a company on a day: none where one of the two is not an active member."""
    pair = select(Mandate).where(Mandate.principal_uscc == principal_uscc, Mandate.agent_uscc == agent_uscc)
    held = [mandate for mandate in session.exec(pair) if in_force(mandate, day)]
    return frozenset(MandateStep(step) for mandate in held if _both_active(session, mandate) for step in mandate.steps)


def _both_active(session: Session, mandate: Mandate) -> bool:
    members = (session.get(Member, side) for side in (mandate.principal_id, mandate.agent_id))
    return all(member is not None and member.state is MemberState.ACTIVE for member in members)
