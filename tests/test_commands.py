"""Refusals and corners of the commands that the state machine meets rarely or never."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
from exchanges import (
    MORNING,
    Exchange,
    a_price,
    company_fields,
    number_of,
    offer_fields,
    refused,
    terms_of,
    version_fields,
)
from sqlmodel import Session

from exchange.access.callers import caller_of
from exchange.access.commands import CreateKey, KeyWrong
from exchange.access.tables import Person, Role
from exchange.columns import UtcDateTime
from exchange.identifiers import ListingId, MemberId, ProductId
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command, Result
from exchange.journal.events import value_commitment
from exchange.journal.queries import Moment, MomentUnknown, moment_at
from exchange.journal.schema import schema_of
from exchange.journal.statements import SQLITE
from exchange.journal.stores import StoreFailed
from exchange.journal.tables import Event, Head
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.ledger.posting import SumTooLarge, account_id
from exchange.ledger.tables import Account, AccountKind, Book
from exchange.listings.commands import (
    ApproveListing,
    AssessmentMissing,
    AssessorNotIndependent,
    DescribeVersion,
    DraftListing,
    RecordListing,
    SubmitListing,
    VersionOutOfTurn,
)
from exchange.listings.states import ListingState
from exchange.listings.tables import DataGrade, DataProduct, ProductKind
from exchange.members.commands import RecordMember, StillOpen, WithdrawMember
from exchange.members.standing import DateWrong
from exchange.members.states import MemberState
from exchange.members.tables import Member
from exchange.money import SUM_LIMIT, Money, Price
from exchange.problems import NotFound
from exchange.trades import rules
from exchange.trades.commands import (
    ApproveFiling,
    BuyerWrong,
    CancelTrade,
    ConfirmedAlready,
    ConfirmTrade,
    MonthClosed,
    ProposeTrade,
    RecordAuction,
    TakeListing,
    TerminateTrade,
)
from exchange.trades.rules import AmountWrong, TradeFieldsWrong
from exchange.trades.states import TradeState
from exchange.volume.commands import CloseMonth, MonthOutOfTurn, MonthWrong
from exchange.volume.queries import Question, Volume, cumulative, total, volumes
from exchange.volume.recording import VolumeTooLarge
from exchange.volume.tables import ClosedMonth, Closing, Dimension, Rollup, VolumeEntry


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange.in_memory() as made:
        yield made


def set_row(exchange: Exchange, model: type, key: object, **values: object) -> None:
    """Change a stored row in memory behind the journal's back."""
    schema = schema_of(model)
    table = exchange.store.records[schema]  # type: ignore[attr-defined]  # the store in memory
    row = replace(schema.row(*table[key]), **values)
    table[key] = schema.values(schema.columns)(row)
    forget(exchange)


def forget(exchange: Exchange) -> None:
    """Let the journal load anew what it kept in memory."""
    exchange.store._kept.forget()  # type: ignore[attr-defined]  # each store has it


# Members


def test_a_member_with_an_open_trade_does_not_leave_and_does_once_it_is_over(exchange: Exchange) -> None:
    sale = exchange.a_trade(TradeState.PROPOSED)
    leave = WithdrawMember(sale.buyer.id, "as it should be")
    before = exchange.dump()

    with refused(StillOpen):
        exchange.do(leave, sale.buyer.by)

    assert exchange.dump() == before
    exchange.do(CancelTrade(sale.id, "as it should be"), sale.buyer.by)
    assert exchange.do(leave, sale.buyer.by)["state"] == MemberState.WITHDRAWN


# Sums


def test_an_account_is_known_by_its_owner_and_its_place_among_sixteen() -> None:
    assert account_id(MemberId(3), Book.CONTRACTED, AccountKind.PURCHASES) == 48
    assert account_id(MemberId(3), Book.CONTRACTED, AccountKind.SALES) == 49


def test_no_account_grows_beyond_what_can_be_counted(exchange: Exchange) -> None:
    seller, buyer = exchange.a_member(), exchange.a_member()
    offer = exchange.a_listing(seller)
    number = account_id(seller.id, Book.CONTRACTED, AccountKind.SALES)
    set_row(exchange, Account, number, credits_posted=SUM_LIMIT - 1)
    before = exchange.dump()

    with pytest.raises(SumTooLarge):
        exchange.a_taken_listing(buyer, offer)

    assert exchange.dump() == before
    set_row(exchange, Account, number, credits_posted=SUM_LIMIT - 106_000)
    exchange.a_taken_listing(buyer, offer)
    assert max(account.credits_posted for account in exchange.records(Account)) == SUM_LIMIT


def test_the_volume_does_not_grow_beyond_what_can_be_counted(exchange: Exchange) -> None:
    buyer, offer = exchange.a_member(), exchange.a_listing()
    set_row(exchange, Head, 1, contracted_gross=SUM_LIMIT - 1)
    before = exchange.dump()

    with pytest.raises(VolumeTooLarge):
        exchange.a_taken_listing(buyer, offer)

    assert exchange.dump() == before


def test_what_is_refused_takes_back_its_own_part_of_a_sum_alone(exchange: Exchange) -> None:
    buyer, offer = exchange.a_member(), exchange.a_listing()
    set_row(exchange, Head, 1, contracted_gross=SUM_LIMIT - 106_000)
    take = TakeListing(offer.id, 1, a_price(), "use")

    taken, too_much = exchange.batch([(take, buyer.by, None), (take, buyer.by, None)])

    assert isinstance(taken, Answer)
    assert isinstance(too_much, VolumeTooLarge)
    assert {(row.gross, row.trades) for row in exchange.records(Rollup)} == {(106_000, 1)}


# Members, keys and listings


def test_an_old_membership_does_not_overlap_the_one_before_it(exchange: Exchange) -> None:
    withdrawn = exchange.a_member(MemberState.WITHDRAWN)
    yesterday = exchange.today - timedelta(days=1)

    with pytest.raises(DateWrong):
        exchange.do(RecordMember(withdrawn.uscc, company_fields(), yesterday, yesterday), exchange.operator())


def test_no_two_keys_have_one_secret(exchange: Exchange) -> None:
    exchange.do(CreateKey(Role.AUDITOR, "Chen", "a" * 64), exchange.operator())

    with pytest.raises(KeyWrong):
        exchange.do(CreateKey(Role.REGULATOR, "Zhao", "a" * 64), exchange.operator())


def test_a_listing_is_not_approved_for_a_day_before_the_one_it_replaces(exchange: Exchange) -> None:
    first = exchange.a_listing(state=ListingState.IN_REVIEW)
    version = exchange.do(DescribeVersion(first.product_id, version_fields()), first.owner.by)
    draft = DraftListing(number_of(version["id"]), offer_fields())  # type: ignore[arg-type]  # the version's number
    second = ListingId(number_of(exchange.do(draft, first.owner.by)["id"]))
    exchange.do(SubmitListing(second, "ready"), first.owner.by)
    exchange.wait(days=3)
    exchange.do(ApproveListing(first.id, "fine"), exchange.operator())

    with pytest.raises(VersionOutOfTurn):
        exchange.do(ApproveListing(second, "fine", exchange.today - timedelta(days=1)), exchange.operator())
    assert exchange.do(ApproveListing(second, "fine"), exchange.operator())["state"] == "listed"


def test_a_listing_that_was_never_public_is_not_there_for_others(exchange: Exchange) -> None:
    buyer = exchange.a_member()
    for state in (ListingState.DRAFT, ListingState.IN_REVIEW, ListingState.REJECTED):
        offer = exchange.a_listing(state=state)
        with pytest.raises(NotFound):
            exchange.do(ProposeTrade(offer.id, terms_of()), buyer.by)


# Trades


def test_a_seller_names_a_buyer_that_there_is(exchange: Exchange) -> None:
    offer = exchange.a_listing()

    with pytest.raises(BuyerWrong):
        exchange.do(ProposeTrade(offer.id, terms_of(), MemberId(4711)), offer.owner.by)


def test_an_auction_of_nothing_is_not_found(exchange: Exchange) -> None:
    buyer = exchange.a_member()

    with pytest.raises(NotFound):
        exchange.do(RecordAuction(ListingId(4711), buyer.id, terms_of(), exchange.today), exchange.operator())


def test_a_filing_is_not_received_before_it_was_made(exchange: Exchange) -> None:
    sale = exchange.a_trade(TradeState.FILED)
    exchange.do(ConfirmTrade(sale.id), sale.buyer.by)
    yesterday = exchange.today - timedelta(days=1)

    with pytest.raises(TradeFieldsWrong):
        exchange.do(ApproveFiling(sale.id, "fine", yesterday), exchange.operator())


def test_a_trade_does_not_end_before_it_began_nor_in_a_closed_month(exchange: Exchange) -> None:
    sale = exchange.a_trade()
    began = exchange.today

    with pytest.raises(TradeFieldsWrong):
        exchange.do(TerminateTrade(sale.id, "void", began - timedelta(days=1)), exchange.operator())
    exchange.wait(days=40)
    exchange.do(CloseMonth(began.replace(day=1)), exchange.operator())
    with pytest.raises(MonthClosed):
        exchange.do(TerminateTrade(sale.id, "void", began), exchange.operator())
    assert exchange.do(TerminateTrade(sale.id, "void"), exchange.operator())["state"] == "terminated"


def test_a_contract_number_is_not_taken_for_the_id_of_a_trade() -> None:
    with refused(TradeFieldsWrong, "/contract_number"):
        TakeListing(ListingId(1), 1, Price(Money(1), Money(0), Money(1)), "use", contract_number="trd_000000000042")


def test_vat_is_not_negative() -> None:
    with pytest.raises(AmountWrong) as refused:
        rules.check_price(Price(net=Money(10), vat=Money(-1), gross=Money(9)))

    assert [fault.pointer for fault in refused.value.faults] == ["/vat"]


# Months


def test_months_are_closed_in_turn_each_when_it_is_over(exchange: Exchange) -> None:
    operator, march = exchange.operator(), date(2026, 3, 1)
    exchange.now = MORNING.replace(day=31)

    with refused(MonthWrong):
        exchange.do(CloseMonth(march), operator)
    with refused(MonthWrong, "/month"):
        CloseMonth(date(2026, 2, 2))
    exchange.do(CloseMonth(date(2025, 12, 1)), operator)
    for out_of_turn in (date(2025, 12, 1), date(2025, 11, 1), date(2026, 2, 1)):
        with refused(MonthOutOfTurn):
            exchange.do(CloseMonth(out_of_turn), operator)
    exchange.do(CloseMonth(date(2026, 1, 1)), operator)
    exchange.do(CloseMonth(date(2026, 2, 1)), operator)
    exchange.wait(days=1)
    closed = exchange.do(CloseMonth(march), operator)

    assert (closed["month"], closed["closed_through"]) == ("2026-03", "2026-03-31")
    assert [(row.month, row.closed_on) for row in exchange.records(ClosedMonth)][-1] == (march, date(2026, 4, 1))
    assert [row.closed_through for row in exchange.records(Closing)] == [date(2026, 3, 31)]
    leaf = exchange.leaves()[-1]
    assert (leaf["kind"], leaf["facts"], leaf["parties"]) == ("month.closed", {"month": "2026-03"}, [])


# Figures


def test_one_members_volume_is_known_as_at_a_past_position(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        sale = exchange.a_taken_listing()
        then = exchange.position
        exchange.a_taken_listing(sale.buyer, sale.offer)
        asked = Question(exchange.today, dimension=Dimension.BUYER, value=str(sale.buyer.id))

        def net_at(session: Session, known_at: int | None) -> Money:
            return cumulative(session, moment_at(session, known_at), asked)[str(sale.buyer.id)].net

        found = [exchange.read(net_at, known_at) for known_at in (then, then + 1, None)]

    assert found == [106_000, 212_000, 212_000]


VALUE_OF: dict[Dimension, Callable[[Any], str]] = {
    Dimension.TOTAL: lambda _: "",
    Dimension.VENUE: lambda entry: str(entry.venue),
    Dimension.RELATED: lambda _: "related",
    Dimension.CUBE: lambda entry: "|".join(
        (
            entry.sector,
            entry.kind,
            entry.region[:2],
            entry.venue,
            entry.mode,
            "related" if entry.related else "unrelated",
        )
    ),
    Dimension.BUYER: lambda entry: str(entry.buyer_id),
    Dimension.SELLER: lambda entry: str(entry.seller_id),
    Dimension.PRODUCT: lambda entry: str(entry.product_id),
}


def summed(entries: list[Any], question: Question, position: int) -> dict[str, Volume]:
    """Answer a question about the volume from the entries alone."""
    found: dict[str, Volume] = {}
    for entry in entries:
        value = VALUE_OF[question.dimension](entry)
        inside = (question.since or entry.effective_on) <= entry.effective_on <= question.as_of
        asked = question.dimension is not Dimension.RELATED or entry.related
        if entry.position <= position and inside and asked and question.value in {None, value}:
            counted = entry.gross > 0
            moved = (max(entry.gross, 0), max(-entry.gross, 0), entry.net_excluding_vat, 1 if counted else -1)
            held = found.get(value, Volume(Money(0), Money(0), Money(0), 0))
            sums = (held.gross, held.reversed, held.net_excluding_vat, held.trades)
            found[value] = Volume(*(a + b for a, b in zip(sums, moved, strict=True)))
    return found


def test_every_question_about_the_volume_is_answered_as_the_entries_say(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        group = exchange.a_company().uscc
        seller, buyer = exchange.a_member(group_parent_uscc=group), exchange.a_member(group_parent_uscc=group)
        offer = exchange.a_listing(seller)
        first = exchange.today
        exchange.a_taken_listing(buyer, offer, 2)
        early = exchange.a_taken_listing(offer=exchange.a_listing())
        exchange.wait(days=1)
        exchange.do(TerminateTrade(early.id, "void"), exchange.operator())
        exchange.a_trade(TradeState.REVERSED, offer=offer, terms=terms_of("A", 300))
        exchange.a_trade(TradeState.CONTRACTED, buyer, offer, terms_of("B", 5_000), first)
        exchange.a_trade(TradeState.TERMINATED, buyer, offer, terms_of("C", 70_000))
        exchange.wait(days=1)
        exchange.a_taken_listing(exchange.a_member(region_code="110101"), exchange.a_listing())
        exchange.a_taken_listing(buyer, offer)
        entries = exchange.records(VolumeEntry)
        assert {entry.number for entry in entries} == {1}
        days = [first + timedelta(days=n) for n in range(-1, 3)]
        positions = [entries[1].position - 1, *(entry.position for entry in entries[2::3]), exchange.position]
        values: dict[Dimension, list[str | None]] = {
            Dimension.BUYER: [str(buyer.id), str(seller.id)],
            Dimension.SELLER: [str(seller.id)],
            Dimension.PRODUCT: [str(offer.product_id)],
        }

        def answers(session: Session) -> None:
            for position in positions:
                moment = moment_at(session, position)
                for as_of, since, dimension in product(days[:3], [None, *days[1:3]], Dimension):
                    for value in [None, *values.get(dimension, [])]:
                        question = Question(as_of, since, dimension, value)
                        assert cumulative(session, moment, question) == summed(entries, question, position), question
                flow = total(session, moment, days[2], days[2]).net
                assert flow == sum(e.gross for e in entries if e.position <= position and e.effective_on == days[2])
                assert total(session, moment, days[-1]).net == sum(e.gross for e in entries if e.position <= position)

        assert [by for by in Dimension if len({VALUE_OF[by](entry) for entry in entries}) == 1] == ["total", "related"]
        exchange.read(answers)


def test_every_question_over_months_is_answered_as_the_entries_say(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        group = exchange.a_company().uscc
        seller, buyer = exchange.a_member(group_parent_uscc=group), exchange.a_member(group_parent_uscc=group)
        offer = exchange.a_listing(seller)
        first = exchange.today
        for days in (0, 29, 1, 27, 2):  # 2, 31 March, 1, 28, 30 April
            exchange.wait(days=days)
            exchange.a_taken_listing(buyer, offer)
            filed = exchange.a_trade(TradeState.CONTRACTED, buyer, offer, terms_of(f"late {exchange.today}"), first)
            exchange.do(TerminateTrade(filed.id, "void"), exchange.operator())
            exchange.a_taken_listing(offer=offer)
        entries = exchange.records(VolumeEntry)
        days_asked = [first.replace(day=1), first, first + timedelta(days=7), date(2026, 3, 31), date(2026, 4, 1)]
        days_asked += [date(2026, 4, 15), date(2026, 4, 28), exchange.today]
        values = {Dimension.BUYER: buyer.id, Dimension.SELLER: seller.id, Dimension.PRODUCT: offer.product_id}

        def answers(session: Session) -> None:
            for entry in entries[1:]:
                moment = moment_at(session, entry.position)
                for dimension in Dimension:
                    value = str(values[dimension]) if dimension in values else None
                    found = volumes(session, moment, days_asked, [dimension], value=value)
                    for day in days_asked:
                        expected = summed(entries, Question(day, None, dimension, value), entry.position)
                        assert {key[1]: one for key, one in found[day].items()} == expected, (day, dimension)
            for as_of, since in product(days_asked, days_asked):
                question = Question(as_of, since, Dimension.BUYER)
                assert cumulative(session, moment_at(session, None), question) == summed(
                    entries, question, entries[-1].position
                )

        exchange.read(answers)


def test_a_moment_is_known_by_position_by_instant_or_as_the_present(database_url: str) -> None:
    with Exchange.at(database_url) as exchange:
        operator = exchange.operator()
        for day in range(3):
            exchange.wait(hours=1)
            keys = [CreateKey(Role.AUDITOR, f"Chen {10 * day + n}", f"{10 * day + n:064x}") for n in range(70, 73)]
            assert all(isinstance(made, Answer) for made in exchange.batch([(key, operator, None) for key in keys]))
        batches = exchange.batches()
        assert [batch.last - batch.first for batch in batches][-3:] == [2, 2, 2]
        last = batches[-1]

        def at(known_at: int | datetime | None) -> Moment:
            return exchange.read(moment_at, known_at)

        assert at(None) == Moment(last.last, last.recorded_at)
        for batch in batches:
            assert at(batch.recorded_at) == Moment(batch.last, batch.recorded_at)
            for position in range(batch.first, batch.last + 1):
                assert at(position) == Moment(position, batch.recorded_at)
        for batch in batches[:-1]:
            assert at(batch.recorded_at + timedelta(seconds=1)) == Moment(batch.last, batch.recorded_at)
        for unknown in (
            0,
            -1,
            last.last + 1,
            last.recorded_at + timedelta(microseconds=1),
            datetime(1969, 1, 1, tzinfo=UTC),
        ):
            with refused(MomentUnknown, "/known_at"):
                at(unknown)


# The journal's own corners


@dataclass(frozen=True, slots=True)
class Blind(Command):
    """Inserts a product without looking whether there is one."""

    allowed: ClassVar = frozenset({Role.OPERATOR})
    id: int | None
    code: str

    def needs(self, work: UnitOfWork) -> Needs:
        yield from ()

    def decide(self, work: UnitOfWork) -> Result:
        work.insert(
            DataProduct,
            id=ProductId(self.id or work.position),
            owner_id=MemberId(1),
            code=self.code,
            kind=ProductKind.API,
            versions=0,
            current_listing_id=None,
            changed_at=work.position,
        )
        work.tell("test.done")
        return {"id": self.code}


@pytest.mark.parametrize("second", [Blind(7, "B"), Blind(None, "A")])
def test_the_store_in_memory_keeps_keys_unique_as_databases_do(exchange: Exchange, second: Command) -> None:
    operator = exchange.operator()
    exchange.do(Blind(7, "A"), operator)
    forget(exchange)

    with pytest.raises(StoreFailed, match=r"data_product has this .+ already"):
        exchange.do(second, operator)


@dataclass(frozen=True, slots=True)
class Forgetful(Command):
    """Asks for one thing, decides on another, and fails when it is asked again what it needs."""

    allowed: ClassVar = frozenset({Role.OPERATOR})

    def needs(self, work: UnitOfWork) -> Needs:
        if work.has(Need(Member, 1)):
            raise ZeroDivisionError
        yield [Need(Member, 1)]

    def decide(self, work: UnitOfWork) -> Result:
        return {"id": str(work.get(Member, 2).id)}


def test_a_command_whose_needs_fail_the_second_time_fails_alone(exchange: Exchange) -> None:
    operator = exchange.operator()

    outcomes = exchange.batch([(Forgetful(), operator, None), (Blind(None, "A"), operator, None)])

    assert isinstance(outcomes[0], ZeroDivisionError)
    assert isinstance(outcomes[1], Answer)


@dataclass(frozen=True, slots=True)
class Resalt(Command):
    """Changes only what no event may hold."""

    allowed: ClassVar = frozenset({Role.OPERATOR})
    person_id: int

    def needs(self, work: UnitOfWork) -> Needs:
        yield [Need(Person, self.person_id)]

    def decide(self, work: UnitOfWork) -> Result:
        person = work.get(Person, self.person_id)
        work.change(person, salt=work.chance(16))
        work.tell("test.resalted")
        return {"id": str(person.id)}


def test_a_change_of_untold_columns_alone_tells_no_row(exchange: Exchange) -> None:
    operator = exchange.operator()
    assert operator.person_id is not None

    exchange.do(Resalt(operator.person_id), operator)

    assert exchange.leaves()[-1]["rows"] == []
    assert exchange.records(Event)[-1].kind == "test.resalted"


def test_names_are_committed_to_with_their_salt(exchange: Exchange) -> None:
    exchange.operator()

    for person in exchange.records(Person):
        assert person.name_commitment == value_commitment(person.salt, person.name)
        assert person.name_commitment != value_commitment(bytes(16), person.name)


def test_a_database_without_a_schema_fails_the_job(tmp_path: Path) -> None:
    with Exchange.in_memory() as other:
        operator = other.operator()
    with Exchange.on_sqlite(tmp_path / "empty.db") as exchange:
        [outcome] = exchange.batch([(Blind(None, "A"), operator, None)])

    assert isinstance(outcome, StoreFailed)
    assert "no such table" in str(outcome)


def test_a_missing_instant_stays_missing() -> None:
    column = UtcDateTime()

    assert column.process_bind_param(None, SQLITE) is None
    assert column.process_result_value(None, SQLITE) is None


def test_a_member_key_acts_for_its_company_and_staff_for_itself() -> None:
    member = caller_of(2, Role.MEMBER, "91430104DEM1000017", 2)  # type: ignore[arg-type]  # plain numbers
    staff = caller_of(3, Role.OPERATOR, None, 3)  # type: ignore[arg-type]  # plain numbers

    assert (member.holder, staff.holder) == ("company:91430104DEM1000017", "person:3")
    assert Caller.SYSTEM.person_id is None


def test_who_is_of_the_owners_group_does_not_assess_its_versions(exchange: Exchange) -> None:
    group = exchange.a_company().uscc
    owner = exchange.a_member(group_parent_uscc=group)
    kin = exchange.a_member(roles=("service_org",), group_parent_uscc=group)
    _, version_id = exchange.a_version(owner)

    with refused(AssessorNotIndependent):
        exchange.an_assessment(version_id, by=kin)
    exchange.an_assessment(version_id)


def test_important_data_of_old_was_assessed_too(exchange: Exchange) -> None:
    owner = exchange.a_member()
    important = version_fields(grade=DataGrade.IMPORTANT)
    record = RecordListing(
        owner.uscc, "P-1", ProductKind.API, 1, important, offer_fields(), exchange.today, exchange.today
    )

    with refused(AssessmentMissing):
        exchange.do(record, exchange.operator())


def test_a_filing_is_confirmed_once(exchange: Exchange) -> None:
    filed = exchange.a_trade(TradeState.FILED)
    exchange.do(ConfirmTrade(filed.id), filed.buyer.by)

    with refused(ConfirmedAlready):
        exchange.do(ConfirmTrade(filed.id), filed.buyer.by)
