"""A member's person who acts for another member."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from exchange.access.callers import KeyHolder
from exchange.agents.rules import (
    AgentInvolved,
    AgentOfBoth,
    MandateRests,
    NoMandate,
    StepNotMandated,
    held_since,
    in_force,
)
from exchange.agents.steps import STEP_OF
from exchange.agents.tables import Mandate
from exchange.identifiers import MemberId, TradeId
from exchange.journal.commands import Command
from exchange.journal.events import NewEvent
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.members.standing import group
from exchange.members.states import MemberState
from exchange.members.tables import Member
from exchange.trades.tables import Trade

BY_PAIR = ("principal_uscc", "agent_uscc")


@dataclass(frozen=True, slots=True)
class Agent(KeyHolder):
    """The person behind an agent's key; `uscc` is the company acted for. Under the head's lock the mandate is looked at."""

    agent_uscc: str = ""

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the key, what mandates there are between the two, and how both stand."""
        own = KeyHolder.needs(self, work)
        yield [*next(own), Need(Mandate, (self.uscc, self.agent_uscc), BY_PAIR)]
        sides = {side for mandate in self._held(work) for side in (mandate.principal_id, mandate.agent_id)}
        yield [Need(Member, side) for side in sorted(sides)]

    def admit(self, work: UnitOfWork, command: Command) -> None:
        """Refuse what no mandate in force covers. Raises Unauthenticated, Forbidden, NoMandate, StepNotMandated, MandateRests."""
        KeyHolder.admit(self, work, command)
        mandate = self._covering(work, command)
        sides = (mandate.principal_id, mandate.agent_id)
        if any(work.get(Member, side).state is not MemberState.ACTIVE for side in sides):
            raise MandateRests("One of the two is not an active member.")

    def dealing_needs(self, work: UnitOfWork, members: Iterable[MemberId]) -> list[Need]:
        """Ask for what mandates the other party of a deal has given to the agent."""
        found = (work.find(Member, member) for member in members)
        # Whom there is not takes the same statement as whom the caller may not see: nobody has no code.
        others = {"" if member is None else member.uscc for member in found} - {self.uscc}
        return [Need(Mandate, (other, self.agent_uscc), BY_PAIR) for other in sorted(others)]

    def told(self, work: UnitOfWork, command: Command, event: NewEvent) -> NewEvent:
        """Write into the event who acts, for whom, and by which mandate. Raises AgentInvolved, AgentOfBoth."""
        mandate = self._covering(work, command)
        own_group = group(work.get(Member, mandate.agent_id))
        others = [other for party in event.parties if (other := work.get(Member, party)).uscc != self.uscc]
        if any({other.uscc, group(other)} & {self.agent_uscc, own_group} for other in others):
            raise AgentInvolved("The agent, or a company of its group, is the other party.")
        if any(self._served(work, command, other) for other in others):
            raise AgentOfBoth("The other party has authorised it at some time since the trade was proposed.")
        by_mandate = {"acting_for": mandate.principal_id, "mandate": mandate.id}
        return replace(event, acting=mandate.agent_id, facts=event.facts | by_mandate)

    def _held(self, work: UnitOfWork) -> list[Mandate]:
        found = work.all(Mandate, (self.uscc, self.agent_uscc), BY_PAIR)
        return [mandate for mandate in found if in_force(mandate, work.today)]

    def _served(self, work: UnitOfWork, command: Command, other: Member) -> bool:
        """Tell whether another party has authorised the agent at any time since the trade that a command is about was opened."""
        opened: TradeId | None = getattr(command, "trade_id", None)
        position, day = opened or work.position, work.get(Trade, opened).proposed_on if opened else work.today
        given = work.all(Mandate, (other.uscc, self.agent_uscc), BY_PAIR)
        return any(held_since(mandate, position, day) for mandate in given)

    def _covering(self, work: UnitOfWork, command: Command) -> Mandate:
        """Give the first mandate in force that covers a command. Raises NoMandate, StepNotMandated."""
        held = self._held(work)
        if not held:
            raise NoMandate("There is none, or it has ended.")
        step = STEP_OF.get(type(command))
        covering = next((mandate for mandate in held if step in mandate.steps), None)
        if covering is None:
            raise StepNotMandated(
                "Nobody does this for another." if step is None else f"It would need the step {step}."
            )
        return covering


def agent_for(caller: KeyHolder, principal_uscc: str) -> Agent:
    """Let a member's person act for another company. Idempotency keys stay those of its own."""
    assert caller.uscc is not None
    return Agent(
        holder=caller.holder,
        role=caller.role,
        uscc=principal_uscc,
        person_id=caller.person_id,
        key_id=caller.key_id,
        scopes=caller.scopes,
        expires_on=caller.expires_on,
        agent_uscc=caller.uscc,
    )
