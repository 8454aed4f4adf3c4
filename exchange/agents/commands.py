"""What can be done with mandates: they are given and ended."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from exchange.access.tables import Role
from exchange.agents import rules
from exchange.agents.rules import AgentWrong, MandateEnded
from exchange.agents.tables import Mandate, MandateState, MandateStep
from exchange.identifiers import MandateId, MemberId, Prefix, written_id
from exchange.journal.commands import Command, Result
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.members.commands import check_reason
from exchange.members.standing import active_standing, known, own_company_needed, own_member_id, party_needed
from exchange.members.tables import Member, MemberRole
from exchange.problems import Fault, NotFound, unseen


def answer(mandate: Mandate) -> Result:
    """Give what the commands on a mandate answer."""
    return {"id": written_id(Prefix.MANDATE, mandate.id), "state": mandate.state}


@dataclass(frozen=True, slots=True)
class GrantMandate(Command):
    """Let a service organisation take named steps for the member that says so, up to and including a day."""

    allowed: ClassVar = frozenset({Role.MEMBER})

    agent_id: MemberId
    steps: tuple[MandateStep, ...]
    ends_on: date

    def __post_init__(self) -> None:
        """Check the steps. Raises MandateWrong."""
        rules.check_steps(self.steps)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for both sides."""
        yield [*own_company_needed(work), *party_needed(self.agent_id)]
        if member_id := own_member_id(work):
            yield party_needed(member_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Give it. Raises NotFound, AgentWrong, NotActive, MandateWrong."""
        own_id = own_member_id(work)
        if own_id is None:
            raise NotFound("Your company has not applied for membership yet.")
        principal, agent = work.get(Member, own_id), work.find(Member, self.agent_id)
        if agent is None or not known(work, agent, work.today):
            raise AgentWrong(
                "There is no such active member.", Fault("/agent_id", "must be the id of an active member")
            )
        if agent.uscc == principal.uscc:
            raise AgentWrong("A company needs no mandate of its own.", Fault("/agent_id", "must be another company"))
        if MemberRole.SERVICE_ORG not in agent.roles:
            raise AgentWrong("It is no service organisation.", Fault("/agent_id", "must have the role service_org"))
        active_standing(work, principal, work.today, "principal")
        active_standing(work, agent, work.today, "agent")
        rules.check_end(work.today, self.ends_on)
        mandate = work.insert(
            Mandate,
            id=MandateId(work.position),
            principal_id=principal.id,
            principal_uscc=principal.uscc,
            agent_id=agent.id,
            agent_uscc=agent.uscc,
            steps=tuple(step for step in MandateStep if step in self.steps),
            granted_on=work.today,
            ends_on=self.ends_on,
            state=MandateState.ACTIVE,
            changed_at=work.position,
        )
        work.tell("mandate.granted", principal.id, agent.id, acting=principal.id)
        return answer(mandate)


@dataclass(frozen=True, slots=True)
class EndMandate(Command):
    """End a mandate at once: the principal revokes it, or the agent lays it down."""

    allowed: ClassVar = frozenset({Role.MEMBER})

    mandate_id: MandateId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the mandate and both sides."""
        yield [Need(Mandate, self.mandate_id)]
        if mandate := self._own(work):
            yield [*party_needed(mandate.principal_id), *party_needed(mandate.agent_id)]

    def _own(self, work: UnitOfWork) -> Mandate | None:
        """Give the mandate to one of its sides; null to others, as where there is none."""
        mandate = work.find(Mandate, self.mandate_id)
        return mandate if mandate is not None and work.caller.uscc in _sides(mandate) else None

    def decide(self, work: UnitOfWork) -> Result:
        """End it. Raises NotFound, MandateEnded."""
        mandate = self._own(work)
        if mandate is None:
            raise unseen()
        sides = _sides(mandate)
        if mandate.state is MandateState.ENDED:
            raise MandateEnded("It was ended before.")
        work.change(mandate, state=MandateState.ENDED, changed_at=work.position)
        work.tell("mandate.ended", *sides.values(), acting=sides[work.caller.uscc], reason=self.reason)
        return answer(mandate)


def _sides(mandate: Mandate) -> dict[str | None, MemberId]:
    return {mandate.principal_uscc: mandate.principal_id, mandate.agent_uscc: mandate.agent_id}
