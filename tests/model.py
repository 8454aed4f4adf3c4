"""An exchange of plain dictionaries and integers, written from the domain alone: what is accepted, what follows, and what every figure is.

It shares nothing with the service but the commands that it is given. It is slow and says everything the long way: a figure is a sum over
all movements there ever were, and how a member stood on a day is read off its whole history, each time.
"""

import re
from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

from exchange.journal.callers import Caller
from exchange.journal.commands import Command

Thing = dict[str, Any]

FIRST_DAY = date(2014, 12, 31)
TRADE_LIMIT = 10**14
OPERATOR, MEMBER, SYSTEM = "operator", "member", "system"

LIVE = {"submitted", "under_review", "correction_requested", "active", "suspended"}
MEMBER_STEPS = {
    "StartReview": ({"submitted"}, "under_review"),
    "RequestCorrection": ({"under_review"}, "correction_requested"),
    "CorrectApplication": ({"correction_requested"}, "under_review"),
    "AdmitMember": ({"under_review"}, "active"),
    "RejectMember": ({"under_review"}, "rejected"),
    "SuspendMember": ({"active"}, "suspended"),
    "ReinstateMember": ({"suspended"}, "active"),
    "WithdrawMember": ({"active", "suspended"}, "withdrawn"),
    "ApproveExpulsion": ({"active", "suspended"}, "expelled"),
}
LISTING_STEPS = {
    "SubmitListing": ({"draft"}, "in_review"),
    "ApproveListing": ({"in_review"}, "listed"),
    "RejectListing": ({"in_review"}, "rejected"),
    "SuspendListing": ({"listed"}, "suspended"),
    "ResumeListing": ({"suspended"}, "listed"),
    "DelistListing": ({"listed", "suspended"}, "delisted"),
}
TRADE_STEPS = {
    "ConfirmTrade": {"proposed": "confirmed", "filed": "filed"},
    "ContractTrade": {"confirmed": "contracted"},
    "CancelTrade": {"proposed": "cancelled", "confirmed": "cancelled", "filed": "cancelled"},
    "ApproveFiling": {"filed": "contracted"},
    "RejectFiling": {"filed": "rejected"},
    "ProposeTermination": {"contracted": "contracted"},
    "ApproveTermination": {"contracted": "terminated"},
    "TerminateTrade": {"contracted": "terminated"},
    "ProposeReversal": {"contracted": "contracted"},
    "ApproveReversal": {"contracted": "reversed"},
}
OPEN_TRADES = {"proposed", "confirmed", "filed"}
ROLES = {
    "CreateKey": frozenset({OPERATOR, MEMBER, SYSTEM}),
    "RevokeKey": frozenset({OPERATOR, MEMBER}),
    "ApplyForMembership": frozenset({OPERATOR, MEMBER}),
    "CorrectApplication": frozenset({OPERATOR, MEMBER}),
    "WithdrawMember": frozenset({OPERATOR, MEMBER}),
    "DelistListing": frozenset({OPERATOR, MEMBER}),
} | dict.fromkeys(
    [
        "RegisterProduct",
        "DescribeVersion",
        "RecordAssessment",
        "DraftListing",
        "SubmitListing",
        "TakeListing",
        "ProposeTrade",
        "FileTrade",
        "ConfirmTrade",
        "ContractTrade",
        "CancelTrade",
        "ProposeTermination",
        "ApproveTermination",
        "GrantMandate",
        "EndMandate",
    ],
    frozenset({MEMBER}),
)
"""Who may do it at all; what is not named here is the operators' alone."""


SCOPES = {"read", "membership", "catalogue", "trades", "keys"}
SCOPE_WORDS = (
    ("keys", ("Key",)),
    ("trades", ("TakeListing", "Trade", "Filing", "Reversal", "Termination", "Auction", "CloseMonth")),
    ("catalogue", ("Listing", "Product", "Version", "Assessment")),
)
"""By which words in its name it is known to which scope a command belongs; the rest is about members."""


def scope_of(command: str) -> str:
    return next((scope for scope, words in SCOPE_WORDS if any(word in command for word in words)), "membership")


MANDATED = {
    "RegisterProduct": "products",
    "DescribeVersion": "products",
    "DraftListing": "listings",
    "SubmitListing": "listings",
    "DelistListing": "listings",
    "TakeListing": "trades.take",
    "ProposeTrade": "trades.propose",
    "FileTrade": "trades.file",
    "ConfirmTrade": "trades.confirm",
    "ContractTrade": "trades.contract",
    "CancelTrade": "trades.cancel",
    "ProposeTermination": "trades.terminate",
    "ApproveTermination": "trades.terminate",
}
"""The step that an agent needs for it; what is not named here nobody does for another."""


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The command is refused, for any of these reasons: the names of problems."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = set(reasons)


@dataclass(frozen=True)
class Accepted:
    """What is answered: for each command the values that must be in its answer."""

    answers: list[Thing]
    replayed: bool = False


def refuse(**reasons: object) -> None:
    """Refuse for those reasons that hold."""
    found = [name for name, holds in reasons.items() if holds]
    if found:
        raise Refused(*found)


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def month_end(day: date) -> date:
    return date(day.year, day.month, monthrange(day.year, day.month)[1])


def months_back(day: date, months: int) -> date:
    """Give the day that compares with this one so many months earlier."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = monthrange(year, month + 1)[1]
    return date(year, month + 1, last if day == month_end(day) else min(day.day, last))


def growth(now: int, before: int) -> str | None:
    if before <= 0:
        return None
    with localcontext() as context:
        context.prec = 80
        ratio = (Decimal(now) / Decimal(before) - 1).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return f"{abs(ratio) if ratio == 0 else ratio:.4f}"


def net_of(gross: int, rate: int) -> int:
    """Give the net amount of a gross one, half up."""
    return int((Decimal(gross) * 10_000 / (10_000 + rate)).quantize(Decimal(1), ROUND_HALF_UP))


class Model:
    """The exchange as it should be."""

    def __init__(self) -> None:
        self.position = 1
        self.recorded_at = datetime(1970, 1, 1, tzinfo=UTC)
        """When the last batch was recorded."""
        self.instant = self.recorded_at
        """When the present one is."""
        self.moments: list[tuple[int, datetime]] = [(1, self.recorded_at)]
        """The last position of each batch, and when it was recorded."""
        self.days: dict[int, date] = {}
        """On which day each position was recorded."""
        self.keys: dict[int, Thing] = {}
        self.people: dict[tuple[str, str], int] = {}
        self.operator_keys = 0
        self.companies: dict[str, Thing] = {}
        self.members: dict[int, Thing] = {}
        self.products: dict[int, Thing] = {}
        self.versions: dict[int, Thing] = {}
        self.assessments: list[Thing] = []
        self.listings: dict[int, Thing] = {}
        self.trades: dict[int, Thing] = {}
        self.proposals: dict[int, Thing] = {}
        self.counted_contracts: dict[tuple[Any, ...], int] = {}
        self.erased: set[int] = set()
        """Persons without names."""
        self.erasing: set[tuple[str, str]] = set()
        """Names that are free again only when the present batch is over."""
        self.mandates: dict[int, Thing] = {}
        self.acted_for: dict[int, tuple[int, int | None]] = {}
        """Which member acted for which, by position."""
        self.closed: list[date] = []
        self.movements: list[Thing] = []
        self.party_events: defaultdict[int, list[int]] = defaultdict(list)
        self.answered: dict[tuple[str, str], tuple[str, list[Thing]]] = {}

    # The batch

    def begin(self, clock: datetime) -> None:
        """Begin a batch: all of it is recorded at one instant, always after the last one."""
        self.instant = max(clock, self.recorded_at + timedelta(microseconds=1))

    def end(self) -> None:
        """End it; where nothing was accepted, nothing is recorded."""
        self.erasing.clear()
        if self.position > self.moments[-1][0]:
            self.recorded_at = self.instant
            self.moments.append((self.position, self.instant))

    @property
    def today(self) -> date:
        return (self.instant + timedelta(hours=8)).date()

    def decide(self, commands: Sequence[Command], by: Caller, key: str) -> Accepted:
        """Decide a job; raise Refused, which leaves a job of several half done: decide those on a copy."""
        request = repr(commands)
        refuse(Unauthenticated=by.role != SYSTEM and not self.opens(by.key_id or 0))
        refuse(Forbidden=any(by.role not in ROLES.get(type(command).__name__, {OPERATOR}) for command in commands))
        scopes = SCOPES if by.role == SYSTEM else self.keys[by.key_id or 0]["scopes"]
        refuse(ScopeMissing=any(scope_of(type(command).__name__) not in scopes for command in commands))
        agents = [self.agent_of(by, type(command).__name__) for command in commands]
        if (by.holder, key) in self.answered:
            first, answers = self.answered[by.holder, key]
            refuse(KeyReused=first != request)
            return Accepted(answers, replayed=True)
        answers = []
        for command, agent in zip(commands, agents, strict=True):
            self.position += 1
            try:
                answer = getattr(self, snake(type(command).__name__))(command, by)
            except Refused:
                self.position -= 1
                raise
            parties = dict.fromkeys(answer.pop("parties", ()))
            if agent is not None:
                refuse(AgentInvolved=any(self.involved(agent, party, by) for party in parties))
                self.acted_for[self.position] = agent, self.own(by)
            self.days[self.position] = self.today
            for party in parties:
                self.party_events[party].append(self.position)
            answers.append(answer | {"position": self.position})
        self.answered[by.holder, key] = request, answers
        return Accepted(answers)

    # Keys

    def opens(self, number: int) -> bool:
        """Tell whether a key is neither revoked nor over."""
        key = self.keys.get(number)
        return key is not None and key["live"] and (key["ends"] is None or key["ends"] >= self.today)

    def create_key(self, c: Any, by: Caller) -> Thing:
        scopes = set(map(str, c.scopes)) if c.scopes else SCOPES if c.role in {OPERATOR, MEMBER} else {"read"}
        organisation = {"operator": "exchange", "auditor": "exchange", "regulator": "regulator"}.get(c.role, c.uscc)
        person = self.people.get((organisation, c.person_name))
        held = [
            n for n, key in self.keys.items() if key["person"] == person and key["role"] == c.role and self.opens(n)
        ]
        refuse(
            JustErased=(organisation, c.person_name) in self.erasing,
            OwnPeopleOnly=by.role == MEMBER and (c.role != MEMBER or c.uscc != by.uscc),
            ScopeMissing=by.role != SYSTEM and not scopes <= self.keys[by.key_id or 0]["scopes"],
            OperatorsExist=by.role == SYSTEM and (self.operator_keys or c.role != OPERATOR),
            KeyWrong=c.expires_on is not None and c.expires_on < self.today,
            KeysEnough=len(held) >= 2,
        )
        person = self.people.setdefault((organisation, c.person_name), self.position)
        self.keys[self.position] = {
            "live": True,
            "role": str(c.role),
            "person": person,
            "uscc": c.uscc,
            "scopes": scopes,
            "ends": c.expires_on,
        }
        self.operator_keys += c.role == OPERATOR
        return {"id": f"key_{self.position:012}", "person": f"prs_{person:012}", "state": "active", "role": str(c.role)}

    def revoke_key(self, c: Any, by: Caller) -> Thing:
        key = self.keys.get(c.key_id)
        refuse(NotFound=key is None or (by.role == MEMBER and key["uscc"] != by.uscc))
        refuse(RevokedAlready=not self.keys[c.key_id]["live"])
        self.keys[c.key_id]["live"] = False
        return {"id": f"key_{c.key_id:012}", "state": "revoked"}

    # Personal data

    def of_person(self, c: Any, by: Caller) -> Thing:
        refuse(NotFound=c.person_id not in self.people.values() and c.person_id not in self.erased)
        refuse(ErasedAlready=c.person_id in self.erased)
        if type(c).__name__ == "ReadPerson":
            return {"id": f"prs_{c.person_id:012}"}
        refuse(KeysLive=any(key["live"] and key["person"] == c.person_id for key in self.keys.values()))
        self.erased.add(c.person_id)
        [known] = [who for who, number in self.people.items() if number == c.person_id]
        del self.people[known]
        self.erasing.add(known)
        return {"id": f"prs_{c.person_id:012}", "state": "erased"}

    read_person = erase_person = of_person

    def of_member(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        refuse(ErasedAlready=member["data_erased"])
        member["data_erased"] = type(c).__name__ == "EraseMemberData"
        return {"id": f"mbr_{c.member_id:012}", "parties": [c.member_id]}

    read_member_data = erase_member_data = of_member

    # Mandates

    def agent_of(self, by: Caller, name: str) -> int | None:
        """Give the member that acts for the caller's company; null where the company acts itself."""
        acting: str | None = getattr(by, "agent_uscc", None)
        if acting is None:
            return None
        held = [
            one for one in self.mandates.values() if (one["principal_uscc"], one["agent_uscc"]) == (by.uscc, acting)
        ]
        held = [one for one in held if one["live"] and self.today <= one["ends_on"]]
        refuse(NoMandate=not held)
        held = [one for one in held if MANDATED.get(name) in one["steps"]]
        refuse(StepNotMandated=not held)
        sides = (held[0]["principal"], held[0]["agent"])
        refuse(MandateRests=any(self.members[side]["state"] != "active" for side in sides))
        return int(held[0]["agent"])

    def involved(self, agent: int, party: int, by: Caller) -> bool:
        if self.members[party]["uscc"] == by.uscc:
            return False
        same = self.members[party]["uscc"] == self.members[agent]["uscc"]
        return same or self.group(party, self.today) == self.group(agent, self.today)

    def grant_mandate(self, c: Any, by: Caller) -> Thing:
        own, agent = self.own(by), self.members.get(c.agent_id)
        if own is None:
            raise Refused("NotFound")
        if (
            agent is None
            or agent["uscc"] == by.uscc
            or agent["state"] != "active"
            or "service_org" not in agent["roles"]
        ):
            raise Refused("AgentWrong")
        refuse(NotActive=self.members[own]["state"] != "active")
        refuse(MandateWrong=not self.today <= c.ends_on <= self.today + timedelta(days=3 * 366))
        self.mandates[self.position] = {
            "principal": own,
            "principal_uscc": by.uscc,
            "agent": c.agent_id,
            "agent_uscc": agent["uscc"],
            "steps": set(c.steps),
            "ends_on": c.ends_on,
            "live": True,
        }
        return {"id": f"mnd_{self.position:012}", "state": "active", "parties": [own, c.agent_id]}

    def end_mandate(self, c: Any, by: Caller) -> Thing:
        mandate = self.mandates.get(c.mandate_id)
        if mandate is None or by.uscc not in {mandate["principal_uscc"], mandate["agent_uscc"]}:
            raise Refused("NotFound")
        refuse(MandateEnded=not mandate["live"])
        mandate["live"] = False
        return {
            "id": f"mnd_{c.mandate_id:012}",
            "state": "ended",
            "parties": [mandate["principal"], mandate["agent"]],
        }

    # Members

    def own(self, by: Caller) -> int | None:
        """Give the latest membership of the company that acts."""
        company = self.companies.get(by.uscc or "")
        return company["member"] if company else None

    def stood(self, member: int, fact: str, day: date, known_at: int | None = None) -> Any:
        """Read off the history what held of a member on a day, as known at a position."""
        found = None
        for position, effective_on, named, value in self.members[member]["history"]:
            if named == fact and effective_on <= day and (known_at is None or position <= known_at):
                found = value
        return found

    def group(self, member: int, day: date) -> str:
        return str(self.stood(member, "group", day) or self.members[member]["uscc"])

    def is_active(self, member: int, day: date) -> bool:
        return bool(self.stood(member, "state", day) == "active")

    def in_past(self, *days: date | None) -> bool:
        return all(FIRST_DAY <= day <= self.today for day in days if day is not None)

    def visible_member(self, number: int, by: Caller) -> Thing:
        member = self.members.get(number)
        if member is None or by.uscc not in {None, member["uscc"]}:
            raise Refused("NotFound")
        return member

    def note(self, member: Thing, day: date, **facts: Any) -> None:
        member["history"] += [(self.position, day, fact, value) for fact, value in facts.items()]
        member["since"] = max(day, member["since"])
        member["touched"] = self.position

    def wrong_date(self, given: date | None, since: date, by: Caller) -> bool:
        """Tell whether a change cannot take effect on that day: staff alone dates it back, and never before the last one."""
        if given is None:
            return False
        return (by.uscc is not None and given != self.today) or not self.in_past(given) or given < since

    def step_member(self, member: Thing, state: str, day: date) -> None:
        self.note(member, day, state=state)
        member["state"] = state
        if state not in LIVE:
            company = self.companies[member["uscc"]]
            company |= {"live": False, "barred": state == "expelled", "touched": self.position}

    def admission_refusals(self, uscc: str, day: date) -> dict[str, object]:
        company = self.companies.get(uscc)
        if company is None:
            return {}
        ended = self.members[company["member"]]["since"]
        return {
            "Barred": company["barred"],
            "MemberAlready": company["live"],
            "DateWrong": not company["live"] and day < ended,
        }

    def new_member(self, uscc: str, fields: Any, day: date) -> Thing:
        company = self.companies.setdefault(uscc, {"readmission": None, "barred": False})
        company |= {"member": self.position, "live": True, "touched": self.position}
        member = self.members[self.position] = {"uscc": uscc, "state": "submitted", "history": [], "since": day}
        member |= {"applied_on": day, "open": 0, "expulsion": None}
        self.tell_of(member, fields, day)
        self.note(member, day, state="submitted")
        return member

    def tell_of(self, member: Thing, fields: Any, day: date) -> None:
        member["roles"] = set(fields.roles)
        member["data_erased"] = False
        member["name"] = fields.legal_name
        member["address"] = fields.address
        self.note(member, day, region=fields.region_code, group=fields.group_parent_uscc, name=fields.legal_name)

    def member_answer(self, number: int, **more: Any) -> Thing:
        return {"id": f"mbr_{number:012}", "state": self.members[number]["state"], "parties": [number]} | more

    def apply_for_membership(self, c: Any, by: Caller) -> Thing:
        refuse(AnotherCompany=by.uscc not in {None, c.uscc}, **self.admission_refusals(c.uscc, self.today))
        self.new_member(c.uscc, c.fields, self.today)
        return self.member_answer(self.position)

    def record_member(self, c: Any, by: Caller) -> Thing:
        reasons = self.admission_refusals(c.uscc, c.applied_on)
        late = not self.in_past(c.applied_on, c.admitted_on, c.withdrawn_on)
        refuse(**reasons | {"DateWrong": reasons.get("DateWrong") or late})
        member = self.new_member(c.uscc, c.fields, c.applied_on)
        self.step_member(member, "under_review", c.applied_on)
        self.step_member(member, "active", c.admitted_on)
        if c.withdrawn_on is not None:
            self.step_member(member, "withdrawn", c.withdrawn_on)
        return self.member_answer(self.position)

    def member_step(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        before, after = MEMBER_STEPS[type(c).__name__]
        refuse(
            MemberStepWrong=member["state"] not in before,
            DateWrong=self.wrong_date(c.effective_on, member["since"], by),
            StillOpen=after == "withdrawn" and member["open"],
        )
        self.step_member(member, after, c.effective_on or self.today)
        return self.member_answer(c.member_id)

    start_review = request_correction = admit_member = reject_member = member_step
    suspend_member = reinstate_member = withdraw_member = member_step

    def correct_application(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        refuse(MemberStepWrong=member["state"] != "correction_requested")
        self.step_member(member, "under_review", self.today)
        self.tell_of(member, c.fields, self.today)
        return self.member_answer(c.member_id)

    def change_member(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        refuse(
            MemberStepWrong=member["state"] not in LIVE, DateWrong=self.wrong_date(c.effective_on, member["since"], by)
        )
        new = {"region": c.region_code, "name": c.legal_name}
        facts: Thing = {fact: value for fact, value in new.items() if value is not None}
        if c.leaves_group or c.group_parent_uscc is not None:
            facts["group"] = c.group_parent_uscc
        self.note(member, c.effective_on or self.today, **facts)
        member["name"] = c.legal_name or member["name"]
        return self.member_answer(c.member_id)

    def correct_member(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        refuse(NothingChanges=member[c.field] == c.after)
        member |= {c.field: c.after, "touched": self.position}
        return self.member_answer(c.member_id)

    # What needs two

    def is_fresh(self, number: int | None, subject: Thing) -> bool:
        if number is None:
            return False
        proposal = self.proposals[number]
        young = self.today - proposal["on"] <= timedelta(days=7)
        return bool(not proposal["approved"] and young and subject["touched"] == number)

    def propose(self, subject: Thing, kind: str, by: Caller) -> Thing:
        subject |= {kind: self.position, "touched": self.position}
        self.proposals[self.position] = {"on": self.today, "by": by.person_id, "approved": False, "uscc": by.uscc}
        return {"proposal": f"prp_{self.position:012}"}

    def approval_refusals(self, subject: Thing, kind: str, by: Caller) -> dict[str, object]:
        number = subject[kind]
        if number is None or self.proposals[number]["approved"]:
            return {"NothingProposed": True}
        own = self.proposals[number]["by"] == by.person_id
        return {"OwnProposal": own, "ProposalStale": not self.is_fresh(number, subject)}

    def approve(self, subject: Thing, kind: str) -> None:
        self.proposals[subject[kind]]["approved"] = True
        subject["touched"] = self.position

    def interest(self, by: Caller, *companies: str) -> dict[str, object]:
        """Refuse who shares a name with somebody of a company that it concerns."""
        [name] = [name for (_, name), number in self.people.items() if number == by.person_id]
        return {"OwnInterest": any((company, name) in self.people for company in companies)}

    def propose_expulsion(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        refuse(
            MemberStepWrong=member["state"] not in {"active", "suspended"},
            ProposedAlready=self.is_fresh(member["expulsion"], member),
            **self.interest(by, member["uscc"]),
        )
        return self.member_answer(c.member_id, **self.propose(member, "expulsion", by))

    def approve_expulsion(self, c: Any, by: Caller) -> Thing:
        member = self.visible_member(c.member_id, by)
        reasons = self.approval_refusals(member, "expulsion", by)
        refuse(
            MemberStepWrong=member["state"] not in {"active", "suspended"},
            **reasons,
            **self.interest(by, member["uscc"]),
        )
        self.approve(member, "expulsion")
        self.step_member(member, "expelled", self.today)
        return self.member_answer(c.member_id)

    def barred(self, number: int, by: Caller) -> Thing:
        company = self.companies[self.visible_member(number, by)["uscc"]]
        refuse(NotBarred=not company["barred"] or company["member"] != number)
        return company

    def propose_readmission(self, c: Any, by: Caller) -> Thing:
        company = self.barred(c.member_id, by)
        own = self.interest(by, self.members[c.member_id]["uscc"])
        refuse(ProposedAlready=self.is_fresh(company["readmission"], company), **own)
        return self.member_answer(c.member_id, **self.propose(company, "readmission", by))

    def approve_readmission(self, c: Any, by: Caller) -> Thing:
        company = self.barred(c.member_id, by)
        own = self.interest(by, self.members[c.member_id]["uscc"])
        refuse(**self.approval_refusals(company, "readmission", by), **own)
        self.approve(company, "readmission")
        company["barred"] = False
        return self.member_answer(c.member_id, barred=False)

    # Products and listings

    def provider_refusals(self, member: int, day: date) -> dict[str, object]:
        return {
            "NotActive": not self.is_active(member, day),
            "NotAProvider": "provider" not in self.members[member]["roles"],
        }

    def register_product(self, c: Any, by: Caller) -> Thing:
        owner = self.own(by)
        if owner is None:
            raise Refused("CompanyUnknown")
        taken = any(product["owner"] == owner and product["code"] == c.code for product in self.products.values())
        refuse(CodeTaken=taken, **self.provider_refusals(owner, self.today))
        self.new_product(owner, c)
        return {"id": f"prd_{self.position:012}", "code": c.code, "parties": [owner]}

    def new_product(self, owner: int, c: Any) -> Thing:
        product = {"id": self.position, "owner": owner, "code": c.code, "kind": c.kind, "versions": 0, "current": None}
        self.products[self.position] = product
        return product

    def own_product(self, number: int, by: Caller) -> Thing:
        product = self.products.get(number)
        refuse(NotFound=product is None or self.members[product["owner"]]["uscc"] != by.uscc)
        assert product is not None
        return product

    def describe_version(self, c: Any, by: Caller) -> Thing:
        product = self.own_product(c.product_id, by)
        refuse(**self.provider_refusals(product["owner"], self.today))
        self.new_version(product, c.fields)
        return {"id": f"ver_{self.position:012}", "number": product["versions"], "parties": [product["owner"]]}

    def new_version(self, product: Thing, fields: Any) -> Thing:
        product["versions"] += 1
        ends = [date.fromisoformat(right.partition(":")[2]) for right in fields.rights if ":" in right]
        version = {"id": self.position, "product": product["id"], "number": product["versions"]}
        version |= {"grade": fields.grade, "sector": fields.sector, "rights_end": min(ends, default=None)}
        self.versions[self.position] = version
        return version

    def assessor_refusals(self, owner: int, assessor: int, day: date) -> dict[str, object]:
        return {
            "NotActive": not self.is_active(owner, day) or not self.is_active(assessor, day),
            "AssessorNotIndependent": "service_org" not in self.members[assessor]["roles"]
            or self.group(owner, day) == self.group(assessor, day),
        }

    def record_assessment(self, c: Any, by: Caller) -> Thing:
        assessor = self.own(by)
        if assessor is None:
            raise Refused("CompanyUnknown")
        refuse(
            NotActive=not self.is_active(assessor, self.today),
            AssessorNotIndependent="service_org" not in self.members[assessor]["roles"],
        )
        refuse(NotFound=c.version_id not in self.versions)
        owner = self.products[self.versions[c.version_id]["product"]]["owner"]
        refuse(**self.assessor_refusals(owner, assessor, self.today))
        self.assessments.append({"version": c.version_id, "kind": c.kind})
        return {"id": f"asm_{self.position:012}", "kind": c.kind, "parties": [owner, assessor]}

    def draft_listing(self, c: Any, by: Caller) -> Thing:
        refuse(NotFound=c.version_id not in self.versions)
        product = self.own_product(self.versions[c.version_id]["product"], by)
        over = c.offer.expires_on is not None and c.offer.expires_on < self.today
        refuse(ProductFieldsWrong=over, **self.provider_refusals(product["owner"], self.today))
        self.new_listing(self.versions[c.version_id], product, c.offer, self.today)
        return self.listing_answer(self.position)

    def new_listing(self, version: Thing, product: Thing, offer: Any, day: date) -> Thing:
        listing = self.listings[self.position] = {"id": self.position, "version": version["id"]}
        listing |= {"product": product["id"], "owner": product["owner"], "history": []}
        listing |= {
            "model": offer.price_model,
            "price": offer.price,
            "rate": offer.vat_rate_bp,
            "ends": offer.expires_on,
        }
        self.step_listing(listing, "draft", day)
        return listing

    def step_listing(self, listing: Thing, state: str, day: date) -> None:
        listing |= {"state": state, "since": day}
        listing["history"].append((self.position, day, state))

    def listing_answer(self, number: int, **more: Any) -> Thing:
        listing = self.listings[number]
        return {"id": f"lst_{number:012}", "state": listing["state"], "parties": [listing["owner"]]} | more

    def listing_step(self, c: Any, by: Caller) -> Thing:
        refuse(NotFound=c.listing_id not in self.listings)
        listing = self.listings[c.listing_id]
        owner, product = listing["owner"], self.products[listing["product"]]
        if by.uscc not in {None, self.members[owner]["uscc"]}:
            raise Refused("OwnersStep" if listing["state"] == "listed" else "NotFound")
        before, after = LISTING_STEPS[type(c).__name__]
        reasons: dict[str, object] = {
            "ListingStepWrong": listing["state"] not in before,
            "DateWrong": self.wrong_date(c.effective_on, listing["since"], by),
        }
        day = c.effective_on or self.today
        if after in {"in_review", "listed"} and "suspended" not in before:
            reasons |= self.provider_refusals(owner, day)
        replaced = self.listings.get(product["current"] or 0) if "in_review" in before and after == "listed" else None
        if "in_review" in before and after == "listed":
            reasons["AssessmentMissing"] = not self.is_assessed(listing["version"])
            reasons["VersionOutOfTurn"] = replaced and day < replaced["since"]
        refuse(**reasons)
        self.step_listing(listing, after, day)
        if replaced:
            self.step_listing(replaced, "delisted", day)
        if after == "listed":
            product["current"] = listing["id"]
        if after == "delisted":
            product["current"] = None
        return self.listing_answer(c.listing_id)

    submit_listing = approve_listing = reject_listing = listing_step
    suspend_listing = resume_listing = delist_listing = listing_step

    def is_assessed(self, version: int) -> bool:
        """Tell whether a version has the assessment that it needs before it is listed."""
        kinds = [assessment["kind"] for assessment in self.assessments if assessment["version"] == version]
        return self.versions[version]["grade"] != "important" or "security" in kinds

    def record_listing(self, c: Any, by: Caller) -> Thing:
        wrong_date = not self.in_past(c.listed_on, c.delisted_on)
        companies = [self.companies.get(uscc) for uscc in (c.owner_uscc, c.assessor_uscc) if uscc]
        refuse(DateWrong=wrong_date, CompanyUnknown=None in companies)
        owner = self.companies[c.owner_uscc]["member"]
        product = self.product_of(owner, c.code)
        replaced = self.listings.get(product["current"] or 0) if product else None
        reasons = self.provider_refusals(owner, c.listed_on)
        if c.assessor_uscc:
            more = self.assessor_refusals(owner, self.companies[c.assessor_uscc]["member"], c.listed_on)
            reasons |= more | {"NotActive": more["NotActive"] or reasons["NotActive"]}
        refuse(
            VersionOutOfTurn=c.number != (product["versions"] if product else 0) + 1
            or (replaced and c.listed_on < replaced["since"]),
            AssessmentMissing=c.version.grade == "important" and not c.assessor_uscc,
            **reasons,
        )
        product = product or self.new_product(owner, c)
        version = self.new_version(product, c.version)
        parties = [owner]
        if c.assessor_uscc:
            self.assessments.append({"version": version["id"], "kind": "security"})
            parties.append(self.companies[c.assessor_uscc]["member"])
        listing = self.new_listing(version, product, c.offer, c.listed_on)
        if replaced:
            self.step_listing(replaced, "delisted", c.listed_on)
        for state in ("in_review", "listed"):
            self.step_listing(listing, state, c.listed_on)
        product["current"] = listing["id"]
        if c.delisted_on is not None:
            self.step_listing(listing, "delisted", c.delisted_on)
            product["current"] = None
        return self.listing_answer(self.position, parties=parties)

    def product_of(self, owner: int, code: str) -> Thing | None:
        found = (product for product in self.products.values() if product["owner"] == owner and product["code"] == code)
        return next(found, None)

    def listing_stood(self, listing: Thing, day: date, known_at: int | None = None) -> str | None:
        found = None
        for position, effective_on, state in listing["history"]:
            if effective_on <= day and (known_at is None or position <= known_at):
                found = state
        return found

    def is_tradable(self, listing: Thing, day: date) -> bool:
        """Tell whether a listing was for sale on a day by its state, its term and the rights of its version."""
        ends = [end for end in (listing["ends"], self.versions[listing["version"]]["rights_end"]) if end is not None]
        return self.listing_stood(listing, day) == "listed" and all(day <= end for end in ends)

    # Trades

    def party_refusals(self, buyer: int, seller: int, listing: Thing, day: date) -> dict[str, object]:
        """Give what stands against a trade of these two in this listing on a day."""
        return {
            "SameParty": self.members[buyer]["uscc"] == self.members[seller]["uscc"],
            "NotActive": not self.is_active(buyer, day) or not self.is_active(seller, day),
            "ListingNotTradable": not self.is_tradable(listing, day),
        }

    def dimensions(self, buyer: int, seller: int, day: date) -> Thing:
        return {
            "region": self.stood(buyer, "region", day),
            "related": self.group(buyer, day) == self.group(seller, day),
        }

    def parties_to(self, c: Any, by: Caller) -> tuple[int, int, Thing]:
        """Give buyer, seller and listing of what is wanted: who acts buys, but the owner, and the exchange, name the buyer."""
        listing = self.listings.get(c.listing_id)
        if listing is None:
            raise Refused("NotFound")
        seller, own = listing["owner"], self.own(by)
        named = getattr(c, "buyer_id", None)
        sells = by.uscc in {None, self.members[seller]["uscc"]}
        refuse(NotFound=not sells and listing["state"] in {"draft", "in_review", "rejected"})
        if type(c).__name__ == "TakeListing":
            refuse(SameParty=sells, NotFound=own is None)
            assert own is not None
            return own, seller, listing
        refuse(BuyerWrong=(sells and named is None) or (not sells and named not in {None, own}))
        refuse(NotFound=not sells and own is None)
        buyer = named if sells else own
        refuse(BuyerWrong=buyer not in self.members)
        assert buyer is not None
        named_one, day = self.members[buyer], getattr(c, "effective_on", self.today)
        seen = by.uscc in {None, named_one["uscc"]} or named_one["state"] == "active"
        refuse(BuyerWrong=not seen and not self.is_active(buyer, day))
        return buyer, seller, listing

    def due(self, listing: Thing, quantity: int) -> tuple[int, int, int] | None:
        """Give what a quantity of a fixed-price listing costs: net, VAT, gross."""
        if listing["model"] != "fixed":
            return None
        gross = listing["price"] * quantity
        net = net_of(gross, listing["rate"])
        return None if gross > TRADE_LIMIT or net <= 0 else (net, gross - net, gross)

    def new_trade(
        self, buyer: int, seller: int, listing: Thing, price: Any, contract: tuple[Any, ...], state: str, **more: Any
    ) -> Thing:
        version = self.versions[listing["version"]]
        trade: Thing = {"id": self.position, "state": state, "buyer": buyer, "seller": seller, "listing": listing["id"]}
        trade |= {"net": price.net, "vat": price.vat, "gross": price.gross, "product": listing["product"]}
        trade |= {
            "sector": version["sector"],
            "kind": self.products[listing["product"]]["kind"],
            "touched": self.position,
        }
        trade |= {"contract": (seller, buyer, *contract), "late": False, "confirmed": state == "contracted"}
        trade |= {"venue": "on_exchange", "mode": "negotiated", "proposed_on": self.today, "proposer": "exchange"}
        trade |= dict.fromkeys(("effective_on", "received_on", "ended_on", "termination", "reversal"))
        trade |= more
        trade |= self.dimensions(buyer, seller, trade["effective_on"] or trade["proposed_on"])
        self.trades[self.position] = trade
        for party in (buyer, seller):
            self.members[party]["open"] += state in OPEN_TRADES
        return trade

    def trade_answer(self, trade: Thing, **more: Any) -> Thing:
        answer = {name: trade[name] for name in ("state", "related", "late")}
        return answer | {"id": f"trd_{trade['id']:012}", "parties": [trade["buyer"], trade["seller"]]} | more

    def is_closed(self, day: date) -> bool:
        """Tell whether a day's month is closed: the months before the first closed one are taken to be."""
        return bool(self.closed) and day <= month_end(self.closed[-1])

    def counts_already(self, contract: tuple[Any, ...]) -> bool:
        return contract in self.counted_contracts

    def count(self, trade: Thing) -> None:
        self.counted_contracts[trade["contract"]] = trade["id"]
        received = trade["received_on"] or trade["effective_on"]
        waited = received - trade["effective_on"] > timedelta(days=30)
        trade["late"] = waited or self.is_closed(trade["effective_on"])
        self.move(trade, "counted", trade["effective_on"])

    def move(self, trade: Thing, movement: str, day: date) -> None:
        sign = 1 if movement == "counted" else -1
        number = 1 + sum(other["position"] == self.position for other in self.movements)
        names = ("buyer", "seller", "product", "sector", "kind", "region", "venue", "mode", "related")
        self.movements.append(
            {name: trade[name] for name in names}
            | {"position": self.position, "number": number, "movement": movement, "trade": trade["id"]}
            | {
                "effective_on": day,
                "recorded_on": self.today,
                "gross": sign * trade["gross"],
                "net": sign * trade["net"],
            }
        )

    def take_listing(self, c: Any, by: Caller) -> Thing:
        buyer, seller, listing = self.parties_to(c, by)
        stated = (c.price.net, c.price.vat, c.price.gross)
        number = c.contract_number or f"trd_{self.position:012}"
        order = (
            listing["id"],
            c.quantity,
            c.price.gross,
            c.purpose,
            number,
            c.delivery_terms,
            c.acceptance_window_days,
        )
        refuse(
            AmountWrong=stated != self.due(listing, c.quantity),
            ContractRecorded=self.counts_already((seller, buyer, number, order)),
            **self.party_refusals(buyer, seller, listing, self.today),
        )
        more = {"mode": "listed", "proposer": "buyer", "effective_on": self.today}
        trade = self.new_trade(buyer, seller, listing, c.price, (number, order), "contracted", **more)
        self.count(trade)
        return self.trade_answer(trade)

    def propose_trade(self, c: Any, by: Caller) -> Thing:
        buyer, seller, listing = self.parties_to(c, by)
        refuse(**self.party_refusals(buyer, seller, listing, self.today))
        return self.trade_answer(self.open_trade(c, by, buyer, seller, "proposed"))

    def open_trade(self, c: Any, by: Caller, buyer: int, seller: int, state: str, **more: Any) -> Thing:
        contract = (c.terms.contract_number, c.terms.contract_sha256)
        proposer = "seller" if by.uscc == self.members[seller]["uscc"] else "buyer"
        listing = self.listings[c.listing_id]
        return self.new_trade(buyer, seller, listing, c.terms.price, contract, state, **{"proposer": proposer} | more)

    def file_trade(self, c: Any, by: Caller) -> Thing:
        buyer, seller, listing = self.parties_to(c, by)
        future = not self.in_past(c.effective_on)
        refuse(DateWrong=future, **self.party_refusals(buyer, seller, listing, c.effective_on))
        more = {"venue": "off_exchange_filed", "effective_on": c.effective_on}
        return self.trade_answer(self.open_trade(c, by, buyer, seller, "filed", **more))

    def record_auction(self, c: Any, by: Caller) -> Thing:
        buyer, seller, listing = self.parties_to(c, by)
        refuse(
            DateWrong=not self.in_past(c.effective_on),
            ContractRecorded=self.counts_already((seller, buyer, c.terms.contract_number, c.terms.contract_sha256)),
            **self.party_refusals(buyer, seller, listing, c.effective_on),
        )
        days = {"proposed_on": c.effective_on, "effective_on": c.effective_on}
        trade = self.open_trade(c, by, buyer, seller, "contracted", mode="auction", proposer="exchange", **days)
        self.count(trade)
        return self.trade_answer(trade)

    def record_trade(self, c: Any, by: Caller) -> Thing:
        days = c.days
        future = not self.in_past(days.proposed_on, days.effective_on, days.ended_on, days.received_on)
        companies = [self.companies.get(uscc) for uscc in (c.buyer_uscc, c.seller_uscc)]
        refuse(DateWrong=future, CompanyUnknown=None in companies)
        buyer, seller = (self.companies[uscc]["member"] for uscc in (c.buyer_uscc, c.seller_uscc))
        product = self.product_of(seller, c.product_code)
        day = days.effective_on or days.proposed_on
        version = next(
            (
                v
                for v in self.versions.values()
                if product and v["product"] == product["id"] and v["number"] == c.product_version
            ),
            None,
        )
        refuse(TradeFieldsWrong=version is None)
        assert version is not None
        offers = [listing for listing in self.listings.values() if listing["version"] == version["id"]]
        listing = next((listing for listing in offers if self.is_tradable(listing, day)), None)
        reasons: dict[str, object] = {"ListingNotTradable": listing is None}
        if listing is not None:
            reasons |= self.party_refusals(buyer, seller, listing, day)
            stated = (c.terms.price.net, c.terms.price.vat, c.terms.price.gross)
            reasons["AmountWrong"] = c.mode == "listed" and stated != self.due(listing, c.terms.quantity)
        contract = (c.terms.contract_number, c.terms.contract_sha256)
        counts = c.state in {"contracted", "terminated"}
        refuse(ContractRecorded=counts and self.counts_already((seller, buyer, *contract)), **reasons)
        assert listing is not None
        more = {"mode": c.mode, "venue": c.venue, "confirmed": c.state in {"confirmed", "contracted", "terminated"}}
        more |= {name: getattr(days, name) for name in ("proposed_on", "effective_on", "received_on", "ended_on")}
        more |= {"proposer": "buyer"} if c.state in OPEN_TRADES else {}
        trade = self.new_trade(buyer, seller, listing, c.terms.price, contract, str(c.state), **more)
        if counts:
            self.count(trade)
        if c.state == "terminated":
            self.move(trade, "terminated", days.ended_on)
        return self.trade_answer(trade)

    def side(self, trade: Thing, by: Caller) -> str:
        if by.uscc is None:
            return "exchange"
        for side in ("buyer", "seller"):
            if self.members[trade[side]]["uscc"] == by.uscc:
                return side
        raise Refused("NotFound")

    def step_of(self, c: Any, by: Caller) -> tuple[Thing, str, dict[str, object]]:
        """Give the trade, the side that acts, and whether its state stands against the step."""
        trade = self.trades.get(c.trade_id)
        if trade is None:
            raise Refused("NotFound")
        side = self.side(trade, by)
        return trade, side, {"TradeStepWrong": trade["state"] not in TRADE_STEPS[type(c).__name__]}

    def step_trade(self, c: Any, trade: Thing, **changed: Any) -> None:
        before = trade["state"]
        trade |= {"state": TRADE_STEPS[type(c).__name__][before], "touched": self.position} | changed
        if before in OPEN_TRADES and trade["state"] not in OPEN_TRADES:
            for party in (trade["buyer"], trade["seller"]):
                self.members[party]["open"] -= 1

    def confirm_trade(self, c: Any, by: Caller) -> Thing:
        trade, side, wrong = self.step_of(c, by)
        refuse(NotYourStep=side == trade["proposer"], ConfirmedAlready=trade["confirmed"], **wrong)
        self.step_trade(c, trade, confirmed=True)
        return self.trade_answer(trade)

    def contract_trade(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(**wrong)
        buyer, seller = trade["buyer"], trade["seller"]
        reasons = self.party_refusals(buyer, seller, self.listings[trade["listing"]], self.today)
        refuse(ContractRecorded=self.counts_already(trade["contract"]), **reasons)
        self.step_trade(c, trade, effective_on=self.today, **self.dimensions(buyer, seller, self.today))
        self.count(trade)
        return self.trade_answer(trade)

    def cancel_trade(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(**wrong)
        self.step_trade(c, trade, ended_on=self.today)
        return self.trade_answer(trade)

    reject_filing = cancel_trade

    def approve_filing(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(**wrong)
        buyer, seller, day = trade["buyer"], trade["seller"], trade["effective_on"]
        received = c.received_on or trade["proposed_on"]
        refuse(
            NotConfirmed=not trade["confirmed"],
            DateWrong=not self.in_past(received),
            TradeFieldsWrong=received < day,
            ContractRecorded=self.counts_already(trade["contract"]),
            **self.party_refusals(buyer, seller, self.listings[trade["listing"]], day),
        )
        self.step_trade(c, trade, received_on=received, **self.dimensions(buyer, seller, day))
        self.count(trade)
        return self.trade_answer(trade)

    def propose_termination(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(ProposedAlready=self.is_fresh(trade["termination"], trade), **wrong)
        self.step_trade(c, trade)
        return self.trade_answer(trade, **self.propose(trade, "termination", by))

    def approve_termination(self, c: Any, by: Caller) -> Thing:
        trade, side, wrong = self.step_of(c, by)
        number = trade["termination"]
        own = number is not None and self.proposals[number]["uscc"] == self.members[trade[side]]["uscc"]
        refuse(NotYourStep=own, **wrong, **self.approval_refusals(trade, "termination", by))
        self.approve(trade, "termination")
        self.step_trade(c, trade, ended_on=self.today)
        self.move(trade, "terminated", self.today)
        return self.trade_answer(trade)

    def terminate_trade(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(**wrong)
        day = c.effective_on or self.today
        refuse(
            DateWrong=not self.in_past(day),
            TradeFieldsWrong=day < trade["effective_on"],
            MonthClosed=self.is_closed(day),
        )
        self.step_trade(c, trade, ended_on=day)
        self.move(trade, "terminated", day)
        return self.trade_answer(trade)

    def trade_interest(self, trade: Thing, by: Caller) -> dict[str, object]:
        return self.interest(by, *(self.members[trade[side]]["uscc"] for side in ("buyer", "seller")))

    def propose_reversal(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(ProposedAlready=self.is_fresh(trade["reversal"], trade), **wrong, **self.trade_interest(trade, by))
        self.step_trade(c, trade)
        return self.trade_answer(trade, **self.propose(trade, "reversal", by))

    def approve_reversal(self, c: Any, by: Caller) -> Thing:
        trade, _, wrong = self.step_of(c, by)
        refuse(**wrong, **self.approval_refusals(trade, "reversal", by), **self.trade_interest(trade, by))
        self.approve(trade, "reversal")
        day = self.today if self.is_closed(trade["effective_on"]) else trade["effective_on"]
        self.step_trade(c, trade, ended_on=day)
        self.move(trade, "reversed", day)
        del self.counted_contracts[trade["contract"]]
        return self.trade_answer(trade)

    def correct_trade(self, c: Any, by: Caller) -> Thing:
        trade = self.trades.get(c.trade_id)
        if trade is None:
            raise Refused("NotFound")
        seller, buyer, number, text = old = trade["contract"]
        words = {"purpose": "Training a model", "contract_number": number} | trade.get("words", {})
        new = (seller, buyer, c.after if c.field == "contract_number" else number, text)
        counts = self.counted_contracts.get(old) == trade["id"]
        nothing = words.get(c.field) == c.after
        refuse(
            NothingChanges=nothing, ContractRecorded=counts and not nothing and new != old and self.counts_already(new)
        )
        trade |= {"words": words | {c.field: c.after}, "contract": new, "touched": self.position}
        if counts:
            del self.counted_contracts[old]
            self.counted_contracts[new] = trade["id"]
        return self.trade_answer(trade)

    # Months

    def close_month(self, c: Any, by: Caller) -> Thing:
        last = month_end(c.month)
        refuse(
            MonthWrong=last >= self.today,
            MonthOutOfTurn=self.closed and c.month != month_end(self.closed[-1]) + timedelta(days=1),
        )
        self.closed.append(c.month)
        return {"month": f"{c.month:%Y-%m}", "closed_through": last.isoformat()}

    # What is taken out

    def release_personal_data(self, c: Any, by: Caller) -> Thing:
        return {}

    # Figures

    def known(self, as_of: date, known_at: int, since: date = FIRST_DAY) -> list[Thing]:
        """Give the movements up to a day, perhaps from one on, as known at a position."""
        return [m for m in self.movements if since <= m["effective_on"] <= as_of and m["position"] <= known_at]

    def net(self, as_of: date, known_at: int, since: date = FIRST_DAY) -> int:
        return sum(m["gross"] for m in self.known(as_of, known_at, since))

    def figures(self, as_of: date, known_at: int) -> Thing:
        """Give the headline in the shape of its answer."""
        known = self.known(as_of, known_at)
        counted = {m["trade"] for m in known if m["movement"] == "counted"}
        back = {m["trade"] for m in known if m["movement"] != "counted"}
        members = [number for number in self.members if number <= known_at]
        admitted = {
            self.members[number]["uscc"]
            for number in members
            for position, day, fact, value in self.members[number]["history"]
            if (fact, value) == ("state", "active") and day <= as_of and position <= known_at
        }
        listed = [
            listing
            for listing in self.listings.values()
            if self.listing_stood(listing, as_of, known_at) == "listed"
            and (listing["ends"] is None or as_of <= listing["ends"])
        ]

        def net_where(**values: object) -> int:
            return sum(m["gross"] for m in known if all(m[name] == value for name, value in values.items()))

        amounts = {
            "gross": sum(m["gross"] for m in known if m["gross"] > 0),
            "reversed": -sum(m["gross"] for m in known if m["gross"] < 0),
            "net": net_where(),
            "net_excluding_vat": sum(m["net"] for m in known),
            "on_exchange": net_where(venue="on_exchange"),
            "off_exchange_filed": net_where(venue="off_exchange_filed"),
            "related_parties": net_where(related=True),
        }
        return {
            "as_of": as_of.isoformat(),
            "position": known_at,
            "members": {
                "active": sum(self.stood(number, "state", as_of, known_at) == "active" for number in members),
                "ever_admitted": len(admitted),
            },
            "listings": {"listed": len(listed)},
            "trades": {"counted": len(counted - back)},
            "cumulative_volume": {
                "contracted": {name: {"amount": str(fen), "currency": "CNY"} for name, fen in amounts.items()}
            },
            "growth": {
                "yoy": self.grown(as_of, known_at, as_of.replace(month=1, day=1), 12),
                "mom": self.grown(as_of, known_at, as_of.replace(day=1), 1),
            },
        }

    def grown(self, as_of: date, known_at: int, start: date, months: int) -> str | None:
        before = self.net(months_back(as_of, months), known_at, months_back(start, months).replace(day=1))
        return growth(self.net(as_of, known_at, start), before)

    def counters(self) -> dict[tuple[int, str], tuple[int, int]]:
        """Give debits and credits of each member's purchases and sales."""
        sums: Counter[tuple[int, str, bool]] = Counter()
        for m in self.movements:
            for side, account in (("buyer", "purchases"), ("seller", "sales")):
                debit = (m["gross"] > 0) == (account == "purchases")
                sums[m[side], account, debit] += abs(m["gross"])
        opened = [
            number
            for number, member in self.members.items()
            if ("state", "active") in {h[2:] for h in member["history"]}
        ]
        return {
            (number, account): (sums[number, account, True], sums[number, account, False])
            for number in opened
            for account in ("purchases", "sales")
        }

    def rollups(self) -> dict[tuple[str, str, date, date], tuple[int, int, int, int]]:
        """Give what each daily rollup must hold: gross, reversed, net excluding VAT, trades."""
        return self._summed(
            (dimension, value, m["effective_on"], m["recorded_on"], m)
            for m in self.movements
            for dimension, value in places(m)
            if dimension in {"total", "venue", "cube", "related"}
        )

    def monthly_rollups(self) -> dict[tuple[str, str, date, date], tuple[int, int, int, int]]:
        """Give the same of each monthly one."""
        return self._summed(
            (dimension, value, m["effective_on"].replace(day=1), m["recorded_on"].replace(day=1), m)
            for m in self.movements
            for dimension, value in places(m)
        )

    @staticmethod
    def _summed(
        placed: Iterable[tuple[str, str, date, date, Thing]],
    ) -> dict[tuple[str, str, date, date], tuple[int, int, int, int]]:
        sums: defaultdict[tuple[str, str, date, date], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for dimension, value, effective, recorded, m in placed:
            row = sums[dimension, value, effective, recorded]
            row[0 if m["gross"] > 0 else 1] += abs(m["gross"])
            row[2] += m["net"]
            row[3] += 1 if m["gross"] > 0 else -1
        return {key: (row[0], row[1], row[2], row[3]) for key, row in sums.items()}


def places(m: Thing) -> Iterable[tuple[str, str]]:
    """Say in which rollups a movement counts."""
    yield "total", ""
    yield "venue", str(m["venue"])
    related = "related" if m["related"] else "unrelated"
    yield "cube", "|".join(map(str, (m["sector"], m["kind"], m["region"][:2], m["venue"], m["mode"], related)))
    yield "buyer", str(m["buyer"])
    yield "seller", str(m["seller"])
    yield "product", str(m["product"])
    if m["related"]:
        yield "related", "related"
