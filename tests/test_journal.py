"""The journal: one position and one event for each accepted command, whatever fails around it."""

import asyncio
import gc
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import orjson
import pytest
import rfc8785
from exchanges import MORNING, Exchange, Party, a_price, assert_well_said, company_fields, refused, terms_of
from hypothesis import given
from hypothesis import strategies as st

from exchange.access.callers import caller_of
from exchange.access.commands import RevokeKey
from exchange.access.tables import ApiKey, Role
from exchange.clock import instant_text
from exchange.columns import Sort, Stored
from exchange.database import Database, connect_sqlite
from exchange.identifiers import KeyId, MemberId, PersonId, TradeId
from exchange.journal import batch as journal_batch
from exchange.journal import postgres, statements
from exchange.journal import work as journal_work
from exchange.journal.asks import Add, Ask, Change, Insert, Load
from exchange.journal.batch import ClockBehind, KeyReused, Outcome, Rehearsal
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command, Job, Result
from exchange.journal.events import (
    LEAF_LIMIT,
    NewEvent,
    TooMuchText,
    canonical,
    genesis_leaf,
    leaf_hash,
    leaf_of,
    party_commitment,
)
from exchange.journal.invariants import INVARIANTS as JOURNAL_INVARIANTS
from exchange.journal.journal import DatabaseAway, Defect, Journal, Stopping, commit
from exchange.journal.memory import MemoryStore
from exchange.journal.opening import open_store
from exchange.journal.postgres import PostgresStore
from exchange.journal.queue import SMALL, Overloaded
from exchange.journal.schema import schema_of
from exchange.journal.sqlite import SqliteStore
from exchange.journal.statements import Part
from exchange.journal.stores import StoreBusy, StoreFailed, StoreLost, StoreUnwritable
from exchange.journal.tables import Batch, Event, Head, Idempotency, PartyCounter, PartyEvent
from exchange.journal.work import Kept, Need, Needs, NotLoaded, UnitOfWork
from exchange.ledger.tables import Entry, EntryKind, Transfer
from exchange.listings.commands import RegisterProduct
from exchange.listings.tables import ProductKind
from exchange.members.commands import AdmitMember, ApplyForMembership, ReinstateMember, StartReview, SuspendMember
from exchange.members.standing import NotActive
from exchange.members.tables import Company, Member, MemberFact, MemberHistory
from exchange.money import Money
from exchange.problems import Conflict, Unauthenticated
from exchange.regulator.integrity import check
from exchange.trades.commands import ApproveFiling, ConfirmTrade, ContractTrade, ProposeTrade, TakeListing
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade
from exchange.volume.tables import Closing, Dimension, Measure, Rollup

OPERATOR = frozenset({Role.OPERATOR})


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange.in_memory() as made:
        yield made


@pytest.fixture(params=[1, 2, journal_batch.AT_ONCE])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let what so many commands insert be written before the next are decided."""
    commands: int = request.param
    monkeypatch.setattr(journal_batch, "AT_ONCE", commands)
    return commands


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    """An exchange on each store in turn."""
    if request.param == "memory":
        yield request.getfixturevalue("exchange")
        return
    with Exchange.at(request.getfixturevalue(f"{request.param}_url")) as made:
        yield made


# Commands that go wrong, each in its own way


@dataclass(frozen=True, slots=True)
class Faulty(Command):
    """Does one thing right and then one thing wrong."""

    allowed: ClassVar = OPERATOR
    uscc: str
    how: str

    def needs(self, work: UnitOfWork) -> Needs:
        if self.how == "needs":
            raise ZeroDivisionError
        yield [Need(Company, self.uscc)]

    def decide(self, work: UnitOfWork) -> Result:
        work.insert(
            Company,
            uscc="x" * 17 if self.how == "check" else self.uscc,
            member_id=MemberId(work.position),
            live=False,
            barred=False,
            readmission_id=None,
            changed_at=2**63 if self.how == "number" else work.position,
        )
        if self.how == "decide":
            raise ZeroDivisionError
        if self.how == "refuse":
            raise Conflict("Not now.")
        if self.how == "never needed":
            work.get(Member, 4711)
        if self.how != "silent":
            work.tell("test.done", text="x" * (LEAF_LIMIT if self.how == "long" else 1))
        return {"id": self.uscc}


def wishes(exchange: Exchange, *hows: str) -> list[tuple[Command, Caller, str | None]]:
    return [(Faulty(f"{number:018}", how), exchange.operator(), None) for number, how in enumerate(hows)]


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("needs", ZeroDivisionError),
        ("decide", ZeroDivisionError),
        ("refuse", Conflict),
        ("silent", AssertionError),
        ("never needed", RuntimeError),
        ("long", TooMuchText),
    ],
)
def test_a_command_that_fails_takes_only_itself_back(anywhere: Exchange, how: str, kind: type[Exception]) -> None:
    anywhere.operator()
    before = anywhere.position

    outcomes = anywhere.batch(wishes(anywhere, "fine", how, "fine"))

    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], kind)
    assert anywhere.position == before + 2
    assert [company.uscc for company in anywhere.records(Company)] == [f"{0:018}", f"{2:018}"]


@pytest.mark.parametrize("how", ["check", "number"])
def test_a_command_that_the_database_refuses_fails_alone_by_halves(stored: Exchange, how: str) -> None:
    stored.operator()

    outcomes = stored.batch(wishes(stored, "fine", "fine", how, "fine"))

    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2], StoreFailed)
    assert len(stored.records(Company)) == 3
    assert [batch.last - batch.first for batch in stored.batches()][-2:] == [1, 0]


@pytest.mark.usefixtures("at_once")
def test_neighbours_of_all_sorts_of_poison_are_answered_as_if_they_were_alone(stored: Exchange) -> None:
    hows = ["fine", "needs", "fine", "decide", "check", "fine", "number", "long", "check", "fine"]
    jobs = jobs_of(stored, *hows)
    before, database = stored.position, stored.database
    assert database is not None

    async def send() -> list[Answer | BaseException]:
        async with Journal(open_store(database, stored._clock, stored._chance)) as journal:
            return await asyncio.gather(*(journal.do(job) for job in jobs), return_exceptions=True)

    outcomes = asyncio.run(send())

    defect = {"needs", "decide", "check", "number"}
    for how, outcome in zip(hows, outcomes, strict=True):
        assert type(outcome) is (Defect if how in defect else TooMuchText if how == "long" else Answer)
    answered = [outcome.position for outcome in outcomes if isinstance(outcome, Answer)]
    assert answered == list(range(before + 1, before + 5))
    assert [company.uscc for company in stored.records(Company)] == [f"{n:018}" for n in (0, 2, 5, 9)]
    for invariant in JOURNAL_INVARIANTS:
        assert stored.read(invariant.find).offending == []


def test_a_command_that_asks_for_what_it_never_needs_is_named(exchange: Exchange) -> None:
    [outcome] = exchange.batch(wishes(exchange, "never needed"))

    with pytest.raises(RuntimeError, match=r"Faulty\(.+ asks for what it never needs"):
        raise outcome  # type: ignore[misc]  # it is an exception


def test_commands_of_one_job_stand_or_fall_together(exchange: Exchange) -> None:
    operator = exchange.operator()
    before = exchange.dump()

    with pytest.raises(Conflict) as refused:
        exchange.job([Faulty("a" * 18, "fine"), Faulty("b" * 18, "refuse")], operator)

    assert refused.value.index == 1
    assert exchange.dump() == before
    answers = exchange.job([Faulty("a" * 18, "fine"), Faulty("b" * 18, "fine")], operator)
    assert [answer["position"] for answer in answers] == [before["Head"][0][1] + 1, before["Head"][0][1] + 2]


def test_a_retried_request_gets_its_first_answer_and_another_under_the_same_key_is_refused(stored: Exchange) -> None:
    operator = stored.operator()
    first = stored.do(Faulty("a" * 18, "fine"), operator, key="once")
    before = stored.dump()

    stored.wait(days=1)
    assert stored.do(Faulty("a" * 18, "fine"), operator, key="once") == first
    with pytest.raises(KeyReused):
        stored.do(Faulty("b" * 18, "fine"), operator, key="once")

    assert stored.dump() == before


def test_equal_requests_in_one_batch_are_done_once(stored: Exchange) -> None:
    operator = stored.operator()

    outcomes = stored.batch([(Faulty("a" * 18, "fine"), operator, "once")] * 5)

    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    assert len({(answer.status, answer.body, answer.position) for answer in answers}) == 1
    assert [answer.replayed for answer in answers] == [False, True, True, True, True]


def test_a_refused_request_may_be_sent_again_under_its_key(exchange: Exchange) -> None:
    operator = exchange.operator()
    with pytest.raises(Conflict):
        exchange.do(Faulty("a" * 18, "refuse"), operator, key="again")

    assert exchange.do(Faulty("a" * 18, "fine"), operator, key="again")["id"] == "a" * 18


def test_keys_are_unique_for_their_holder_only(exchange: Exchange) -> None:
    exchange.do(Faulty("a" * 18, "fine"), exchange.operator(), key="mine")

    assert exchange.do(Faulty("b" * 18, "fine"), exchange.second_operator(), key="mine")["id"] == "b" * 18


# Neighbours in a batch


@pytest.mark.usefixtures("at_once")
def test_a_command_finds_what_its_neighbours_in_the_batch_have_made(stored: Exchange) -> None:
    owner, buyer = stored.a_member(), stored.a_member()
    offer = stored.a_listing(owner)
    position = stored.position
    trade_id: Any = position + 1
    take = ProposeTrade(offer.id, terms_of())

    outcomes = stored.batch(
        [
            (take, buyer.by, None),
            (ConfirmTrade(trade_id), owner.by, None),
            (ContractTrade(trade_id), buyer.by, None),
            (RegisterProduct("NEW", ProductKind.API), owner.by, None),
        ]
    )

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert [trade.state for trade in stored.records(Trade)] == ["contracted"]
    assert len(stored.batches()) > 1
    assert stored.batches()[-1].last - stored.batches()[-1].first == 3


@pytest.mark.usefixtures("at_once")
def test_a_whole_membership_fits_into_one_batch(stored: Exchange) -> None:
    company = stored.a_company()
    assert company.uscc is not None
    operator = stored.operator()
    member: Any = stored.position + 1

    outcomes = stored.batch(
        [
            (ApplyForMembership(company.uscc, company_fields()), company, None),
            (StartReview(member, "complete"), operator, None),
            (AdmitMember(member, "complete"), operator, None),
            (RegisterProduct("P", ProductKind.DATASET), company, None),
        ]
    )

    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True] * 4
    assert [line.value for line in stored.records(MemberHistory) if line.fact == "state"] == [
        "submitted",
        "under_review",
        "active",
    ]


def test_a_revoked_key_does_nothing_from_that_position_on_even_in_the_same_batch(stored: Exchange) -> None:
    owner = stored.a_member()
    revoke = RevokeKey(owner.by.key_id)  # type: ignore[arg-type]  # a member's key has an id

    outcomes = stored.batch(
        [
            (RegisterProduct("BEFORE", ProductKind.API), owner.by, None),
            (revoke, stored.operator(), None),
            (RegisterProduct("AFTER", ProductKind.API), owner.by, None),
        ]
    )

    assert isinstance(outcomes[0], Answer)
    assert isinstance(outcomes[2], Unauthenticated)


def test_a_batch_costs_the_same_statements_for_each_piece_however_many_commands_it_has(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(exchange.store, MemoryStore)
    owner, offer = exchange.a_member(), exchange.a_listing()
    buyers = [exchange.a_member() for _ in range(5)]
    asked: list[Ask] = []
    do = MemoryStore._do

    def counted(store: MemoryStore, ask: Ask) -> Any:
        asked.append(ask)
        return do(store, ask)

    monkeypatch.setattr(MemoryStore, "_do", counted)

    def asks_of(wishes: list[Any]) -> int:
        asked.clear()
        assert all(isinstance(outcome, Answer) for outcome in exchange.batch(wishes))
        return len(asked)

    one = asks_of([(TakeListing(offer.id, 1, a_price(), "use"), buyers[0].by, None)])
    pieces = [
        asks_of([(TakeListing(offer.id, 1, a_price(), "use"), buyers[n % 5].by, None) for n in range(commands)])
        for commands in range(journal_batch.AT_ONCE - 1, 5 * journal_batch.AT_ONCE, journal_batch.AT_ONCE)
    ]

    assert owner.id
    assert pieces[0] == one <= 30
    # What a large batch inserts is written in pieces.
    assert len({more - fewer for fewer, more in pairwise(pieces)}) == 1


def test_what_a_large_batch_inserts_is_written_on_the_way_and_nothing_where_it_is_rehearsed(
    exchange: Exchange, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, buyer = exchange.a_listing(), exchange.a_member()
    take = TakeListing(offer.id, 1, a_price(), "use")
    jobs = [Job((take,), buyer.by, f"take {n}", b"") for n in range(2 * at_once + 1)]
    asked: list[Ask] = []
    do = MemoryStore._do

    def noted(store: MemoryStore, ask: Ask) -> Any:
        asked.append(ask)
        return do(store, ask)

    monkeypatch.setattr(MemoryStore, "_do", noted)

    asyncio.run(exchange.store.rehearse(jobs))
    assert all(isinstance(ask, Load) for ask in asked)
    asyncio.run(exchange.store.run(jobs))

    written = [len(ask.rows) for ask in asked if isinstance(ask, Insert) and ask.schema.model is Event]
    assert written == [at_once, at_once, 1]
    assert len(exchange.records(Trade)) == len(jobs)


ROLLED = (Measure.CONTRACTED, Dimension.BUYER, "4711", date(2026, 3, 2), date(2026, 3, 2))


@dataclass(frozen=True, slots=True)
class Odd(Command):
    """Finds a batch by its instant, and a rollup that it adds to, neither of which any command needs yet."""

    allowed: ClassVar = OPERATOR
    recorded_at: datetime

    def needs(self, work: UnitOfWork) -> Needs:
        yield [Need(Batch, self.recorded_at, ("recorded_at",)), Need(Rollup, ROLLED)]

    def decide(self, work: UnitOfWork) -> Result:
        held = work.find(Rollup, ROLLED)
        work.add(Rollup, ROLLED, 2, 0, 1, 1)
        work.tell("test.done")
        first = work.get(Batch, self.recorded_at, ("recorded_at",)).first
        return {"first": first, "held": held.gross if held else 0}


def test_rows_are_found_by_every_unique_key_and_added_to_by_every_primary_key(
    stored: Exchange, exchange: Exchange
) -> None:
    for one in (stored, exchange):
        operator = one.operator()
        [*_, batch] = one.batches()

        outcomes = one.batch([(Odd(batch.recorded_at), operator, None)] * 2)
        again = one.do(Odd(batch.recorded_at), operator)

        assert all(isinstance(outcome, Answer) for outcome in outcomes)
        assert (again["first"], again["held"]) == (batch.first, 4)
        assert one.rows(Rollup) == [(*ROLLED, 6, 0, 3, 3)]


@dataclass(frozen=True, slots=True)
class Patient(Command):
    """Needs one row after the other, in four rounds."""

    allowed: ClassVar = OPERATOR
    first: int

    def needs(self, work: UnitOfWork) -> Needs:
        for number in range(self.first, self.first + 4):
            yield [Need(PartyCounter, number)]

    def decide(self, work: UnitOfWork) -> Result:
        assert [work.find(PartyCounter, self.first + n) for n in range(4)] == [None] * 4
        work.tell("test.done")
        return {}


def test_needs_of_many_rounds_are_loaded_in_step(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = exchange.operator()
    asked: list[Ask] = []
    do = MemoryStore._do

    def counted(store: MemoryStore, ask: Ask) -> Any:
        asked.append(ask)
        return do(store, ask)

    monkeypatch.setattr(MemoryStore, "_do", counted)
    counts = []
    for commands in (1, 20):
        asked.clear()
        exchange.batch([(Patient(1_000 * commands + 10 * n), operator, None) for n in range(commands)])
        counts.append(len(asked))

    assert counts[0] == counts[1]


def test_each_event_tells_its_own_rows_the_request_and_the_instant(exchange: Exchange) -> None:
    operator = exchange.operator()
    commands = (Faulty("a" * 18, "fine"), Faulty("b" * 18, "fine"))

    [outcome] = exchange._run(commit(exchange.store, [Job(commands, operator, "k", b"", request_id="r-1", many=True)]))

    assert isinstance(outcome, Answer)
    told = [[row["uscc"] for _, row in leaf["rows"]] for leaf in exchange.leaves()[-2:]]
    assert told == [["a" * 18], ["b" * 18]]
    assert [leaf["request_id"] for leaf in exchange.leaves()[-2:]] == ["r-1", "r-1"]
    instants = {result["recorded_at"] for result in orjson.loads(outcome.body)["data"]}
    assert instants == {instant_text(exchange.batches()[-1].recorded_at)}


# Time


def test_recorded_at_always_grows_even_when_the_clock_stands_or_goes_back(stored: Exchange) -> None:
    operator = stored.operator()
    stored.now -= timedelta(seconds=30)
    for number in range(3):
        stored.do(Faulty(f"{number:018}", "fine"), operator)

    instants = [batch.recorded_at for batch in stored.batches()]

    assert instants == sorted(set(instants))
    assert instants[-1] - instants[-2] == timedelta(microseconds=1)


def test_a_clock_far_behind_the_last_record_refuses_writes(stored: Exchange) -> None:
    operator = stored.operator()
    before = stored.dump()
    stored.now -= timedelta(seconds=61)

    with pytest.raises(ClockBehind):
        stored.do(Faulty("a" * 18, "fine"), operator)

    assert stored.dump() == before


def test_a_clock_a_minute_behind_the_last_record_is_taken(stored: Exchange) -> None:
    operator = stored.operator()
    stored.now -= timedelta(seconds=60)

    assert stored.do(Faulty("a" * 18, "fine"), operator)["id"] == "a" * 18


def test_the_day_of_recording_is_the_day_in_shanghai(exchange: Exchange) -> None:
    exchange.now = MORNING.replace(hour=16, minute=30)
    member = exchange.a_member()

    [applied] = [row.applied_on for row in exchange.records(Member)]

    assert applied.isoformat() == "2026-03-03"
    assert member.id


# Events


def test_leaves_are_rfc_8785_and_hashed_as_stored(exchange: Exchange) -> None:
    exchange.a_trade()

    for event in exchange.records(Event):
        assert event.leaf.encode() == rfc8785.dumps(orjson.loads(event.leaf))
        assert event.leaf_sha256 == hashlib.sha256(b"\x00" + event.leaf.encode()).digest()


leaf_values = st.recursive(
    st.none() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=126, min_codepoint=32)), inner),
)


@given(leaf_values)
def test_canonical_json_is_rfc_8785_for_all_that_leaves_hold(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_a_leaf_holds_only_strings_nulls_and_whole_numbers_and_nothing_personal(exchange: Exchange) -> None:
    exchange.a_trade()
    text = "".join(event.leaf for event in exchange.records(Event))

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(key.isascii() and plain(inner) for key, inner in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or isinstance(value, str) or (type(value) is int and abs(value) < 2**53)

    assert all(map(plain, exchange.leaves()))
    for personal in ("张三", "0731-8888", "Zhang", '"Li"', "Wang"):
        assert personal not in text
    for key in exchange.records(ApiKey):
        assert key.secret_sha256 not in text


def test_a_leaf_says_all_that_happened_in_one_fixed_form() -> None:
    member = MemberId(7)
    by = caller_of(KeyId(9), Role.MEMBER, "91430104DEM1000017", PersonId(8))

    leaf = leaf_of(
        NewEvent("test.told", (member,), member, {"b": 1, "a": None}),
        position=2,
        recorded_at=instant_text(MORNING),
        caller=by,
        request_id="r-1",
        salt=b"\x01" * 16,
        commitments=[party_commitment(b"\x02" * 16, member, 3)],
        rows=[("table", {"id": 2})],
    )

    assert leaf == (
        b'{"acting_member":7,"actor":8,"facts":{"a":null,"b":1},"key_id":9,"kind":"test.told",'
        b'"parties":["'
        + hashlib.sha256(b"\x02" * 16 + bytes(7) + b"\x07" + bytes(7) + b"\x03").hexdigest().encode()
        + b'"],'
        b'"position":2,"recorded_at":"2026-03-02T01:00:00.000000Z","request_id":"r-1","rows":[["table",{"id":2}]],'
        b'"salt":"01010101010101010101010101010101","v":1}'
    )


def test_a_leaf_takes_eight_kibibytes_at_most() -> None:
    def leaf(length: int) -> bytes:
        return leaf_of(
            NewEvent("test.told", (), None, {"text": "x" * length}),
            position=2,
            recorded_at=instant_text(MORNING),
            caller=Caller.SYSTEM,
            request_id=None,
            salt=bytes(16),
            commitments=[],
            rows=[],
        )

    room = LEAF_LIMIT - len(leaf(0))

    assert len(leaf(room)) == 8192
    with refused(TooMuchText):
        leaf(room + 1)


def test_the_genesis_leaf_is_the_same_in_every_exchange() -> None:
    assert genesis_leaf() == (
        b'{"acting_member":null,"actor":"system","facts":{},"key_id":null,"kind":"genesis","parties":[],"position":1,'
        b'"recorded_at":"1970-01-01T00:00:00.000000Z","request_id":null,"rows":[],"salt":"00000000000000000000000000000000","v":1}'
    )


def test_amounts_in_leaves_are_strings_of_fen(exchange: Exchange) -> None:
    exchange.a_trade(terms=terms_of(gross=106_000))
    rows = [row for leaf in exchange.leaves() for row in leaf["rows"]]

    [posted] = [row for table, row in rows if table == "transfer"]

    assert posted["amount"] == "106000"


def test_position_one_is_the_genesis_leaf_on_every_store(stored: Exchange, exchange: Exchange) -> None:
    for one in (stored, exchange):
        [genesis] = one.records(Event)
        assert (genesis.position, genesis.kind, genesis.leaf.encode()) == (1, "genesis", genesis_leaf())
        assert genesis.leaf_sha256 == leaf_hash(genesis_leaf())


def test_each_party_is_counted_once_per_event(exchange: Exchange) -> None:
    sale = exchange.a_trade()
    counted = {counter.member_id: counter.events for counter in exchange.records(PartyCounter)}
    numbers: dict[int, list[int]] = {}
    for party in exchange.records(PartyEvent):
        numbers.setdefault(party.member_id, []).append(party.number)

    assert numbers == {member: list(range(1, events + 1)) for member, events in counted.items()}
    assert counted[sale.buyer.id] == 3 + 3


# Posted rows


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_posted_rows_refuse_update_and_delete(database_url: str, verb: str) -> None:
    with Exchange.at(database_url) as exchange:
        exchange.a_trade()
    posted = [model for model in Stored.__subclasses__() if getattr(model, "sort", None) is Sort.POSTED]
    assert posted
    for model in posted:
        table = model.__tablename__
        column = next(iter(model.model_fields))
        statement = f'UPDATE "{table}" SET "{column}" = "{column}"' if verb == "UPDATE" else f'DELETE FROM "{table}"'
        rows = len_of(database_url, table)
        if rows:
            with pytest.raises(Exception, match="posted rows stay"):
                execute(database_url, statement)
        assert len_of(database_url, table) == rows


@pytest.mark.parametrize(
    "change", ["gross = gross + 1, net = net + 1", "buyer_id = seller_id + 1", "effective_on = '2020-01-01'"]
)
def test_what_a_contracted_trade_says_is_frozen(database_url: str, change: str) -> None:
    with Exchange.at(database_url) as exchange:
        exchange.a_trade()

    with pytest.raises(Exception, match="says what it says"):
        execute(database_url, f"UPDATE trade SET {change}")
    with pytest.raises(Exception, match="never deleted"):
        execute(database_url, "DELETE FROM trade")


def execute(url: str, statement: str) -> list[Any]:
    path = Database(url).path
    if path is not None:
        connection = connect_sqlite(path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    async def run() -> list[Any]:
        session = await asyncpg.connect(url)
        try:
            return list(await session.fetch(statement))
        finally:
            await session.close()

    return asyncio.run(run())


def len_of(url: str, table: object) -> int:
    [[count]] = execute(url, f'SELECT count(*) FROM "{table}"')
    return int(count)


# Rows


@pytest.fixture
def work(exchange: Exchange) -> UnitOfWork:
    [head] = exchange.records(Head)
    return UnitOfWork(head, MORNING, bytes)


def test_who_asks_for_what_is_not_loaded_is_told_what(work: UnitOfWork) -> None:
    with pytest.raises(NotLoaded) as one:
        work.find(Member, 7)
    with pytest.raises(NotLoaded) as other:
        work.all(MemberHistory, 7, ("member_id",))
    with pytest.raises(NotLoaded) as third:
        work.find(Batch, 7, ("last",))

    assert one.value.args == ("Member", None)
    assert other.value.args == ("MemberHistory", ("member_id",))
    assert third.value.args == ("Batch", ("last",))


def a_line(work: UnitOfWork, member_id: MemberId, position: int, number: int = 1) -> MemberHistory:
    """Make a line of a member's history."""
    return work.insert(
        MemberHistory,
        position=position,
        number=number,
        member_id=member_id,
        fact=MemberFact.STATE,
        value="active",
        effective_on=MORNING.date(),
    )


def test_a_row_that_is_taken_back_is_in_no_list_and_under_no_key(work: UnitOfWork) -> None:
    schema, by = schema_of(MemberHistory), ("member_id",)
    work.put(schema, by, [7], [])

    row = a_line(work, MemberId(7), 9)
    mark = work.mark()
    a_line(work, MemberId(7), 9, 2)
    work.take_back(mark)

    assert work.all(MemberHistory, 7, by) == [row]
    assert work.has(Need(MemberHistory, (9, 1)))
    assert not work.has(Need(MemberHistory, (9, 2)))
    assert work.asks() == [Insert(schema, [row])]


def test_a_list_that_is_loaded_has_what_the_batch_has_made_for_it_and_nothing_of_another(work: UnitOfWork) -> None:
    schema, by = schema_of(MemberHistory), ("member_id",)

    made, _ = a_line(work, MemberId(7), 9), a_line(work, MemberId(8), 10)
    stored = (3, 1, 7, MemberFact.STATE, "submitted", MORNING.date())
    work.put(schema, by, [7], [stored])

    assert [line.position for line in work.all(MemberHistory, 7, by)] == [3, 9]
    assert work.all(MemberHistory, 7, by)[1] is made


def test_a_row_that_is_made_and_changed_is_told_once_as_it_came_out(work: UnitOfWork) -> None:
    company = work.insert(
        Company,
        uscc="A",
        member_id=MemberId(7),
        live=False,
        barred=False,
        readmission_id=None,
        changed_at=9,
    )
    work.change(company, live=True)

    assert [(table, row["uscc"], row["live"]) for table, row in work.told_since(0)] == [("company", "A", 1)]


def test_what_the_batch_has_made_or_changed_stays_when_it_is_loaded_again(work: UnitOfWork) -> None:
    batches, by = schema_of(Batch), ("last",)
    record = (2, 3, MORNING, 0, 0)
    work.put(batches, batches.key, [2], [record])
    changed = work.get(Batch, 2)
    work.change(changed, contracted_gross=5)
    made = work.insert(PartyCounter, member_id=1, events=2)

    work.put(batches, by, [3], [record])
    work.put(schema_of(PartyCounter), ("member_id",), [1], [])

    assert work.get(Batch, 3, by) is changed
    assert work.get(PartyCounter, 1) is made


def test_a_leaf_names_the_member_that_acts_but_nobody_of_the_staff(exchange: Exchange) -> None:
    sale = exchange.a_trade(TradeState.FILED)
    exchange.do(ConfirmTrade(sale.id), sale.buyer.by)
    exchange.do(ApproveFiling(sale.id, "fine"), exchange.operator())

    assert [leaf["acting_member"] for leaf in exchange.leaves()[-3:]] == [sale.seller.id, sale.buyer.id, None]


def test_keys_are_given_once_and_do_not_change_and_a_command_tells_one_event(work: UnitOfWork) -> None:
    row = work.insert(PartyCounter, member_id=1, events=2)
    work.tell("test.done")

    with pytest.raises(AssertionError, match=r"^keys do not change$"):
        work.change(row, member_id=2)
    with pytest.raises(AssertionError, match=r"party_counter has this .+ already"):
        work.insert(PartyCounter, member_id=1, events=3)
    with pytest.raises(AssertionError, match=r"^a command tells one event$"):
        work.tell("test.done")


def test_rows_are_written_in_the_order_of_tables_and_keys(work: UnitOfWork) -> None:
    counters, closings = schema_of(PartyCounter), schema_of(Closing)
    work.put(counters, counters.key, [3, 2, 1], [(3, 30), (2, 20), (1, 10)])
    for number in (3, 1, 2):
        work.change(work.get(PartyCounter, number), events=0)
        work.add(Rollup, ("contracted", "total", "", MORNING.date(), MORNING.date() + timedelta(number)), 1, 0, 1, 1)
        work.add(Head, (10 - number,), 1)
    work.insert(
        Transfer,
        position=9,
        number=1,
        debit_account_id=1,
        credit_account_id=2,
        amount=Money(1),
        effective_on=MORNING.date(),
    )
    work.insert(Entry, position=9, kind=EntryKind.CONTRACT, trade_id=TradeId(1))
    work.put(closings, closings.key, [1], [(1, MORNING.date())])
    work.change(work.get(Closing, 1), closed_through=MORNING.date())

    asks = work.asks()

    assert [ask.schema.name for ask in asks if isinstance(ask, Insert)] == ["entry", "transfer"]
    changes = [ask for ask in asks if isinstance(ask, Change)]
    order = [table.name for table in Stored.metadata.sorted_tables]
    assert [change.schema.name for change in changes] == sorted(["closing", "party_counter"], key=order.index)
    assert [[row.member_id for row in change.rows] for change in changes if change.schema is counters] == [[1, 2, 3]]
    added = [ask for ask in asks if isinstance(ask, Add)]
    assert [add.schema.name for add in added] == sorted(["head", "rollup"], key=order.index)
    assert [list(add.sums) for add in added] == [sorted(add.sums) for add in added]


def test_a_row_has_just_the_columns_of_its_table_and_equals_itself_alone() -> None:
    row, other = (schema_of(PartyCounter).row(member_id=1, events=2) for _ in range(2))

    assert row == row  # noqa: PLR0124 - what is meant
    assert row != other
    with pytest.raises(AttributeError):
        row.number = 1


# Rows that are kept from batch to batch


def test_the_next_batch_loads_only_what_the_last_one_did_not_leave(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, buyer = exchange.a_listing(), exchange.a_member()
    exchange.do(TakeListing(offer.id, 1, a_price(), "use"), buyer.by)
    loaded: list[str] = []
    do = MemoryStore._do

    def noted(store: MemoryStore, ask: Ask) -> Any:
        if isinstance(ask, Load):
            loaded.append(ask.schema.name)
        return do(store, ask)

    monkeypatch.setattr(MemoryStore, "_do", noted)
    exchange.do(TakeListing(offer.id, 1, a_price(), "use"), buyer.by)

    assert loaded == ["head", "idempotency"]


def test_what_another_process_wrote_is_known_to_the_next_batch(stored: Exchange, database_url: str) -> None:
    offer, buyer = stored.a_listing(), stored.a_member()
    take = TakeListing(offer.id, 1, a_price(), "use")
    stored.do(take, buyer.by)
    operator = stored.operator()
    with Exchange.at(database_url, now=stored._clock()) as other:
        other.do(SuspendMember(buyer.id, "as it should be"), operator, "other's 1")
        with refused(NotActive):
            stored.do(take, buyer.by)
        other.do(ReinstateMember(buyer.id, "as it should be"), operator, "other's 2")
        other.do(take, buyer.by, "other's 3")
        stored.do(take, buyer.by)

    assert len(stored.records(Trade)) == 3
    assert not [finding for finding in stored.read(check) if finding.offending]


def test_a_batch_that_the_database_refuses_leaves_nothing_in_memory(stored: Exchange) -> None:
    offer, buyer = stored.a_listing(), stored.a_member()
    take = TakeListing(offer.id, 1, a_price(), "use")
    stored.do(take, buyer.by)
    suspended_and_refused = (SuspendMember(buyer.id, "as it should be"), Faulty(f"{0:018}", "check"))

    [outcome] = stored.batch([(suspended_and_refused, stored.operator(), None)])
    stored.do(take, buyer.by)

    assert isinstance(outcome, StoreFailed)
    assert len(stored.records(Trade)) == 2


def test_rows_are_kept_for_the_same_head_only_and_only_so_many(
    work: UnitOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    by = schema_of(PartyCounter).key
    work.put(schema_of(PartyCounter), by, [1, 2], [(1, 10)])
    work.put(schema_of(Rollup), schema_of(Rollup).key, [ROLLED], [])
    kept = Kept()
    kept.take_from(work)

    def next_batch(position: int, seconds: int = 0) -> UnitOfWork:
        head = schema_of(Head).row(
            id=1,
            position=position,
            recorded_at=work.head.recorded_at + timedelta(seconds=seconds),
            contracted_gross=0,
            contracted_reversed=0,
        )
        following = UnitOfWork(head, MORNING, bytes)
        kept.hand_to(following)
        return following

    same = next_batch(work.head.position)
    assert (same.get(PartyCounter, 1).events, same.find(PartyCounter, 2)) == (10, None)
    assert not same.has(Need(Rollup, ROLLED)), "a row that is only added to is never kept"
    assert not next_batch(work.head.position + 1).has(Need(PartyCounter, 1))
    assert not next_batch(work.head.position, seconds=1).has(Need(PartyCounter, 1))

    monkeypatch.setattr(journal_work, "KEPT_LIMIT", 2)
    kept.take_from(work)
    assert next_batch(work.head.position).has(Need(PartyCounter, 1))
    monkeypatch.setattr(journal_work, "KEPT_LIMIT", 1)
    kept.take_from(work)
    assert not next_batch(work.head.position).has(Need(PartyCounter, 1))


# Stores that fail


class Troubled:
    """A store whose runs end as told, the last way for ever; `after` runs on the real one first."""

    def __init__(self, exchange: Exchange, *troubles: Exception | None, after: bool = False) -> None:
        self.exchange = exchange
        self.troubles = list(troubles)
        self.after = after
        self.runs: list[int] = []

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.runs.append(len(jobs))
        trouble = self.troubles.pop(0) if len(self.troubles) > 1 else self.troubles[0]
        if trouble is not None and not self.after:
            raise trouble
        outcomes = await self.exchange.store.run(jobs)
        if trouble is not None:
            raise trouble
        return outcomes

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        if self.troubles[0] is not None:
            raise self.troubles[0]
        return await self.exchange.store.rehearse(jobs)

    async def close(self) -> None:
        """Have nothing to close."""


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.journal.journal.PAUSE_S", 0)


def jobs_of(exchange: Exchange, *hows: str) -> list[Job]:
    operator = exchange.operator()
    return [Job((command,), operator, f"{n}", b"") for n, (command, _, _) in enumerate(wishes(exchange, *hows))]


def test_a_lost_connection_is_tried_again_and_a_commit_of_unknown_outcome_is_replayed(
    exchange: Exchange, no_pause: None
) -> None:
    [job] = jobs_of(exchange, "fine")
    before = exchange.position
    store = Troubled(exchange, StoreLost("gone"), None, after=True)

    [outcome] = asyncio.run(commit(store, [job]))

    assert isinstance(outcome, Answer)
    assert outcome.replayed
    assert exchange.position == before + 1
    assert store.runs == [1, 1]


def test_after_each_lost_connection_the_pause_is_twice_as_long(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    store, jobs = Troubled(exchange, StoreLost("gone")), jobs_of(exchange, "fine")
    monkeypatch.setattr(asyncio, "sleep", note)
    [outcome] = asyncio.run(commit(store, jobs))

    assert isinstance(outcome, DatabaseAway)
    assert_well_said(outcome)
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    assert store.runs == [1] * 4


def test_a_held_head_is_not_waited_for_again(exchange: Exchange) -> None:
    store = Troubled(exchange, StoreBusy("held"), None)

    [outcome] = asyncio.run(commit(store, jobs_of(exchange, "fine")))

    assert isinstance(outcome, DatabaseAway)
    assert store.runs == [1]


@pytest.mark.parametrize("trouble", [StoreLost("gone"), StoreBusy("held")])
def test_a_database_that_stays_away_is_said_to_be_away(exchange: Exchange, no_pause: None, trouble: Exception) -> None:
    outcomes = asyncio.run(commit(Troubled(exchange, trouble), jobs_of(exchange, "fine", "fine")))

    assert [type(outcome) for outcome in outcomes] == [DatabaseAway, DatabaseAway]


@pytest.mark.parametrize("trouble", [StoreLost("gone"), StoreBusy("held")])
def test_who_rehearses_is_told_that_the_database_is_away(exchange: Exchange, trouble: Exception) -> None:
    async def rehearse() -> None:
        async with Journal(Troubled(exchange, trouble)) as journal:
            await journal.rehearse(jobs_of(exchange, "fine"))

    with pytest.raises(DatabaseAway, match="could not be read"):
        asyncio.run(rehearse())


def test_a_store_that_has_a_defect_fails_its_batch_alone(exchange: Exchange) -> None:
    outcomes = asyncio.run(commit(Troubled(exchange, ZeroDivisionError()), jobs_of(exchange, "fine")))

    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError]


# The queue


def in_journal(exchange: Exchange, work: Callable[[Journal], Any], limit: int = 100, store: Any = None) -> Any:
    async def run() -> Any:
        async with Journal(store or exchange.store, limit) as journal:
            return await work(journal)

    return asyncio.run(run())


def test_all_that_wait_are_committed_together(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, *["fine"] * SMALL)
    before = len(exchange.batches())

    async def work(journal: Journal) -> list[Answer]:
        return await asyncio.gather(*(journal.do(job) for job in jobs))

    answers = in_journal(exchange, work)

    assert len({answer.position for answer in answers}) == SMALL
    assert len(exchange.batches()) == before + 1


def test_of_more_that_wait_half_are_committed_together_and_then_the_others(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, *["fine"] * 64)

    async def work(journal: Journal) -> list[Answer]:
        return await asyncio.gather(*(journal.do(job) for job in jobs))

    in_journal(exchange, work)

    assert [batch.last - batch.first + 1 for batch in exchange.batches()][-2:] == [32, 32]


def test_a_defect_is_told_without_its_detail(exchange: Exchange) -> None:
    [job] = jobs_of(exchange, "decide")

    with pytest.raises(Defect):
        in_journal(exchange, lambda journal: journal.do(job))


def test_a_refusal_passes_the_queue_as_it_is_and_a_defect_says_what_failed(exchange: Exchange) -> None:
    refuse, silent = jobs_of(exchange, "refuse", "silent")

    with pytest.raises(Conflict, match="Not now"):
        in_journal(exchange, lambda journal: journal.do(refuse))
    with pytest.raises(Defect, match="told nothing"):
        in_journal(exchange, lambda journal: journal.do(silent))


def test_beyond_the_bound_the_queue_refuses_but_a_single_large_job_passes(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, "fine", "fine", "fine")
    large = replace(jobs[0], commands=tuple(Faulty(f"{n:018}", "fine") for n in range(10, 15)), key="large", many=True)

    async def work(journal: Journal) -> list[Any]:
        return await asyncio.gather(*(journal.do(job) for job in (large, *jobs)), return_exceptions=True)

    outcomes = in_journal(exchange, work, limit=2)

    assert isinstance(outcomes[0], Answer)
    assert [type(outcome) for outcome in outcomes[1:]] == [Overloaded, Overloaded, Overloaded]


def test_many_jobs_are_done_in_one_go_and_each_is_told_its_own(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, "fine", "refuse", "decide", "fine", "fine")
    before = len(exchange.batches())

    outcomes = in_journal(exchange, lambda journal: journal.do_all(jobs), limit=4)

    assert [type(outcome) for outcome in outcomes] == [Answer, Conflict, Defect, Answer, Overloaded]
    assert len(exchange.batches()) == before + 1


def test_who_stops_waiting_for_many_undoes_none_and_nobody_complains(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = jobs_of(exchange, "fine", "refuse", "fine")

    async def work(journal: Journal) -> list[Any]:
        waiting = asyncio.ensure_future(journal.do_all(jobs))
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return await journal.do_all(jobs)

    first, second, third = in_journal(exchange, work)
    gc.collect()

    assert first.replayed
    assert isinstance(second, Conflict)
    assert third.replayed
    assert caplog.messages == []


def test_just_as_many_commands_wait_as_the_bound_says(exchange: Exchange) -> None:
    jobs = [
        replace(job, commands=tuple(Faulty(f"{n}{part:017}", "fine") for part in range(2)), many=True)
        for n, job in enumerate(jobs_of(exchange, "fine", "fine", "fine"))
    ]

    async def work(journal: Journal) -> list[Any]:
        first = await asyncio.gather(*(journal.do(job) for job in jobs), return_exceptions=True)
        return [*first, await journal.do(jobs[2])]

    outcomes = in_journal(exchange, work, limit=4)

    assert [type(outcome) for outcome in outcomes] == [Answer, Answer, Overloaded, Answer]
    assert_well_said(outcomes[2])


def test_what_is_being_committed_waits_no_longer(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, *["fine"] * 6)
    began, go = asyncio.Event(), asyncio.Event()

    class Slow(Troubled):
        async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
            began.set()
            await go.wait()
            return await super().run(jobs)

    async def work(journal: Journal) -> list[Any]:
        first = [asyncio.ensure_future(journal.do(job)) for job in jobs[:2]]
        await began.wait()
        second = [asyncio.ensure_future(journal.do(job)) for job in jobs[2:]]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*first, *second, return_exceptions=True)

    outcomes = in_journal(exchange, work, limit=3, store=Slow(exchange, None))

    assert [type(outcome) for outcome in outcomes] == [Answer] * 5 + [Overloaded]


def test_a_batch_is_answered_while_the_next_one_takes_its_time(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, *["fine"] * 3)
    answered: list[str] = []
    first_answered = asyncio.Event()

    class Patient(Troubled):
        """Ends its second run only when the first has been answered."""

        async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
            if self.runs:
                await first_answered.wait()
            return await super().run(jobs)

    async def work(journal: Journal) -> None:
        async def ask(name: str, job: Job) -> None:
            await journal.do(job)
            answered.append(name)
            first_answered.set()

        first = asyncio.ensure_future(ask("first", jobs[0]))
        await asyncio.sleep(0)
        second = [asyncio.ensure_future(ask("second", job)) for job in jobs[1:]]
        await asyncio.wait_for(asyncio.gather(first, *second), 10)

    store = Patient(exchange, None)
    in_journal(exchange, work, store=store)

    assert store.runs == [1, 2]
    assert answered == ["first", "second", "second"]


def test_who_stops_waiting_does_not_undo_it(exchange: Exchange) -> None:
    [job] = jobs_of(exchange, "fine")
    before = exchange.position

    async def work(journal: Journal) -> None:
        waiting = asyncio.ensure_future(journal.do(job))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    in_journal(exchange, work)

    assert exchange.position == before + 1


def test_who_waits_beside_somebody_that_left_is_answered(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, "fine", "fine", "fine")

    async def work(journal: Journal) -> list[Answer]:
        first, *others = [asyncio.ensure_future(journal.do(job)) for job in jobs]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*others)

    assert len(in_journal(exchange, work)) == 2


def test_a_stopped_journal_answers_all_that_wait_and_takes_no_more(exchange: Exchange) -> None:
    jobs = jobs_of(exchange, "fine", "fine")

    async def run() -> Answer:
        async with Journal(exchange.store) as journal:
            waiting = asyncio.ensure_future(journal.do(jobs[0]))
            await asyncio.sleep(0)
        with pytest.raises(Stopping):
            await journal.do(jobs[1])
        return await waiting

    assert asyncio.run(run()).status == 201


def test_a_batch_has_at_most_a_thousand_commands(exchange: Exchange) -> None:
    operator = exchange.operator()
    jobs = [Job((Faulty(f"{n:018}", "fine"),), operator, f"{n}", b"") for n in range(2_500)]

    async def work(journal: Journal) -> list[Answer]:
        return await asyncio.gather(*(journal.do(job) for job in jobs))

    in_journal(exchange, work, limit=3_000)

    assert [batch.last - batch.first + 1 for batch in exchange.batches()][-3:] == [1_000, 1_000, 500]


# Statements


def test_postgresql_gets_its_keys_as_arrays_and_all_rows_in_one_statement_and_sqlite_one_parameter_per_value() -> None:
    schema = schema_of(PartyEvent)
    changed = ("position", "nonce")
    given = (
        'json_to_recordset($1::json) AS given("member_id" BIGINT, "number" BIGINT, "position" BIGINT, "nonce" BYTEA)'
    )
    insert = Part(statements.insert, schema, schema.columns)
    change = Part(statements.change, schema, (*schema.key, *changed))
    batch = Part(statements.insert, schema_of(Batch), schema_of(Batch).columns)
    counter = schema_of(PartyCounter)

    assert statements.load(schema, schema.key) == (
        'SELECT found."member_id", found."number", found."position", found."nonce" '
        'FROM unnest($1::BIGINT[], $2::BIGINT[]) AS asked("member_id", "number") JOIN "party_event" AS found '
        'ON found."member_id" = asked."member_id" AND found."number" = asked."number"'
    )
    assert statements.write((insert,)) == (
        'WITH part_1 AS (INSERT INTO "party_event" ("member_id", "number", "position", "nonce") '
        f"SELECT * FROM {given}) SELECT"
    )
    assert statements.write((change,)) == (
        'WITH part_1 AS (UPDATE "party_event" AS held SET "position" = given."position", "nonce" = given."nonce" '
        f"FROM {given} "
        'WHERE held."member_id" = given."member_id" AND held."number" = given."number") SELECT'
    )
    assert '), part_2 AS (INSERT INTO "batch" ' in statements.write((insert, batch))
    assert 'json_to_recordset($2::json) AS given("first" BIGINT' in statements.write((insert, batch))
    assert '"recorded_at" TIMESTAMP WITH TIME ZONE,' in statements.write((batch,))
    assert statements.add(counter, counter.columns, 3).endswith(
        'FROM json_to_recordset($3::json) AS given("member_id" BIGINT, "events" BIGINT) '
        'ON CONFLICT ("member_id") DO UPDATE SET "events" = "party_counter"."events" + excluded."events"'
    )
    assert statements.change_sqlite(schema, changed) == (
        'UPDATE "party_event" SET "position" = ?3, "nonce" = ?4 WHERE "member_id" = ?1 AND "number" = ?2'
    )
    assert statements.add_sqlite(counter) == (
        'INSERT INTO "party_counter" ("member_id", "events") VALUES (?, ?) '
        'ON CONFLICT ("member_id") DO UPDATE SET "events" = "party_counter"."events" + excluded."events"'
    )
    assert '"leaf" TEXT,' in statements.write((Part(statements.insert, schema_of(Event), schema_of(Event).columns),)), (
        "what is given has the database's collation"
    )


def test_the_store_is_the_databases_own_and_has_its_clock_and_chance(tmp_path: Path) -> None:
    def now() -> datetime:
        return MORNING

    path = tmp_path / "exchange.db"
    embedded, served = (
        open_store(Database(url), now, bytes) for url in (f"sqlite:///{path}", "postgresql://exchange@db/exchange")
    )

    assert isinstance(embedded, SqliteStore)
    assert (embedded._path, embedded._now, embedded._chance) == (path, now, bytes)
    assert isinstance(served, PostgresStore)
    assert (served._url, served._now, served._chance) == ("postgresql://exchange@db/exchange", now, bytes)


# Real trouble on PostgreSQL


@pytest.mark.postgres
def test_a_terminated_connection_loses_and_doubles_nothing(postgres_url: str) -> None:
    with Exchange.on_postgres(postgres_url) as exchange:
        operator = exchange.operator()
        for number in range(5):
            execute(
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'exchange journal'",
            )
            exchange.do(Faulty(f"{number:018}", "fine"), operator)

        assert len(exchange.records(Company)) == 5
        assert len(exchange.records(Idempotency)) == 6


@pytest.mark.postgres
def test_a_postgres_that_is_read_only_takes_no_writes_until_it_is_so_no_more(postgres_url: str) -> None:
    elsewhere, _, name = postgres_url.rpartition("/")
    setting = f'ALTER DATABASE "{name}" {{}} default_transaction_read_only'
    with Exchange.on_postgres(postgres_url) as exchange:
        operator = exchange.operator()
        before = exchange.dump()
        execute(f"{elsewhere}/postgres", setting.format("SET") + " = on")
        exchange._run(exchange.store.close())

        with pytest.raises(StoreUnwritable, match="read-only transaction"):
            exchange.do(Faulty("a" * 18, "fine"), operator)
        assert exchange.dump() == before
        execute(f"{elsewhere}/postgres", setting.format("RESET"))

        assert exchange.do(Faulty("a" * 18, "fine"), operator)["id"] == "a" * 18


@pytest.mark.postgres
def test_a_head_held_by_another_process_is_waited_for_and_then_said_to_be_away(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.SESSION, "lock_timeout", "200")

    async def run() -> list[Outcome]:
        holder = await asyncpg.connect(postgres_url)
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM head FOR UPDATE")
            outcomes = await asyncio.to_thread(attempt)
        await holder.close()
        return outcomes

    def attempt() -> list[Outcome]:
        return exchange.batch(wishes(exchange, "fine"))

    with Exchange.on_postgres(postgres_url) as exchange:
        operator = exchange.operator()
        exchange._run(exchange.store.close())
        [outcome] = asyncio.run(run())
        assert isinstance(outcome, DatabaseAway)
        assert exchange.do(Faulty("a" * 18, "fine"), operator)["id"] == "a" * 18


def test_a_sqlite_file_held_by_another_process_is_said_to_be_away(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.database.SQLITE_BUSY_TIMEOUT_S", 0.1)
    path = Database(sqlite_url).path
    assert path is not None
    with Exchange.at(sqlite_url) as exchange:
        exchange.operator()
        holder = connect_sqlite(path)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="locked"):
            exchange._run(exchange.store.run(jobs_of(exchange, "fine")))
        [held] = exchange.batch(wishes(exchange, "fine"))
        holder.execute("ROLLBACK")
        holder.close()
        [free] = exchange.batch(wishes(exchange, "fine"))

    assert isinstance(held, DatabaseAway)
    assert isinstance(free, Answer)


def outcome_on(path: Path, now: Callable[[], datetime] = lambda: MORNING) -> Outcome:
    """Have one job done by a store on this file."""
    with Exchange.in_memory() as exchange:
        jobs = jobs_of(exchange, "fine")

    async def run() -> Outcome:
        store = SqliteStore(path, now, bytes)
        [outcome] = await commit(store, jobs)
        await store.close()
        return outcome

    return asyncio.run(run())


def test_a_sqlite_file_that_is_none_fails_the_job(tmp_path: Path) -> None:
    (tmp_path / "none.db").write_bytes(b"no database at all" * 100)

    outcome = outcome_on(tmp_path / "none.db")

    assert isinstance(outcome, StoreFailed)
    assert "not a database" in str(outcome)


def test_a_sqlite_file_that_cannot_be_made_is_unwritable(tmp_path: Path) -> None:
    outcome = outcome_on(tmp_path / "no such folder" / "exchange.db")

    assert isinstance(outcome, StoreUnwritable)
    assert "unable to open" in outcome.detail
    assert_well_said(outcome)


def test_a_batch_on_sqlite_is_decided_on_a_thread_of_the_stores_own(sqlite_url: str) -> None:
    threads: list[str] = []
    path = Database(sqlite_url).path
    assert path is not None

    def now() -> datetime:
        threads.append(threading.current_thread().name)
        return MORNING

    outcome_on(path, now)

    assert threads == ["exchange journal_0"]


# N trades at once


@pytest.mark.usefixtures("at_once")
def test_a_batch_equals_the_same_trades_one_by_one(database_url: str) -> None:
    def trades(exchange: Exchange) -> tuple[list[tuple[Command, Caller, str | None]], Party]:
        owner = exchange.a_member()
        offer = exchange.a_listing(owner)
        buyers = [exchange.a_member() for _ in range(3)]
        taken: list[tuple[Command, Caller, str | None]] = [
            (TakeListing(offer.id, 1 + n, a_price(106_000 * (1 + n)), "use"), buyers[n % 3].by, f"take {n}")
            for n in range(9)
        ]
        return taken, owner

    with Exchange.at(database_url) as together, Exchange.in_memory() as alone:
        at_once, _ = trades(together)
        together.batch(at_once)
        one_by_one, _ = trades(alone)
        for wish in one_by_one:
            alone.batch([wish])

        for table in ("Trade", "Account", "Transfer", "VolumeEntry", "Rollup", "MonthlyRollup", "Member"):
            assert together.dump()[table] == alone.dump()[table], table
        [head, other] = [one.records(Head)[0] for one in (together, alone)]
        assert (head.position, head.contracted_gross) == (other.position, other.contracted_gross)
        assert together.records(Batch)[-1].contracted_gross == 106_000 * 45
