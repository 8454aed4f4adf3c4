"""What must hold of members: pure."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Final

from stdnum import numdb

from exchange.identifiers import SHA256_RULE, USCC_RULE, is_sha256, is_uscc
from exchange.members.states import NEXT, MemberState, MemberStep
from exchange.members.tables import MemberFact, MemberHistory, MemberRole
from exchange.problems import Conflict, Fault, Invalid
from exchange.texts import ADDRESS_LIMIT, NAME_LIMIT, text_faults

EVIDENCE_LIMIT: Final = 20
REGION_PATTERN: Final = "[1-9][0-9]{5}"
INDUSTRY_PATTERN: Final = "[A-T](?:[0-9]{2,4})?"
_REGION: Final = re.compile(REGION_PATTERN, re.ASCII)
_INDUSTRY: Final = re.compile(INDUSTRY_PATTERN, re.ASCII)


class MemberFieldsWrong(Invalid):
    """Some field of the company is not as it must be."""

    remedy = "Correct the fields named in `errors`."


class MemberStepWrong(Conflict):
    """The membership is not in a state that allows this."""

    remedy = "Look at its present state."


@dataclass(frozen=True, slots=True)
class CompanyFields:
    """What a company says of itself when it applies."""

    legal_name: str
    short_name: str
    legal_representative: str
    address: str
    region_code: str
    industry_code: str
    roles: tuple[str, ...]
    contact: str
    group_parent_uscc: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OldChange:
    """What became different of an old membership after its admission, and when: its state, its name, its region or its group."""

    effective_on: date
    fact: MemberFact
    value: str
    """As in its history: `active` or `suspended`, a name, a code; blank where it left its group."""


STEP_TO: Final = {MemberState.SUSPENDED: MemberStep.SUSPEND, MemberState.ACTIVE: MemberStep.REINSTATE}
"""By which step an old membership came into a state after its admission."""


def check_changes(admitted_on: date, changes: Sequence[OldChange], withdrawn_on: date | None) -> None:
    """Check the changes of an old membership. Raises MemberFieldsWrong where they are out of order, or wrong."""
    faults = _change_faults(changes)
    days = [admitted_on, *(change.effective_on for change in changes), *([withdrawn_on] if withdrawn_on else [])]
    if days != sorted(days):
        name = "changes" if changes else "withdrawn_on"
        faults.append(Fault(f"/{name}", "must lie between admitted_on and withdrawn_on, in their order"))
    refuse(faults)


def _change_faults(changes: Sequence[OldChange]) -> list[Fault]:
    faults: list[Fault] = []
    state: str = MemberState.ACTIVE
    for change in changes:
        if change.fact is MemberFact.STATE:
            turned = change.value in STEP_TO and change.value != state
            faults += [] if turned else [Fault("", "must be suspended and active by turns")]
            state = change.value
        elif change.fact is MemberFact.NAME:
            faults += name_faults(change.value, None)
        elif change.fact is MemberFact.REGION:
            faults += place_faults(change.value, None)
        else:
            faults += place_faults(None, change.value or None)
    return [Fault(f"/changes{fault.pointer}", fault.rule) for fault in faults]


def next_state(state: MemberState, step: MemberStep) -> MemberState:
    """Give the state after a step. Raises MemberStepWrong."""
    after = NEXT.get((state, step))
    if after is None:
        raise MemberStepWrong(f"A membership that is {state} does not allow the step {step}.")
    return after


@cache
def is_region(code: str) -> bool:
    """Tell whether this is a six-digit division code whose province GB/T 2260 knows."""
    return _REGION.fullmatch(code) is not None and bool(numdb.get("cn/loc").info(code)[0][1])


def evidence_faults(evidence: Sequence[str]) -> list[Fault]:
    """Check the hashes of documents."""
    if len(evidence) > EVIDENCE_LIMIT:
        return [Fault("/evidence", f"must have at most {EVIDENCE_LIMIT} hashes")]
    return [Fault(f"/evidence/{n}", SHA256_RULE) for n, digest in enumerate(evidence) if not is_sha256(digest)]


def name_faults(legal_name: str | None, short_name: str | None) -> list[Fault]:
    """Check a company's names, where given."""
    return text_faults([("legal_name", legal_name, NAME_LIMIT), ("short_name", short_name, NAME_LIMIT)])


def check_company(uscc: str, fields: CompanyFields) -> None:
    """Check an application. Raises MemberFieldsWrong."""
    wrong = Fault("/uscc", USCC_RULE)
    refuse([*([] if is_uscc(uscc) else [wrong]), *field_faults(fields)])


def check_fields(fields: CompanyFields) -> None:
    """Check all that an application says but the company's code. Raises MemberFieldsWrong."""
    refuse(field_faults(fields))


def field_faults(fields: CompanyFields) -> list[Fault]:
    """List what is wrong with what a company says of itself."""
    faults = name_faults(fields.legal_name, fields.short_name)
    faults += text_faults(
        [
            ("legal_representative", fields.legal_representative, NAME_LIMIT),
            ("address", fields.address, ADDRESS_LIMIT),
            ("contact", fields.contact, NAME_LIMIT),
        ]
    )
    faults += place_faults(fields.region_code, fields.group_parent_uscc)
    faults += industry_faults(fields.industry_code)
    if not fields.roles or len(set(fields.roles)) < len(fields.roles) or not set(fields.roles) <= set(MemberRole):
        faults.append(Fault("/roles", "must name provider, consumer or service_org, at least one, each once"))
    return faults + evidence_faults(fields.evidence)


def industry_faults(code: str) -> list[Fault]:
    """Check an industry's code."""
    return [] if _INDUSTRY.fullmatch(code) else [Fault("/industry_code", "must be a code of GB/T 4754, as I6510")]


CORRECTABLE: Final[dict[str, Callable[[str], list[Fault]]]] = {
    "short_name": lambda said: name_faults(None, said),
    "address": lambda said: text_faults([("address", said, ADDRESS_LIMIT)]),
    "industry_code": industry_faults,
}
"""What of a member may hold a typo, and has no history of its own; with the check of what shall stand there."""


def check_correction(field: str, after: str) -> None:
    """Check what shall stand in a field from now on. Raises MemberFieldsWrong."""
    if field not in CORRECTABLE:
        refuse([Fault("/field", "must be one of " + ", ".join(CORRECTABLE))])
    refuse([Fault("/value", fault.rule) for fault in CORRECTABLE[field](after)])


def place_faults(region_code: str | None, group_parent_uscc: str | None) -> list[Fault]:
    """Check a region and a group's parent, where given."""
    faults = []
    if region_code is not None and not is_region(region_code):
        faults.append(Fault("/region_code", "must be a six-digit code of GB/T 2260, as 430102"))
    if group_parent_uscc is not None and not is_uscc(group_parent_uscc):
        faults.append(Fault("/group_parent_uscc", USCC_RULE))
    return faults


def refuse(faults: Sequence[Fault]) -> None:
    """Raise MemberFieldsWrong where there are faults."""
    if faults:
        raise MemberFieldsWrong(f"{len(faults)} of the fields break a rule.", *faults)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a member stood on a day."""

    state: MemberState | None
    """Null before it applied."""
    region_code: str
    group: str
    """The ultimate parent's code, its own where it is its own: members of one group are related."""


def standing_on(day: date, uscc: str, history: Iterable[MemberHistory]) -> Standing:
    """Read off a member's history how it stood on a day."""
    facts = {line.fact: line.value for line in history if line.effective_on <= day}
    state = facts.get(MemberFact.STATE)
    return Standing(
        state=MemberState(state) if state is not None else None,
        region_code=facts.get(MemberFact.REGION, ""),
        group=facts.get(MemberFact.GROUP) or uscc,
    )
