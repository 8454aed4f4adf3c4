"""What is stored of member companies."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index

from exchange.columns import BIG, BYTES, DAY, FLAG, TEXT, TEXTS, Sort, Stored, Told, column, named, one_of, sparse_index
from exchange.identifiers import MemberId, ProposalId
from exchange.members.states import MemberState


class MemberRole(StrEnum):
    """What a member does on the exchange."""

    PROVIDER = "provider"
    CONSUMER = "consumer"
    SERVICE_ORG = "service_org"


class Company(Stored, table=True):
    """A company that has ever applied, by its code, which outlives names and memberships."""

    __table_args__ = (CheckConstraint("length(uscc) = 18", name="uscc_length"), sparse_index("readmission_id"))
    sort: ClassVar = Sort.CURRENT
    kept: ClassVar = True

    uscc: str = column(TEXT, primary_key=True)
    member_id: MemberId = column(BIG)
    """Its latest membership."""
    live: bool = column(FLAG)
    """Whether that membership is: one live membership per company."""
    barred: bool = column(FLAG)
    """Expelled, and not readmitted."""
    readmission_id: ProposalId | None = column(BIG)
    changed_at: int = column(BIG)


class Member(Stored, table=True):
    """A membership."""

    __table_args__ = (
        one_of("state", MemberState),
        CheckConstraint("open_trades >= 0", name="open_trades_not_negative"),
        Index(None, "uscc"),
        Index(None, "state", "id"),
        sparse_index("expulsion_id"),
    )
    sort: ClassVar = Sort.CURRENT
    kept: ClassVar = True
    lists: ClassVar = (("uscc",),)

    id: MemberId = column(BIG, primary_key=True)
    uscc: str = column(TEXT, foreign_key="company.uscc")
    state: MemberState = column(named(MemberState))
    legal_name: str = column(TEXT)
    short_name: str = column(TEXT)
    address: str = column(TEXT)
    region_code: str = column(TEXT)
    """GB/T 2260, six digits."""
    industry_code: str = column(TEXT)
    """GB/T 4754."""
    roles: tuple[str, ...] = column(TEXTS)
    group_parent_uscc: str | None = column(TEXT)
    """The ultimate parent's code; null where the company is its own."""
    evidence: tuple[str, ...] = column(TEXTS)
    """SHA-256 of each document."""
    applied_on: date = column(DAY)
    changed_on: date = column(DAY)
    """The latest business date of any change in its history: from it on, the row says how the member stands."""
    open_trades: int = column(BIG)
    """Trades proposed, confirmed or filed, on either side."""
    expulsion_id: ProposalId | None = column(BIG)
    changed_at: int = column(BIG)


class MemberFact(StrEnum):
    """What of a member has a history."""

    STATE = "state"
    REGION = "region"
    GROUP = "group"
    NAME = "name"


class MemberHistory(Stored, table=True):
    """One change, by business date and position. Both only grow, for each member."""

    __table_args__ = (
        one_of("fact", MemberFact),
        Index(None, "member_id", "position", "number"),
        Index(None, "fact", "effective_on"),
    )
    sort: ClassVar = Sort.POSTED
    lists: ClassVar = (("member_id",),)

    position: int = column(BIG, primary_key=True)
    number: int = column(BIG, primary_key=True)
    member_id: MemberId = column(BIG, foreign_key="member.id")
    fact: MemberFact = column(named(MemberFact))
    value: str = column(TEXT)
    effective_on: date = column(DAY)


class MemberTerm(Stored, table=True):
    """Something by whose beginning a member is found: the rest of a name from each character on, and the same of its pinyin initials.

    And what its whole names look like (`names.LOOK`), by which others that look the same are found.
    """

    __table_args__ = (Index(None, "member_id"),)
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.NEVER
    lists: ClassVar = (("member_id",),)

    term: str = column(TEXT, primary_key=True)
    member_id: MemberId = column(BIG, primary_key=True, foreign_key="member.id")


class PersonalFact(StrEnum):
    """What of a member is personal."""

    LEGAL_REPRESENTATIVE = "legal_representative"
    CONTACT = "contact"


class PersonalDatum(Stored, table=True):
    """A personal value with its salt, both erasable; events hold the commitment to it."""

    __table_args__ = (
        one_of("fact", PersonalFact),
        CheckConstraint("(value IS NULL) = (salt IS NULL)", name="erased_together"),
    )
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.AS_IS
    untold: ClassVar = frozenset({"value", "salt"})
    lists: ClassVar = (("member_id",),)

    member_id: MemberId = column(BIG, primary_key=True, foreign_key="member.id")
    fact: PersonalFact = column(named(PersonalFact), primary_key=True)
    position: int = column(BIG, primary_key=True)
    commitment: str = column(TEXT)
    value: str | None = column(TEXT)
    salt: bytes | None = column(BYTES)
