"""What is stored of those who act."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import CheckConstraint, Index, UniqueConstraint

from exchange.columns import BIG, BYTES, DAY, INSTANT, TEXT, TEXTS, Sort, Stored, Told, column, named, one_of
from exchange.identifiers import KeyId, MemberId, PersonId, ProposalId


class Role(StrEnum):
    """What a key is for."""

    MEMBER = "member"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    REGULATOR = "regulator"


READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR, Role.REGULATOR})
"""Roles that see every member's affairs."""
EVERYBODY: Final = READERS | {Role.MEMBER}
"""All roles: a member sees its own affairs, and what is public among members."""


class Scope(StrEnum):
    """What a key may be restricted to."""

    READ = "read"
    """All that is read but keys."""
    MEMBERSHIP = "membership"
    """Applications, and what becomes of members."""
    CATALOGUE = "catalogue"
    """Products, versions, assessments, listings."""
    TRADES = "trades"
    """Trades, filings, auctions, and the months in which they count."""
    KEYS = "keys"
    """Keys: to see, make and revoke them."""


SCOPES_OF: Final[dict[Role, frozenset[Scope]]] = {
    Role.MEMBER: frozenset(Scope),
    Role.OPERATOR: frozenset(Scope),
    Role.AUDITOR: frozenset({Scope.READ}),
    Role.REGULATOR: frozenset({Scope.READ}),
}
"""What a key of each role is for where it is not restricted, and what it can be restricted to."""


class Person(Stored, table=True):
    """A human being who acts for an organisation. The name is erasable; events hold a commitment to it."""

    __table_args__ = (
        UniqueConstraint("organisation", "name"),
        CheckConstraint("(name IS NULL) = (salt IS NULL)", name="erased_together"),
    )
    sort: ClassVar = Sort.CURRENT
    untold: ClassVar = frozenset({"name", "salt"})

    id: PersonId = column(BIG, primary_key=True)
    organisation: str = column(TEXT)
    """`exchange`, `regulator`, or a company's uscc."""
    name_commitment: str = column(TEXT)
    name: str | None = column(TEXT)
    salt: bytes | None = column(BYTES)


class KeyState(StrEnum):
    """Whether a key opens anything."""

    ACTIVE = "active"
    REVOKED = "revoked"


class ApiKey(Stored, table=True):
    """A key, by the hash of its secret."""

    __table_args__ = (
        UniqueConstraint("secret_sha256"),
        Index(None, "uscc", "id"),
        Index(None, "person_id"),
        one_of("role", Role),
        one_of("state", KeyState),
        CheckConstraint("(role = 'member') = (uscc IS NOT NULL)", name="members_have_a_company"),
    )
    sort: ClassVar = Sort.CURRENT
    untold: ClassVar = frozenset({"secret_sha256"})
    kept: ClassVar = True
    lists: ClassVar = (("person_id",),)

    id: KeyId = column(BIG, primary_key=True)
    secret_sha256: str = column(TEXT)
    role: Role = column(named(Role))
    uscc: str | None = column(TEXT)
    """The company for which it acts; it need not be a member yet: with this key it applies."""
    person_id: PersonId = column(BIG, foreign_key="person.id")
    state: KeyState = column(named(KeyState))


class KeyTerms(Stored, table=True):
    """What a key is restricted to, from its making on. A key without a row has no name, no end, and all scopes of its role."""

    sort: ClassVar = Sort.CURRENT
    untold: ClassVar = frozenset({"name"})

    key_id: KeyId = column(BIG, primary_key=True, foreign_key="api_key.id")
    name: str | None = column(TEXT)
    """What its holder calls it; kept out of events, for people write names into it."""
    scopes: tuple[str, ...] | None = column(TEXTS)
    expires_on: date | None = column(DAY)
    """The last day on which it opens anything."""


class KeyUse(Stored, table=True):
    """When a key was used last, to about a minute: written beside the journal, not by it."""

    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.NEVER

    key_id: KeyId = column(BIG, primary_key=True, foreign_key="api_key.id")
    used_at: datetime = column(INSTANT)


OFFICE_ID: Final = 1


class Office(Stored, table=True):
    """How many operators' keys were ever made: one row, absent until the first, who alone needs no key to be made."""

    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)
    sort: ClassVar = Sort.CURRENT
    told: ClassVar = Told.AS_IS

    id: int = column(BIG, primary_key=True)
    operator_keys: int = column(BIG)


class ProposalKind(StrEnum):
    """What needs two."""

    REVERSAL = "reversal"
    TERMINATION = "termination"
    EXPULSION = "expulsion"
    READMISSION = "readmission"


class ProposalState(StrEnum):
    """Whether the second one has agreed."""

    OPEN = "open"
    APPROVED = "approved"


class Proposal(Stored, table=True):
    """What one person proposed, for another to approve while its subject stays as it is."""

    __table_args__ = (one_of("kind", ProposalKind), one_of("state", ProposalState), Index(None, "state", "id"))
    sort: ClassVar = Sort.CURRENT

    id: ProposalId = column(BIG, primary_key=True)
    kind: ProposalKind = column(named(ProposalKind))
    subject: str = column(TEXT)
    """The id of the trade or member, or the uscc of the company."""
    reason: str = column(TEXT)
    effective_on: date | None = column(DAY)
    proposed_on: date = column(DAY)
    proposed_by: PersonId = column(BIG, foreign_key="person.id")
    proposing_member_id: MemberId | None = column(BIG)
    state: ProposalState = column(named(ProposalState))
    approved_by: PersonId | None = column(BIG)
    approved_at: int | None = column(BIG)


class Correction(Stored, table=True):
    """A typo that was mended in something recorded: what stood there before, and what stands there since."""

    __table_args__ = (Index(None, "subject", "position"),)
    sort: ClassVar = Sort.POSTED

    position: int = column(BIG, primary_key=True)
    subject: str = column(TEXT)
    """The written id of what was corrected."""
    field: str = column(TEXT)
    before: str | None = column(TEXT)
    after: str | None = column(TEXT)
    reason: str = column(TEXT)
