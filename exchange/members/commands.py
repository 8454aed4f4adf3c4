"""What can be done with memberships."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Final

from exchange.access.corrections import NothingChanges, correct
from exchange.access.proposals import approve, interest_needed, propose, refuse_interest, refuse_second
from exchange.access.tables import Proposal, ProposalKind, Role
from exchange.identifiers import MemberId, Prefix, ProposalId, written_id
from exchange.journal.commands import Command, Result
from exchange.journal.events import SALT_LENGTH, value_commitment
from exchange.journal.tables import PartyCounter
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.ledger.posting import open_accounts
from exchange.members import names, rules
from exchange.members.rules import CompanyFields, OldChange
from exchange.members.standing import (
    BY_MEMBER,
    DateWrong,
    business_day_of_change,
    check_past,
    note,
    own,
    own_company_needed,
    own_member_id,
    party_needed,
    visible,
)
from exchange.members.states import ENDED, MemberState, MemberStep
from exchange.members.tables import Company, Member, MemberFact, MemberTerm, PersonalDatum, PersonalFact
from exchange.problems import Conflict, Fault, Forbidden, Invalid
from exchange.texts import PARAGRAPH_LIMIT, text_faults

OPERATOR_ONLY: Final = frozenset({Role.OPERATOR})
OPERATOR_OR_MEMBER: Final = frozenset({Role.OPERATOR, Role.MEMBER})


COLUMNS: Final = {
    MemberFact.NAME: "legal_name",
    MemberFact.REGION: "region_code",
    MemberFact.GROUP: "group_parent_uscc",
}
"""Where the row says what the history last said."""


class AnotherCompany(Forbidden):
    """A company applies for itself only."""

    remedy = "Send the uscc for which the key was made."


class MemberAlready(Conflict):
    """The company has a live membership or application."""

    remedy = "Follow the one that there is."


class Barred(Conflict):
    """The company was expelled."""

    remedy = "Two operators can readmit it to apply."


class NotBarred(Conflict):
    """The company is not barred."""

    remedy = "Let the company apply anew: nothing stands against it."


class StillOpen(Conflict):
    """The member has open trades."""

    remedy = "Contract or cancel them first."


class ReasonWrong(Invalid):
    """The reason is not as it must be."""

    remedy = "Give a reason that another person will understand."


def check_reason(reason: str) -> None:
    """Check the reason of a decision. Raises ReasonWrong."""
    faults = text_faults([("reason", reason, PARAGRAPH_LIMIT)])
    if faults:
        raise ReasonWrong("A reason is needed.", *faults)


def answer(member: Member, **more: object) -> Result:
    """Give what the commands on a membership answer."""
    return {"id": written_id(Prefix.MEMBER, member.id), "state": member.state} | more


def _keep_personal(work: UnitOfWork, member_id: MemberId, fields: CompanyFields) -> None:
    personal = {
        PersonalFact.LEGAL_REPRESENTATIVE: fields.legal_representative,
        PersonalFact.CONTACT: fields.contact,
    }
    for fact, value in personal.items():
        salt = work.chance(SALT_LENGTH)
        work.insert(
            PersonalDatum,
            member_id=member_id,
            fact=fact,
            position=work.position,
            commitment=value_commitment(salt, value),
            value=value,
            salt=salt,
        )


def _names_needed(member_id: MemberId) -> Need:
    return Need(MemberTerm, member_id, BY_MEMBER)


def _name(work: UnitOfWork, member: Member, known: set[str], *called: str) -> None:
    """Let a member be found by what it is or was called; old names stand on what was issued under them."""
    for term in sorted(names.known_by(member.legal_name, member.short_name, *called) - known):
        work.insert(MemberTerm, term=term, member_id=member.id)


def _known(work: UnitOfWork, member: Member) -> set[str]:
    return {row.term for row in work.all(MemberTerm, member.id, BY_MEMBER)}


def _apply(work: UnitOfWork, uscc: str, fields: CompanyFields, applied_on: date) -> Member:
    """Open a membership for a company that has no live one. Raises Barred, MemberAlready."""
    company = work.find(Company, uscc)
    member_id = MemberId(work.position)
    if company is None:
        work.insert(
            Company,
            uscc=uscc,
            member_id=member_id,
            live=True,
            barred=False,
            readmission_id=None,
            changed_at=work.position,
        )
    elif company.barred:
        raise Barred("The company was expelled and has not been readmitted.")
    elif company.live:
        raise MemberAlready("The company has a live membership or application.")
    else:
        work.change(company, member_id=member_id, live=True, changed_at=work.position)
    member = work.insert(
        Member,
        id=member_id,
        uscc=uscc,
        state=MemberState.SUBMITTED,
        legal_name=fields.legal_name,
        short_name=fields.short_name,
        address=fields.address,
        region_code=fields.region_code,
        industry_code=fields.industry_code,
        roles=fields.roles,
        group_parent_uscc=fields.group_parent_uscc,
        evidence=fields.evidence,
        applied_on=applied_on,
        changed_on=applied_on,
        open_trades=0,
        expulsion_id=None,
        changed_at=work.position,
    )
    work.insert(PartyCounter, member_id=member_id, events=0)
    _name(work, member, set())
    _keep_personal(work, member_id, fields)
    note(
        work,
        member,
        applied_on,
        (MemberFact.STATE, member.state),
        (MemberFact.REGION, fields.region_code),
        (MemberFact.GROUP, fields.group_parent_uscc or ""),
        (MemberFact.NAME, fields.legal_name),
    )
    return member


def _move(work: UnitOfWork, member: Member, step: MemberStep, day: date, first: int = 1) -> None:
    """Take a membership one step on: state, history, accounts of the admitted, the company of the ended."""
    state = rules.next_state(member.state, step)
    work.change(member, state=state, changed_on=day, changed_at=work.position)
    note(work, member, day, (MemberFact.STATE, state), first=first)
    if step is MemberStep.ADMIT:
        open_accounts(work, member.id)
    if state in ENDED:
        company = work.get(Company, member.uscc)
        barred = state is MemberState.EXPELLED
        work.change(company, live=False, barred=barred, changed_at=work.position)


@dataclass(frozen=True, slots=True)
class ApplyForMembership(Command):
    """Apply: a company for itself, or an operator on its behalf."""

    allowed: ClassVar = OPERATOR_OR_MEMBER

    uscc: str
    fields: CompanyFields

    def __post_init__(self) -> None:
        """Check the fields. Raises MemberFieldsWrong."""
        rules.check_company(self.uscc, self.fields)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the company."""
        yield [Need(Company, self.uscc)]

    def decide(self, work: UnitOfWork) -> Result:
        """Open the application."""
        if work.caller.uscc not in {None, self.uscc}:
            raise AnotherCompany("The key was made for another company.", Fault("/uscc", "must be your own"))
        member = _apply(work, self.uscc, self.fields, work.today)
        work.tell("member.applied", member.id, acting=member.id if work.caller.uscc else None)
        return answer(member)


@dataclass(frozen=True, slots=True)
class RecordMember(Command):
    """Record an old membership (import): applied, admitted, changed and perhaps withdrawn on given days, as one event."""

    allowed: ClassVar = OPERATOR_ONLY

    uscc: str
    fields: CompanyFields
    applied_on: date
    admitted_on: date
    withdrawn_on: date | None = None
    changes: tuple[OldChange, ...] = ()
    """In their order, all after the admission."""

    def __post_init__(self) -> None:
        """Check fields and the order of the days. Raises MemberFieldsWrong."""
        rules.check_company(self.uscc, self.fields)
        if self.admitted_on < self.applied_on:
            rules.refuse([Fault("/admitted_on", "must not lie before applied_on")])
        rules.check_changes(self.admitted_on, self.changes, self.withdrawn_on)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the company and its membership before."""
        yield [Need(Company, self.uscc)]
        if company := work.find(Company, self.uscc):
            yield [Need(Member, company.member_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Take all its steps at once. Raises DateWrong, Barred, MemberAlready."""
        check_past(work, self.applied_on, "applied_on")
        if company := work.find(Company, self.uscc):
            ended_on = work.get(Member, company.member_id).changed_on
            if not company.live and self.applied_on < ended_on:
                rule = f"must be {ended_on} or later"
                raise DateWrong("The membership before ended later.", Fault("/applied_on", rule))
        check_past(work, *self._last_day)
        member = _apply(work, self.uscc, self.fields, self.applied_on)
        first = [(MemberStep.START_REVIEW, self.applied_on), (MemberStep.ADMIT, self.admitted_on)]
        for number, (step, day) in enumerate(first, 1 + len(MemberFact)):
            _move(work, member, step, day, first=number)
        steps, lines = [step for step, _ in first], 1 + len(MemberFact) + len(first)
        for number, change in enumerate(self.changes, lines):
            steps += self._change(work, member, change, number)
        called = [change.value for change in self.changes if change.fact is MemberFact.NAME]
        _name(work, member, names.known_by(self.fields.legal_name, self.fields.short_name), *called)
        if self.withdrawn_on is not None:
            steps.append(MemberStep.WITHDRAW)
            _move(work, member, MemberStep.WITHDRAW, self.withdrawn_on, first=lines + len(self.changes))
        work.tell("member.recorded", member.id, steps=steps)
        return answer(member)

    @property
    def _last_day(self) -> tuple[date, str]:
        if self.withdrawn_on is not None:
            return self.withdrawn_on, "withdrawn_on"
        return (self.changes[-1].effective_on, "changes") if self.changes else (self.admitted_on, "admitted_on")

    @staticmethod
    def _change(work: UnitOfWork, member: Member, change: OldChange, number: int) -> list[MemberStep]:
        """Make one change, which is the `number`th line of the history; give the steps that it took."""
        if change.fact is MemberFact.STATE:
            step = rules.STEP_TO[MemberState(change.value)]
            _move(work, member, step, change.effective_on, first=number)
            return [step]
        work.change(member, **{COLUMNS[change.fact]: change.value or None}, changed_on=change.effective_on)
        note(work, member, change.effective_on, (change.fact, change.value), first=number)
        return []


@dataclass(frozen=True, slots=True)
class _MemberStepCommand(Command):
    """One step of an existing membership, with a reason."""

    allowed: ClassVar = OPERATOR_ONLY
    step: ClassVar[MemberStep]
    kind: ClassVar[str]

    member_id: MemberId
    reason: str
    effective_on: date | None = None

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and its company."""
        yield [*party_needed(self.member_id), *own_company_needed(work)]
        if member := visible(work, self.member_id):
            yield [Need(Company, member.uscc)]

    def decide(self, work: UnitOfWork) -> Result:
        """Take the step."""
        member = own(work, self.member_id)
        work.met(member.changed_at)
        rules.next_state(member.state, self.step)
        day = business_day_of_change(work, self.effective_on, member.changed_on)
        self.check(member)
        _move(work, member, self.step, day)
        acting = own_member_id(work)
        work.tell(self.kind, member.id, acting=acting, reason=self.reason)
        return answer(member)

    def check(self, member: Member) -> None:
        """Check what else must hold of the member."""


class StartReview(_MemberStepCommand):
    """Take an application into review."""

    __slots__ = ()
    step = MemberStep.START_REVIEW
    kind = "member.review_started"


class RequestCorrection(_MemberStepCommand):
    """Send an application back, with the reason."""

    __slots__ = ()
    step = MemberStep.REQUEST_CORRECTION
    kind = "member.correction_requested"


class AdmitMember(_MemberStepCommand):
    """Admit a company: from its business date on it is an active member."""

    __slots__ = ()
    step = MemberStep.ADMIT
    kind = "member.admitted"


class RejectMember(_MemberStepCommand):
    """Reject an application."""

    __slots__ = ()
    step = MemberStep.REJECT
    kind = "member.rejected"


class SuspendMember(_MemberStepCommand):
    """Suspend a member: no new listings and trades; old ones go on."""

    __slots__ = ()
    step = MemberStep.SUSPEND
    kind = "member.suspended"


class ReinstateMember(_MemberStepCommand):
    """Let a suspended member trade again."""

    __slots__ = ()
    step = MemberStep.REINSTATE
    kind = "member.reinstated"


class WithdrawMember(_MemberStepCommand):
    """End a membership at the member's own wish, when nothing of it is open."""

    __slots__ = ()
    allowed = OPERATOR_OR_MEMBER
    step = MemberStep.WITHDRAW
    kind = "member.withdrawn"

    def check(self, member: Member) -> None:
        """Refuse with open trades. Raises StillOpen."""
        if member.open_trades:
            raise StillOpen(f"{member.open_trades} trades are open.")


@dataclass(frozen=True, slots=True)
class CorrectApplication(Command):
    """Answer a request for correction with the whole application anew."""

    allowed: ClassVar = OPERATOR_OR_MEMBER

    member_id: MemberId
    fields: CompanyFields

    def __post_init__(self) -> None:
        """Check the fields, all but the code, which stays. Raises MemberFieldsWrong."""
        rules.check_fields(self.fields)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and its names."""
        yield [*party_needed(self.member_id), *own_company_needed(work), _names_needed(self.member_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Replace the fields."""
        member = own(work, self.member_id)
        work.met(member.changed_at)
        day = business_day_of_change(work, None, member.changed_on)
        _move(work, member, MemberStep.CORRECT, day)
        fields = self.fields
        work.change(
            member,
            legal_name=fields.legal_name,
            short_name=fields.short_name,
            address=fields.address,
            region_code=fields.region_code,
            industry_code=fields.industry_code,
            roles=fields.roles,
            group_parent_uscc=fields.group_parent_uscc,
            evidence=fields.evidence,
        )
        _keep_personal(work, member.id, fields)
        _name(work, member, _known(work, member))
        note(
            work,
            member,
            day,
            (MemberFact.REGION, fields.region_code),
            (MemberFact.GROUP, fields.group_parent_uscc or ""),
            (MemberFact.NAME, fields.legal_name),
            first=2,
        )
        work.tell("member.corrected", member.id, acting=own_member_id(work))
        return answer(member)


@dataclass(frozen=True, slots=True)
class ChangeMember(Command):
    """Record that a member was renamed, moved, or joined another group; what was issued before keeps what it says."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str
    legal_name: str | None = None
    short_name: str | None = None
    region_code: str | None = None
    group_parent_uscc: str | None = None
    leaves_group: bool = False
    effective_on: date | None = None

    def __post_init__(self) -> None:
        """Check what is given. Raises MemberFieldsWrong, NothingChanges, ReasonWrong."""
        check_reason(self.reason)
        rules.refuse(
            [
                *rules.name_faults(self.legal_name, self.short_name),
                *rules.place_faults(self.region_code, self.group_parent_uscc),
            ]
        )
        given = (self.legal_name, self.short_name, self.region_code, self.group_parent_uscc)
        if not self.leaves_group and not any(given):
            raise NothingChanges("No new value is given.")
        if self.leaves_group and self.group_parent_uscc:
            raise NothingChanges("A member cannot leave its group and join one at once.")

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and its names."""
        yield [*party_needed(self.member_id), _names_needed(self.member_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Change the row and write the history."""
        member = work.get(Member, self.member_id)
        work.met(member.changed_at)
        if member.state in ENDED:
            raise rules.MemberStepWrong(f"A membership that is {member.state} does not change.")
        day = business_day_of_change(work, self.effective_on, member.changed_on)
        facts = []
        if self.legal_name is not None:
            work.change(member, legal_name=self.legal_name)
            facts.append((MemberFact.NAME, self.legal_name))
        if self.short_name is not None:
            work.change(member, short_name=self.short_name)
        if self.region_code is not None:
            work.change(member, region_code=self.region_code)
            facts.append((MemberFact.REGION, self.region_code))
        if self.group_parent_uscc is not None or self.leaves_group:
            work.change(member, group_parent_uscc=self.group_parent_uscc)
            facts.append((MemberFact.GROUP, self.group_parent_uscc or ""))
        work.change(member, changed_on=day, changed_at=work.position)
        _name(work, member, _known(work, member))
        note(work, member, day, *facts)
        work.tell("member.changed", member.id, reason=self.reason)
        return answer(member)


@dataclass(frozen=True, slots=True)
class CorrectMember(Command):
    """Mend a typo in what a member is recorded with. A new name, place or group is no typo: those are changes, and have their day."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    field: str
    after: str
    reason: str

    def __post_init__(self) -> None:
        """Check field, text and reason. Raises MemberFieldsWrong, ReasonWrong."""
        rules.check_correction(self.field, self.after)
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and its names."""
        yield [*party_needed(self.member_id), _names_needed(self.member_id)]

    def decide(self, work: UnitOfWork) -> Result:
        """Write the correction and change the field. Raises NothingChanges."""
        member = work.get(Member, self.member_id)
        work.met(member.changed_at)
        correct(work, member, written_id(Prefix.MEMBER, member.id), self.field, self.after, self.reason)
        _name(work, member, _known(work, member))
        work.tell("member.typo_corrected", member.id, reason=self.reason)
        return answer(member)


@dataclass(frozen=True, slots=True)
class ProposeExpulsion(Command):
    """Propose to expel a member; another person decides."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member and what is proposed already."""
        yield party_needed(self.member_id)
        yield _proposal_needed(_expulsion(work, self.member_id))
        yield from _interest_needed(work, self.member_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Propose."""
        member = work.get(Member, self.member_id)
        work.met(member.changed_at)
        rules.next_state(member.state, MemberStep.EXPEL)
        refuse_interest(work, member.uscc)
        refuse_second(work, member.expulsion_id, member.changed_at)
        proposal = propose(work, ProposalKind.EXPULSION, written_id(Prefix.MEMBER, member.id), self.reason)
        work.change(member, expulsion_id=proposal.id, changed_at=work.position)
        work.tell("member.expulsion_proposed", member.id)
        return answer(member, proposal=written_id(Prefix.PROPOSAL, proposal.id))


@dataclass(frozen=True, slots=True)
class ApproveExpulsion(Command):
    """Approve another person's proposal: the member is expelled and barred."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member, its company and the proposal."""
        yield party_needed(self.member_id)
        member = work.find(Member, self.member_id)
        yield [*_proposal_needed(_expulsion(work, self.member_id)), *([Need(Company, member.uscc)] if member else [])]
        yield from _interest_needed(work, self.member_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Expel."""
        member = work.get(Member, self.member_id)
        work.met(member.changed_at)
        refuse_interest(work, member.uscc)
        approve(work, member.expulsion_id, member.changed_at)
        day = business_day_of_change(work, None, member.changed_on)
        _move(work, member, MemberStep.EXPEL, day)
        work.tell("member.expelled", member.id, reason=self.reason)
        return answer(member)


@dataclass(frozen=True, slots=True)
class ProposeReadmission(Command):
    """Propose to let an expelled company apply again; another person decides."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member, its company and what is proposed already."""
        yield from _company_and_readmission(work, self.member_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Propose."""
        member, company = _barred_company(work, self.member_id)
        refuse_interest(work, company.uscc)
        refuse_second(work, company.readmission_id, company.changed_at)
        proposal = propose(work, ProposalKind.READMISSION, company.uscc, self.reason)
        work.change(company, readmission_id=proposal.id, changed_at=work.position)
        work.tell("member.readmission_proposed", member.id)
        return answer(member, proposal=written_id(Prefix.PROPOSAL, proposal.id))


@dataclass(frozen=True, slots=True)
class ApproveReadmission(Command):
    """Approve another person's proposal: the company may apply anew."""

    allowed: ClassVar = OPERATOR_ONLY

    member_id: MemberId
    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the member, its company and the proposal."""
        yield from _company_and_readmission(work, self.member_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Lift the bar."""
        member, company = _barred_company(work, self.member_id)
        refuse_interest(work, company.uscc)
        approve(work, company.readmission_id, company.changed_at)
        work.change(company, barred=False, changed_at=work.position)
        work.tell("member.readmitted", member.id, reason=self.reason)
        return answer(member, barred=company.barred)


@dataclass(frozen=True, slots=True)
class ReleasePersonalData(Command):
    """Say for what the personal data of all members is taken out; the log keeps it."""

    allowed: ClassVar = OPERATOR_ONLY

    reason: str

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for nothing."""
        yield []

    def decide(self, work: UnitOfWork) -> Result:
        """Tell it."""
        work.tell("personal_data.released", reason=self.reason)
        return {}


def _expulsion(work: UnitOfWork, member_id: MemberId) -> ProposalId | None:
    member = work.find(Member, member_id)
    return member.expulsion_id if member else None


def _proposal_needed(proposal_id: ProposalId | None) -> list[Need]:
    return [] if proposal_id is None else [Need(Proposal, proposal_id)]


def _interest_needed(work: UnitOfWork, member_id: MemberId) -> Needs:
    if member := work.find(Member, member_id):
        yield from interest_needed(work, [member.uscc])


def _company_and_readmission(work: UnitOfWork, member_id: MemberId) -> Needs:
    yield party_needed(member_id)
    if member := work.find(Member, member_id):
        yield [Need(Company, member.uscc)]
        company = work.find(Company, member.uscc)
        yield _proposal_needed(company.readmission_id if company else None)
        yield from interest_needed(work, [member.uscc])


def _barred_company(work: UnitOfWork, member_id: MemberId) -> tuple[Member, Company]:
    member = work.get(Member, member_id)
    work.met(member.changed_at)
    company = work.get(Company, member.uscc)
    if not company.barred or company.member_id != member.id:
        raise NotBarred("Nothing needs to be lifted.")
    return member, company
