"""What a company may see: of each table which rows, in one place. A member's read is limited by it, whatever it asks.

On PostgreSQL row-level security says the same of the role that such a read takes on, where there is one; a test holds the two to each other.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    bindparam,
    case,
    cast,
    event,
    exists,
    false,
    inspect,
    select,
    true,
)
from sqlalchemy.engine import Result
from sqlalchemy.orm import ORMExecuteState, with_loader_criteria
from sqlmodel import Session

from exchange.access.tables import ApiKey, KeyTerms, KeyUse
from exchange.agents.tables import Mandate
from exchange.columns import Stored
from exchange.database import Database
from exchange.journal.tables import Batch, Event, PartyEvent
from exchange.ledger.tables import Account
from exchange.listings.states import ListingState
from exchange.listings.tables import DataProduct, Listing, ProductVersion
from exchange.members.states import ADMITTED
from exchange.members.tables import Member, MemberTerm
from exchange.trades.tables import Trade
from exchange.volume.tables import Dimension, MonthlyRollup, Rollup, VolumeEntry

T = TypeVar("T")
P = ParamSpec("P")
Row = Any
"""A table's entity, or an alias of it: of its rows it is said which are seen."""
Condition = ColumnElement[bool]

COMPANY: Final = "seeing_company"
"""The parameter in which each statement of a member's read is given the company's code."""


FIRST: Final = 1
"""The position of the event with which every exchange begins: everybody may know it."""


class Unlimited(Exception):  # noqa: N818 - reads as what it is
    """A member's read may ask only for what can be limited: entities and their columns, and no text of SQL."""


# Tables, and no entities: what these select is not limited once more.
_member: Final = Stored.metadata.tables["member"].alias("own_member")
_key: Final = Stored.metadata.tables["api_key"].alias("own_key")
_party: Final = Stored.metadata.tables["party_event"].alias("own_event")
_product: Final = Stored.metadata.tables["data_product"].alias("own_product")
_listing: Final = Stored.metadata.tables["listing"].alias("shown_listing")

_company: Final = bindparam(COMPANY, type_=Text())
_own: Final = select(_member.c.id).where(_member.c.uscc == _company)
"""The company's memberships."""


def _either(one: Condition, other: Condition) -> Condition:
    # A CASE, and no OR, for which a database would leave the walk along an index that the question was made for.
    return case((one, True), else_=other)


def _of_owner(row: Row) -> Condition:
    seen: Condition = row.owner_id.in_(_own)
    return seen


def _of_member(row: Row) -> Condition:
    seen: Condition = row.member_id.in_(_own)
    return seen


def _of_key(row: Row) -> Condition:
    holder = select(_key.c.uscc).where(_key.c.id == row.key_id).correlate(row).scalar_subquery()
    return holder == _company


def _of_parties(row: Row) -> Condition:
    return _either(row.buyer_id.in_(_own), row.seller_id.in_(_own))


def _of_those_told(row: Row) -> Condition:
    told = exists().where(_party.c.position == row.position, _party.c.member_id.in_(_own)).correlate(row)
    return _either(row.position == FIRST, told)


def _of_either_side(row: Row) -> Condition:
    own = select(cast(_member.c.id, Text)).where(_member.c.uscc == _company)
    seen: Condition = row.dimension.in_([Dimension.BUYER, Dimension.SELLER]) & row.value.in_(own)
    return seen


def _owned_or_listed(row: Row) -> Condition:
    return _either(row.state == ListingState.LISTED, row.owner_id.in_(_own))


def _owned_or_sold(row: Row) -> Condition:
    current = select(_listing.c.state).where(_listing.c.id == row.current_listing_id).correlate(row)
    return _either(row.owner_id.in_(_own), current.scalar_subquery() == ListingState.LISTED)


def _described(row: Row) -> Condition:
    owner = select(_product.c.owner_id).where(_product.c.id == row.product_id).correlate(row).scalar_subquery()
    listed = exists().where(_listing.c.version_id == row.id, _listing.c.state == ListingState.LISTED).correlate(row)
    return _either(owner.in_(_own), listed)


def _admitted_or_own(row: Row) -> Condition:
    # Whoever was admitted is named for ever as a party or an owner; who has applied is nobody else's affair.
    return _either(row.state.in_(sorted(ADMITTED)), row.uscc == _company)


def _named(row: Row) -> Condition:
    return exists().where(_member.c.id == row.member_id, _admitted_or_own(_member.c)).correlate(row)


VISIBLE: Final[dict[type[Stored], Callable[[Row], Condition]]] = {
    Account: _of_owner,
    ApiKey: lambda row: row.uscc == _company,
    Batch: lambda _: true(),
    DataProduct: _owned_or_sold,
    Event: _of_those_told,
    KeyTerms: _of_key,
    KeyUse: _of_key,
    Listing: _owned_or_listed,
    Mandate: lambda row: _either(row.principal_uscc == _company, row.agent_uscc == _company),
    Member: _admitted_or_own,
    MemberTerm: _named,
    MonthlyRollup: _of_either_side,
    PartyEvent: _of_member,
    ProductVersion: _described,
    Rollup: _of_either_side,
    Trade: _of_parties,
    VolumeEntry: _of_parties,
}
"""By table, the rows that a company sees. Of all other tables it sees none."""


TABLES: Final = frozenset(str(table.__tablename__) for table in VISIBLE)
"""Their names."""


def seen(row: Row) -> Condition:
    """Say which rows of an entity, or of an alias of one, a company sees."""
    found = inspect(row, raiseerr=False)
    rule = None if found is None else VISIBLE.get(found.mapper.class_)
    return false() if rule is None else rule(row)


def _limits(rule: Callable[[Row], Condition]) -> Any:
    # A closure that is not tracked: the rule is asked once for each shape of statement, and holds nothing but what is always the same.
    return with_loader_criteria(
        Stored,
        lambda row: rule(row),  # noqa: PLW0108 - a plain function would be tracked
        include_aliases=True,
        track_closure_variables=False,
    )


LIMITS: Final = _limits(seen)
"""What is added to every statement, for each table that it names, wherever it names it."""


class CompanySession(Session):
    """A session that sees what a company may see, and nothing else."""

    def __init__(self, company: str, connection: Connection) -> None:
        """Take the company's code."""
        super().__init__(connection)
        self.company = company


@event.listens_for(CompanySession, "do_orm_execute")
def limited(state: ORMExecuteState) -> Result[Any]:
    """Run a statement with all its tables limited. Raises Unlimited."""
    session = state.session
    assert isinstance(session, CompanySession)
    if not state.is_orm_statement or not state.is_select:
        raise Unlimited("a member's read asks for what cannot be limited")
    state.parameters = {**(state.parameters or {}), COMPANY: session.company}  # type: ignore[dict-item]
    return state.invoke_statement(statement=state.statement.options(LIMITS))


async def read_for(
    database: Database,
    company: str | None,
    query: Callable[Concatenate[Session, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a query on one snapshot, of which a company sees its part; staff and regulators (None) see all."""
    if company is None:
        return await database.read(query, *args, **kwargs)
    return await database.read_as(company, partial(CompanySession, company), query, *args, **kwargs)
