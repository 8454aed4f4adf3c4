"""An exchange of a test's own, on any of the three stores, with its own clock and chance, its people, and builders for what a test starts from."""

import asyncio
import hashlib
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import asyncpg
import orjson
import pytest
from sqlmodel import Session
from stdnum.cn import uscc as uscc_standard
from tampering import PAST_GUARDS

from exchange.access.callers import KeyHolder, caller_of
from exchange.access.commands import CreateKey
from exchange.access.tables import KeyUse, Role
from exchange.agents.commands import GrantMandate
from exchange.agents.tables import MandateStep
from exchange.clock import business_day
from exchange.columns import Stored
from exchange.database import Database, connect_sqlite
from exchange.identifiers import KeyId, ListingId, MandateId, MemberId, PersonId, ProductId, TradeId, VersionId
from exchange.journal import statements
from exchange.journal.batch import Outcome, Rehearsal
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command, Job
from exchange.journal.journal import commit
from exchange.journal.memory import MemoryStore
from exchange.journal.opening import open_store
from exchange.journal.schema import fitted, schema_of
from exchange.journal.stores import Store
from exchange.journal.tables import Batch, Event, Head
from exchange.listings.commands import (
    ApproveListing,
    DelistListing,
    DescribeVersion,
    DraftListing,
    RecordAssessment,
    RegisterProduct,
    RejectListing,
    SubmitListing,
    SuspendListing,
)
from exchange.listings.rules import OfferFields, VersionFields
from exchange.listings.states import ListingState
from exchange.listings.tables import (
    AssessmentKind,
    DataGrade,
    PriceModel,
    ProductKind,
    Sector,
    SourceType,
    UpdateFrequency,
)
from exchange.members.commands import (
    AdmitMember,
    ApplyForMembership,
    ApproveExpulsion,
    ProposeExpulsion,
    RejectMember,
    RequestCorrection,
    StartReview,
    SuspendMember,
    WithdrawMember,
)
from exchange.members.rules import CompanyFields
from exchange.members.states import MemberState
from exchange.money import Money, Price, split_gross
from exchange.problems import Problem
from exchange.regulator.queries import Summary, summary
from exchange.trades.commands import (
    ApproveFiling,
    ApproveReversal,
    CancelTrade,
    ConfirmTrade,
    ContractTrade,
    FileTrade,
    ProposeReversal,
    ProposeTrade,
    RejectFiling,
    TakeListing,
    TerminateTrade,
)
from exchange.trades.rules import Terms
from exchange.trades.states import TradeState

P = ParamSpec("P")
T = TypeVar("T")
Wish = tuple[Command | tuple[Command, ...], Caller, str | None]
"""What somebody wants: one command, or several that stand or fall together; by whom; under which key (None: a new one)."""
Dump = dict[str, list[tuple[Any, ...]]]

MORNING = datetime(2026, 3, 2, 1, tzinfo=UTC)
"""When the clock of an exchange starts: nine o'clock in Shanghai, on a Monday."""

TABLES: list[type[Stored]] = sorted(
    (model for model in Stored.__subclasses__() if model.__module__.startswith("exchange.")), key=lambda m: m.__name__
)


def a_uscc(number: int) -> str:
    """Give the n-th company's code."""
    base = f"91430100{number:09}"
    return base + str(uscc_standard.calc_check_digit(base))


def a_sha256(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def number_of(written: object) -> int:
    """Read the number off any written id."""
    return int(str(written).partition("_")[2])


def company_fields(name: str = "湖南数据公司", **changed: Any) -> CompanyFields:
    given: dict[str, Any] = {
        "legal_name": f"{name}有限公司",
        "short_name": name,
        "legal_representative": "张三",
        "address": "长沙市岳麓区",
        "region_code": "430104",
        "industry_code": "I6510",
        "roles": ("provider", "consumer"),
        "contact": "0731-8888",
    }
    return CompanyFields(**(given | changed))


def version_fields(**changed: Any) -> VersionFields:
    given: dict[str, Any] = {
        "title": "企业信用数据",
        "abstract": "Credit records of companies",
        "sector": Sector.FINANCE,
        "scenarios": "Credit rating",
        "source_type": SourceType.FIRST_PARTY,
        "personal_information": False,
        "legal_basis": None,
        "grade": DataGrade.GENERAL,
        "coverage": "Hunan",
        "record_count": 1_000,
        "update_frequency": UpdateFrequency.DAILY,
        "delivery_modes": ("api",),
        "rights": ("use",),
    }
    return VersionFields(**(given | changed))


def offer_fields(price: int | None = 106_000, **changed: Any) -> OfferFields:
    given: dict[str, Any] = {
        "price_model": PriceModel.NEGOTIABLE if price is None else PriceModel.FIXED,
        "price": price,
        "vat_rate_bp": 600,
    }
    return OfferFields(**(given | changed))


def a_price(gross: int = 106_000, vat_rate_bp: int = 600) -> Price:
    return split_gross(Money(gross), vat_rate_bp)


def terms_of(number: str = "C-1", gross: int = 106_000, **changed: Any) -> Terms:
    given: dict[str, Any] = {
        "purpose": "Training a model",
        "quantity": 1,
        "price": a_price(gross),
        "contract_number": number,
        "contract_sha256": a_sha256(number),
    }
    return Terms(**(given | changed))


@dataclass(frozen=True, slots=True)
class Party:
    """A membership and who acts for it."""

    id: MemberId
    by: KeyHolder
    uscc: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A listing and what it offers."""

    id: ListingId
    product_id: ProductId
    version_id: VersionId
    owner: Party
    price: Price | None


@dataclass(frozen=True, slots=True)
class Sale:
    """A trade and its parties."""

    id: TradeId
    buyer: Party
    seller: Party
    offer: Offer


NAMES = ("CNY", "GB/T", "HTTP", "JSON", "SHA-256", "SQLite", "UTF-8", "Unicode", "VAT rate")
"""What is written in one way only."""


def assert_well_said(problem: Problem) -> None:
    """Check that a refusal is a sentence, and that each of its faults points at a field and says what it must be."""
    assert isinstance(problem.detail, str)
    said = re.fullmatch(r"[A-Z0-9].*[^X]\.", problem.detail) and problem.detail != problem.detail.upper()
    assert said or not problem.detail, problem.detail
    for fault in problem.faults:
        assert re.fullmatch(r"(/[a-z0-9_]+)+", fault.pointer), fault
        assert re.fullmatch(r"must .*[^.X]", fault.rule), fault
    for text in (problem.detail, *(fault.rule for fault in problem.faults)):
        assert not [name for name in NAMES if name not in text and name.lower() in text.lower()], text


@contextmanager
def refused(kind: type[Problem], *pointers: str) -> Iterator[pytest.ExceptionInfo[Problem]]:
    """Expect a refusal, well said, for these fields where any are named."""
    with pytest.raises(kind) as caught:
        yield caught
    assert_well_said(caught.value)
    assert not pointers or [fault.pointer for fault in caught.value.faults] == list(pointers)


class _Rows:
    """Reads whole tables past everything that the service reads with."""

    def all(self, model: type[Stored]) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def close(self) -> None:
        """Give back what is held."""


class _MemoryRows(_Rows):
    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def all(self, model: type[Stored]) -> list[tuple[Any, ...]]:
        return list(self.store.records[schema_of(model)].values())


class _SqliteRows(_Rows):
    def __init__(self, path: Path) -> None:
        self.connection: sqlite3.Connection = connect_sqlite(path)

    def all(self, model: type[Stored]) -> list[tuple[Any, ...]]:
        schema = schema_of(model)
        readers = schema.readers(statements.SQLITE)
        names = ", ".join(f'"{name}"' for name in schema.columns)
        return [fitted(row, readers) for row in self.connection.execute(f'SELECT {names} FROM "{schema.name}"')]

    def close(self) -> None:
        self.connection.close()


class _PostgresRows(_Rows):
    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.runner = runner
        self.connection: asyncpg.Connection[Any] = runner.run(asyncpg.connect(url))

    def all(self, model: type[Stored]) -> list[tuple[Any, ...]]:
        schema = schema_of(model)
        readers = schema.readers(statements.POSTGRES)
        names = ", ".join(f'"{name}"' for name in schema.columns)
        found = self.runner.run(self.connection.fetch(f'SELECT {names} FROM "{schema.name}"'))
        return [fitted(tuple(row), readers) for row in found]

    def empty(self) -> None:
        """Leave the genesis alone: faster than a new database, and than TRUNCATE, which makes a file for each table and index."""
        names = [table.name for table in Stored.metadata.sorted_tables]
        deletes = [f'DELETE FROM "{name}"' for name in names if name not in {"head", "batch", "event"}]
        script = [
            PAST_GUARDS,
            *deletes,
            "DELETE FROM batch WHERE first > 1",
            "DELETE FROM event WHERE position > 1",
            (
                "UPDATE head SET position = batch.first, recorded_at = batch.recorded_at, contracted_gross = 0, "
                "contracted_reversed = 0 FROM batch"
            ),
            "SET session_replication_role = origin",
        ]
        self.runner.run(self.connection.execute("; ".join(script)))

    def close(self) -> None:
        self.runner.run(self.connection.close())


def _without_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, as all does on the store in memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    raise AssertionError("it waits")


class Exchange:
    """A test's own exchange. Its clock stands until it is moved; the same seed and commands give the same bytes on every store."""

    def __init__(self, seed: int = 0, now: datetime = MORNING) -> None:
        self.store: Store
        self.database: Database | None = None
        self._rows: _Rows
        self._runner: asyncio.Runner | None = None
        self._reset(seed, now)

    def _reset(self, seed: int, now: datetime) -> None:
        self.now = now
        self._random = random.Random(seed)
        self._keys = count(1)
        self._secrets = count(1)
        self._companies = count(1)
        self._codes = count(1)
        self._contracts = count(1)
        self._people: dict[str, KeyHolder] = {}

    # Opening and closing

    @classmethod
    def in_memory(cls, seed: int = 0, now: datetime = MORNING) -> Self:
        exchange = cls(seed, now)
        store = MemoryStore(exchange._clock, exchange._chance)
        exchange.store, exchange._rows = store, _MemoryRows(store)
        return exchange

    @classmethod
    def on_sqlite(cls, path: Path, template: Path | None = None, seed: int = 0, now: datetime = MORNING) -> Self:
        """Open a migrated file, or a copy of a migrated one made at this path."""
        if template is not None:
            shutil.copyfile(template, path)
        exchange = cls(seed, now)
        exchange._runner = asyncio.Runner()
        exchange._open(f"sqlite:///{path}")
        exchange._rows = _SqliteRows(path)
        return exchange

    @classmethod
    def on_postgres(cls, url: str, seed: int = 0, now: datetime = MORNING) -> Self:
        exchange = cls(seed, now)
        exchange._runner = asyncio.Runner()
        exchange._open(url)
        exchange._rows = _PostgresRows(exchange._runner, url)
        return exchange

    @classmethod
    def at(cls, url: str, seed: int = 0, now: datetime = MORNING) -> Self:
        """Open a migrated database by its URL, whichever it is."""
        path = Database(url).path
        return cls.on_postgres(url, seed, now) if path is None else cls.on_sqlite(path, None, seed, now)

    def _open(self, url: str) -> None:
        self.database = Database(url)
        self.store = open_store(self.database, self._clock, self._chance)

    def begin_anew(self, seed: int = 0, now: datetime = MORNING) -> None:
        """Empty a PostgreSQL exchange and start as if it were new."""
        assert isinstance(self._rows, _PostgresRows)
        self._rows.empty()
        self._reset(seed, now)

    def close(self) -> None:
        with suppress(AttributeError):
            self._rows.close()
        self._run(self.store.close())
        if self.database is not None:
            self._run(self.database.close())
        if self._runner is not None:
            self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return _without_loop(coroutine) if self._runner is None else self._runner.run(coroutine)

    # Time and chance

    def _clock(self) -> datetime:
        return self.now

    def _chance(self, length: int) -> bytes:
        return self._random.randbytes(length)

    @property
    def today(self) -> date:
        return business_day(self.now)

    def wait(self, **time: float) -> None:
        """Move the clock on, as `timedelta` counts: `wait(days=3)`."""
        self.now += timedelta(**time)

    # Doing and asking

    def do(self, command: Command, by: Caller, key: str | None = None) -> dict[str, Any]:
        """Do one command in a transaction of its own; raise the problem that refuses it."""
        [outcome] = self.batch([(command, by, key)])
        if not isinstance(outcome, Answer):
            raise outcome
        answer: dict[str, Any] = orjson.loads(outcome.body)
        return answer

    def job(self, commands: Sequence[Command], by: Caller, key: str | None = None) -> list[dict[str, Any]]:
        """Do several commands that stand or fall together."""
        [outcome] = self.batch([(tuple(commands), by, key)])
        if not isinstance(outcome, Answer):
            raise outcome
        answers: list[dict[str, Any]] = orjson.loads(outcome.body)["data"]
        return answers

    def batch(self, wishes: Sequence[Wish]) -> list[Outcome]:
        """Do all of these in one transaction; give an answer or a problem for each."""
        outcomes = self._run(commit(self.store, [self._job(*wish) for wish in wishes]))
        for outcome in outcomes:
            if isinstance(outcome, Problem):
                assert_well_said(outcome)
        return outcomes

    def rehearse(self, wishes: Sequence[Wish]) -> Rehearsal:
        """Say what would become of these. Chance goes on as if nobody had asked."""
        state = self._random.getstate()
        try:
            jobs = [self._job(wanted, by, key or "unused") for wanted, by, key in wishes]
            return self._run(self.store.rehearse(jobs))
        finally:
            self._random.setstate(state)

    def _job(self, wanted: Command | tuple[Command, ...], by: Caller, key: str | None) -> Job:
        many = isinstance(wanted, tuple)
        commands = wanted if isinstance(wanted, tuple) else (wanted,)
        digest = hashlib.sha256(repr(wanted).encode()).digest()
        return Job(commands, by, key or f"key-{next(self._keys)}", digest, many=many)

    def read(self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query of the service; on SQL stores only."""
        assert self.database is not None, "memory answers no queries"
        return self._run(self.database.read(query, *args, **kwargs))

    def summary(self, as_of: date | None = None, known_at: int | datetime | None = None) -> Summary:
        return self.read(summary, self.today, as_of, known_at)

    def rows(self, model: type[Stored]) -> list[tuple[Any, ...]]:
        """Give all rows of a table, in column order, sorted by key."""
        schema = schema_of(model)
        places = [schema.columns.index(name) for name in schema.key]
        return sorted(self._rows.all(model), key=lambda row: tuple(row[place] for place in places))

    def records(self, model: type[Stored]) -> list[Any]:
        """Give the same rows with their columns by name."""
        schema = schema_of(model)
        return [schema.row(*row) for row in self.rows(model)]

    def dump(self) -> Dump:
        """Give all rows of all tables."""
        # When a key was used is noted beside the journal, whenever the service comes to it.
        return {model.__name__: self.rows(model) for model in TABLES if model is not KeyUse}

    @property
    def position(self) -> int:
        [head] = self.records(Head)
        position: int = head.position
        return position

    def leaves(self) -> list[dict[str, Any]]:
        """Give all events as they are logged."""
        return [orjson.loads(event.leaf) for event in self.records(Event)]

    def batches(self) -> list[Any]:
        return self.records(Batch)

    # People

    def a_key(self, role: Role, name: str, uscc: str | None = None, by: Caller | None = None) -> KeyHolder:
        """Make a key for a person."""
        command = CreateKey(role, name, f"{next(self._secrets):064x}", uscc)
        made = self.do(command, by or self.operator())
        return caller_of(KeyId(number_of(made["id"])), role, uscc, PersonId(number_of(made["person"])))

    def operator(self) -> KeyHolder:
        return self._person(Role.OPERATOR, "Li", Caller.SYSTEM)

    def second_operator(self) -> KeyHolder:
        return self._person(Role.OPERATOR, "Wang", self.operator)

    def auditor(self) -> KeyHolder:
        return self._person(Role.AUDITOR, "Chen", self.operator)

    def regulator(self) -> KeyHolder:
        return self._person(Role.REGULATOR, "Zhao", self.operator)

    def _person(self, role: Role, name: str, by: Caller | Callable[[], Caller]) -> KeyHolder:
        if name not in self._people:
            self._people[name] = self.a_key(role, name, by=by if isinstance(by, Caller) else by())
        return self._people[name]

    def a_company(self, uscc: str | None = None, person: str = "Zhang") -> KeyHolder:
        """Make a key for a company that has not applied yet."""
        return self.a_key(Role.MEMBER, person, uscc or a_uscc(next(self._companies)))

    # Builders: what a test starts from, each made by the commands that a company would send

    def a_member(self, state: MemberState = MemberState.ACTIVE, by: KeyHolder | None = None, **fields: Any) -> Party:
        """Make a member as far as a state."""
        by = by or self.a_company()
        assert by.uscc is not None
        applied = self.do(ApplyForMembership(by.uscc, company_fields(f"湖南数据{by.uscc[-6:]}", **fields)), by)
        party = Party(MemberId(number_of(applied["id"])), by, by.uscc)
        reviewed = (StartReview,)
        steps: dict[MemberState, tuple[type[Any], ...]] = {
            MemberState.SUBMITTED: (),
            MemberState.UNDER_REVIEW: reviewed,
            MemberState.CORRECTION_REQUESTED: (*reviewed, RequestCorrection),
            MemberState.REJECTED: (*reviewed, RejectMember),
            MemberState.ACTIVE: (*reviewed, AdmitMember),
            MemberState.SUSPENDED: (*reviewed, AdmitMember, SuspendMember),
            MemberState.WITHDRAWN: (*reviewed, AdmitMember, WithdrawMember),
            MemberState.EXPELLED: (*reviewed, AdmitMember, ProposeExpulsion),
        }
        for step in steps[state]:
            self.do(step(party.id, "as it should be"), self.operator())
        if state is MemberState.EXPELLED:
            self.do(ApproveExpulsion(party.id, "as it should be"), self.second_operator())
        return party

    def a_mandate(
        self, principal: Party, agent: Party, *steps: MandateStep, ends_on: date = date(2026, 12, 31)
    ) -> MandateId:
        """Have a member authorise another, for all steps where none is named."""
        answer = self.do(GrantMandate(agent.id, steps or tuple(MandateStep), ends_on), principal.by)
        return MandateId(number_of(answer["id"]))

    def a_version(self, owner: Party, **fields: Any) -> tuple[ProductId, VersionId]:
        """Make a product of this owner with its first version."""
        product = self.do(RegisterProduct(f"P-{next(self._codes)}", ProductKind.DATASET), owner.by)
        product_id = ProductId(number_of(product["id"]))
        version = self.do(DescribeVersion(product_id, version_fields(**fields)), owner.by)
        return product_id, VersionId(number_of(version["id"]))

    def a_listing(
        self,
        owner: Party | None = None,
        state: ListingState = ListingState.LISTED,
        price: int | None = 106_000,
        version: dict[str, Any] | None = None,
        **offer: Any,
    ) -> Offer:
        """Make a listing as far as a state, of a product of its own."""
        owner = owner or self.a_member()
        product_id, version_id = self.a_version(owner, **(version or {}))
        terms = offer_fields(price, **offer)
        drafted = self.do(DraftListing(version_id, terms), owner.by)
        split = a_price(price, terms.vat_rate_bp) if price is not None else None
        made = Offer(ListingId(number_of(drafted["id"])), product_id, version_id, owner, split)
        reason = "as it should be"
        if state is not ListingState.DRAFT:
            self.do(SubmitListing(made.id, reason), owner.by)
        if state in {ListingState.LISTED, ListingState.SUSPENDED, ListingState.DELISTED}:
            if version and version.get("grade") is DataGrade.IMPORTANT:
                self.an_assessment(version_id)
            self.do(ApproveListing(made.id, reason), self.operator())
        last = {
            ListingState.REJECTED: RejectListing,
            ListingState.SUSPENDED: SuspendListing,
            ListingState.DELISTED: DelistListing,
        }
        if state in last:
            self.do(last[state](made.id, reason), self.operator())
        return made

    def an_assessment(
        self, version_id: VersionId, kind: AssessmentKind = AssessmentKind.SECURITY, by: Party | None = None
    ) -> None:
        """Have a version assessed, by a service organisation made for it."""
        assessor = by or self.a_member(roles=("service_org",))
        self.do(RecordAssessment(version_id, kind, a_sha256("report")), assessor.by)

    def a_trade(
        self,
        state: TradeState = TradeState.CONTRACTED,
        buyer: Party | None = None,
        offer: Offer | None = None,
        terms: Terms | None = None,
        effective_on: date | None = None,
    ) -> Sale:
        """Make a trade as far as a state: filed ones by the seller, with `effective_on`, the others proposed by the buyer."""
        offer = offer or self.a_listing()
        buyer, seller = buyer or self.a_member(), offer.owner
        terms = terms or terms_of(f"C-{next(self._contracts)}")
        filed = effective_on is not None or state in {TradeState.FILED, TradeState.REJECTED}
        if filed:
            opening: Command = FileTrade(
                offer.id, terms, effective_on or self.today, (a_sha256("evidence"),), buyer_id=buyer.id
            )
        else:
            opening = ProposeTrade(offer.id, terms)
        trade_id = TradeId(number_of(self.do(opening, seller.by if filed else buyer.by)["id"]))
        sale = Sale(trade_id, buyer, seller, offer)
        reason = "as it should be"
        if state in {TradeState.PROPOSED, TradeState.FILED}:
            return sale
        if state is TradeState.CANCELLED:
            self.do(CancelTrade(trade_id, reason), buyer.by)
            return sale
        if state is TradeState.REJECTED:
            self.do(RejectFiling(trade_id, reason), self.operator())
            return sale
        self.do(ConfirmTrade(trade_id), buyer.by if filed else seller.by)
        if state is TradeState.CONFIRMED:
            return sale
        if filed:
            self.do(ApproveFiling(trade_id, reason), self.operator())
        else:
            self.do(ContractTrade(trade_id), buyer.by)
        if state is TradeState.TERMINATED:
            self.do(TerminateTrade(trade_id, reason), self.operator())
        if state is TradeState.REVERSED:
            self.do(ProposeReversal(trade_id, reason), self.operator())
            self.do(ApproveReversal(trade_id, "as it should be"), self.second_operator())
        return sale

    def a_taken_listing(self, buyer: Party | None = None, offer: Offer | None = None, quantity: int = 1) -> Sale:
        """Have a fixed-price listing taken."""
        offer, buyer = offer or self.a_listing(), buyer or self.a_member()
        assert offer.price is not None
        price = a_price(offer.price.gross * quantity)
        taken = self.do(TakeListing(offer.id, quantity, price, "Training a model"), buyer.by)
        return Sale(TradeId(number_of(taken["id"])), buyer, offer.owner, offer)
