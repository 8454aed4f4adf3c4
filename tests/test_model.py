"""Whatever members, operators and time do, on every store the service answers, records and counts as the model says."""

import copy
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar, cast
from unittest.mock import patch

import orjson
import pytest
from exchanges import TABLES, Exchange, Wish, a_sha256, a_uscc, company_fields, offer_fields, version_fields
from hypothesis import event, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from model import LISTING_STEPS, MEMBER_STEPS, OPEN_TRADES, Accepted, Model, Refused, month_end, months_back

import exchange.listings.commands as listings
import exchange.members.commands as members
import exchange.trades.commands as trades
from exchange.access.callers import KeyHolder, caller_of
from exchange.access.commands import CreateKey, RevokeKey
from exchange.access.tables import Role, Scope
from exchange.agents.callers import Agent, agent_for
from exchange.agents.commands import EndMandate, GrantMandate
from exchange.agents.tables import Mandate, MandateStep
from exchange.columns import Told
from exchange.identifiers import KeyId, ListingId, MandateId, MemberId, PersonId, ProductId, TradeId, VersionId
from exchange.journal import batch
from exchange.journal.batch import AT_ONCE, Outcome
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command
from exchange.journal.events import canonical
from exchange.journal.queries import moment_at
from exchange.journal.replay import replay
from exchange.journal.schema import schema_of
from exchange.journal.tables import Batch, Event, Head, PartyCounter, PartyEvent
from exchange.ledger.tables import Account
from exchange.listings.tables import (
    AssessmentKind,
    DataGrade,
    DataProduct,
    Listing,
    ListingHistory,
    PriceModel,
    ProductKind,
    Sector,
)
from exchange.members import personal
from exchange.members.tables import Member, MemberHistory
from exchange.money import Money, Price
from exchange.problems import Problem
from exchange.regulator import integrity
from exchange.trades.rules import OldDates, Terms
from exchange.trades.states import TradeState
from exchange.trades.tables import Trade, TradeMode, Venue
from exchange.volume.commands import CloseMonth
from exchange.volume.queries import Question, cumulative
from exchange.volume.tables import Dimension, MonthlyRollup, Rollup, VolumeEntry

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]
Wanted = tuple[Any, Caller]
UNKNOWN = 999_999
REASON = "as it should be"
COMPANIES = [a_uscc(n) for n in range(1, 10)]
GROUPS = [COMPANIES[0], a_uscc(99)]
REGIONS = ["430104", "430602", "110101", "440305"]
ROLES = [("provider", "consumer"), ("provider",), ("consumer", "service_org"), ("provider", "consumer", "service_org")]
FIRST_DAY = date(2014, 12, 31)


@cache
def below(times: int) -> st.SearchStrategy[int]:
    return st.integers(0, times - 1)


class Wishes:
    """Draws what somebody might want next: mostly what can be done as the model stands, sometimes what cannot."""

    def __init__(self, model: Model, draw: Draw) -> None:
        self.model = model
        self.draw = draw

    def one_of(self, choices: Sequence[T]) -> T:
        return self.draw(st.sampled_from(choices))  # type: ignore[no-any-return]  # Draw is of any type

    def seldom(self, times: int = 12) -> bool:
        """Say yes once in so many times."""
        drawn: int = self.draw(below(times))
        return drawn == times // 2

    def likely(self, good: Sequence[int], all_: Sequence[int]) -> int:
        """Choose one of the good ones, seldom any, and hardly ever one that is not there."""
        return self.one_of([*all_, UNKNOWN]) if self.seldom() or not good else self.one_of(good)

    def step(self, weights: dict[Any, int], good: Callable[[Any], Sequence[int]]) -> Any:
        """Choose a step, by weight, for which there is something to do; seldom any."""
        possible = [step for step in weights if good(step)]
        if self.seldom() or not possible:
            possible = list(weights)
        return self.one_of([step for step in possible for _ in range(weights[step])])

    def day(self, since: date, until: date | None = None) -> date:
        """Choose a business date: where something turns, or any; seldom one just outside."""
        until = until or self.model.today
        since = min(since, until)
        month = until.replace(day=1)
        turns = [until - timedelta(days=days) for days in (0, 1, 30, 31, 32)]
        turns += [since + timedelta(days=days) for days in (0, 30, 31)]
        turns += [month, month - timedelta(days=1), months_back(until, 1), months_back(until, 12)]
        if self.seldom(30):
            return self.one_of([until + timedelta(days=1), since - timedelta(days=1)])
        inside = [day for day in turns if since <= day <= until]
        return self.one_of(inside) if self.draw(st.booleans()) else self.draw(st.dates(since, until))

    def gross(self) -> int:
        return int(self.one_of([106_000, 100, 1, 99_999_999, 10**14]))

    def price(self) -> Price:
        gross = self.gross()
        vat = self.draw(st.integers(0, min(gross - 1, 6_000)))
        return Price(Money(gross - vat), Money(vat), Money(gross))

    # Who acts

    def holder(self, number: int) -> Caller:
        key = self.model.keys[number]
        return caller_of(
            KeyId(number), Role(key["role"]), key["uscc"], PersonId(key["person"]), key["scopes"], key["ends"]
        )

    def somebody(self, fits: Callable[[dict[str, Any]], bool]) -> Caller:
        """Choose a key that is live and fits; seldom any at all."""
        keys = self.model.keys
        good = [number for number, key in keys.items() if self.model.opens(number) and fits(key)]
        return self.holder(self.one_of(list(keys)) if self.seldom(15) or not good else self.one_of(good))

    def operator(self, but: int | None = None) -> Caller:
        """Choose an operator, mostly another person than this one."""
        but = None if self.seldom(4) else but
        return self.somebody(lambda key: key["role"] == "operator" and key["person"] != but)

    def company(self, uscc: str) -> Caller:
        return self.somebody(lambda key: key["uscc"] == uscc)

    def acting_for(self, member: int | None) -> Caller:
        """Choose somebody of the company with this membership."""
        found = self.model.members.get(member or 0)
        return self.company(found["uscc"] if found else self.one_of(COMPANIES))

    def members_in(self, states: set[str]) -> list[int]:
        return [number for number, member in self.model.members.items() if member["state"] in states]

    def active(self, role: str = "") -> list[int]:
        """Give the members that are active, and have a role."""
        found = self.model.members
        return [number for number in self.members_in({"active"}) if not role or role in found[number]["roles"]]

    # Keys

    def key_made(self) -> Wanted:
        role = self.one_of([Role.MEMBER, Role.MEMBER, Role.OPERATOR, Role.AUDITOR, Role.REGULATOR])
        uscc = self.one_of(COMPANIES) if role is Role.MEMBER else None
        name = self.one_of(["Li", "Wang", "Chen", "Zhou", "Wu"])
        by = self.one_of([Caller.SYSTEM, self.operator(), self.operator(), self.company(uscc or COMPANIES[0])])
        scopes = None
        if self.seldom(4):
            scopes = (Scope.READ,) if role in {Role.AUDITOR, Role.REGULATOR} else (Scope.KEYS, Scope.TRADES)
        ends = self.model.today + timedelta(days=self.one_of([-1, 0, 1, 30])) if self.seldom(4) else None
        return CreateKey(role, name, f"{self.model.position:064x}", uscc, name, scopes, ends), by

    def key_revoked(self) -> Wanted:
        first = [number for number, key in self.model.keys.items() if key["role"] == "operator"][:2]
        spare = [number for number in self.model.keys if number not in first]
        revoked = [number for number in spare if not self.model.keys[number]["live"]]
        good = revoked if revoked and self.seldom(3) else spare[-3:]
        number = self.likely(good, revoked)
        of = self.model.keys.get(number, {}).get("uscc")
        by = self.company(of or COMPANIES[0]) if self.seldom(3) else self.operator()
        return RevokeKey(KeyId(number)), by

    # Mandates

    def mandate(self) -> Wanted:
        agents = [one for one in self.active("service_org") if not self.seldom(8)]
        days = self.one_of([0, 1, 30, 400]) if not self.seldom() else self.one_of([-1, 3 * 366 + 1])
        steps = self.draw(st.sets(st.sampled_from(MandateStep), min_size=1)) if self.seldom(3) else set(MandateStep)
        agent = MemberId(self.likely(agents, list(self.model.members)))
        command = GrantMandate(agent, tuple(steps), self.model.today + timedelta(days=days))
        own = [self.model.members[number]["uscc"] for number in self.active() if number != agent]
        return command, self.company(self.one_of(COMPANIES if self.seldom(5) or not own else own))

    def mandate_ended(self) -> Wanted:
        mandates = self.model.mandates
        live = [number for number, one in mandates.items() if one["live"]]
        ended = [number for number in mandates if number not in live]
        number = self.likely(ended if ended and self.seldom(3) else live, list(mandates))
        held = mandates.get(number)
        side = held[self.one_of(["principal_uscc", "agent_uscc"])] if held and not self.seldom() else COMPANIES[0]
        return EndMandate(MandateId(number), REASON), self.company(side)

    def by_agent(self) -> Wanted:
        """Want what a company might want itself, but by its agent."""
        wish = self.one_of(
            [
                Wishes.product,
                Wishes.version,
                Wishes.draft,
                Wishes.listing_step,
                Wishes.taking,
                Wishes.proposal,
                Wishes.filing,
                Wishes.trade_step,
                Wishes.trade_step,
                Wishes.mandate,
                Wishes.mandate_ended,
            ]
        )
        wanted, by = wish(self)
        if by.uscc is None:
            return wanted, by
        held = [one["agent_uscc"] for one in self.model.mandates.values() if one["principal_uscc"] == by.uscc]
        agent = self.company(self.one_of(COMPANIES if self.seldom(6) or not held else held))
        return wanted, by if agent.uscc in {None, by.uscc} else agent_for(cast("KeyHolder", agent), by.uscc)

    # Members

    def fields(self) -> Any:
        group = self.one_of(GROUPS) if self.seldom(3) else None
        return company_fields(
            f"公司{self.model.position}",
            region_code=self.one_of(REGIONS),
            roles=self.one_of(ROLES),
            group_parent_uscc=group,
        )

    def gone(self) -> list[str]:
        """Give the companies that may apply."""
        found = self.model.companies
        return [uscc for uscc in COMPANIES if uscc not in found or not (found[uscc]["live"] or found[uscc]["barred"])]

    def may_apply(self) -> str:
        gone = self.gone()
        return self.one_of(COMPANIES if self.seldom() or not gone else gone)

    def application(self) -> Wanted:
        if not self.gone() and not self.seldom():
            return self.member_step()
        uscc = self.may_apply()
        return members.ApplyForMembership(uscc, self.fields()), self.operator() if self.seldom(4) else self.company(
            uscc
        )

    def old_member(self) -> Wanted:
        if not self.gone() and not self.seldom():
            return self.change()
        uscc = self.may_apply()
        before = self.model.companies.get(uscc)
        ended = self.model.members[before["member"]]["since"] if before and not self.seldom() else None
        applied = self.day(ended or months_back(self.model.today, 25))
        admitted = self.day(applied)
        admitted, withdrawn = max(applied, admitted), self.day(admitted) if self.seldom(4) else None
        if withdrawn is not None:
            withdrawn = max(withdrawn, admitted)
        return members.RecordMember(uscc, self.fields(), applied, admitted, withdrawn), self.operator()

    def member_step(self) -> Wanted:
        weights: dict[Any, int] = {
            members.StartReview: 4,
            members.AdmitMember: 5,
            members.RequestCorrection: 4,
            members.RejectMember: 2,
            members.SuspendMember: 1,
            members.ReinstateMember: 4,
            members.WithdrawMember: 1,
        }

        def good(step: Any) -> list[int]:
            return self.members_in(MEMBER_STEPS[step.__name__][0])

        step = self.step(weights, good)
        if not good(step) and not self.seldom():
            return self.change()
        number = self.likely(good(step), list(self.model.members))
        member = self.model.members.get(number)
        own = step is members.WithdrawMember and self.draw(st.booleans())
        given = self.day(member["since"]) if member and self.seldom(4) else None
        command = step(MemberId(number), REASON, effective_on=given)
        return command, self.acting_for(number) if own else self.operator()

    def correction(self) -> Wanted:
        reviewed = self.members_in({"under_review"})
        if reviewed and not self.members_in({"correction_requested"}):
            return members.RequestCorrection(MemberId(self.one_of(reviewed)), REASON), self.operator()
        number = self.likely(self.members_in({"correction_requested"}), list(self.model.members))
        return members.CorrectApplication(MemberId(number), self.fields()), self.acting_for(number)

    def change(self) -> Wanted:
        number = self.likely(self.members_in({"active", "suspended", "under_review"}), list(self.model.members))
        member = self.model.members.get(number)
        given = self.day(member["since"]) if member and self.seldom(2) else None
        changes: list[dict[str, Any]] = [
            {"region_code": self.one_of(REGIONS)},
            {"group_parent_uscc": self.one_of(GROUPS)},
            {"leaves_group": True},
            {"legal_name": f"新公司{self.model.position}"},
            {"short_name": "新"},
        ]
        command = members.ChangeMember(MemberId(number), REASON, effective_on=given, **self.one_of(changes))
        return command, self.operator()

    def typo_of_member(self) -> Wanted:
        number = self.likely(list(self.model.members), [])
        address = self.one_of(["长沙市岳麓区", "长沙市岳麓区麓谷大道1号"])
        return members.CorrectMember(MemberId(number), "address", address, REASON), self.operator()

    def expulsion(self) -> Wanted:
        model = self.model
        proposed = [n for n, m in model.members.items() if m["expulsion"] and not self.approved(m["expulsion"])]
        if not proposed and not self.seldom(3):
            return self.change()
        if proposed and not self.seldom(4):
            number = self.likely(proposed, list(model.members))
            member = model.members.get(number)
            proposal = member["expulsion"] if member else None
            return members.ApproveExpulsion(MemberId(number), REASON), self.operator(but=self.proposer(proposal))
        number = self.likely(self.members_in({"active", "suspended"}), list(model.members))
        kind = members.ProposeExpulsion if not self.seldom() else members.ApproveExpulsion
        return kind(MemberId(number), REASON), self.operator()

    def readmission(self) -> Wanted:
        model = self.model
        barred = {c["member"]: c for c in model.companies.values() if c["barred"]}
        if not barred and not self.seldom():
            return self.expulsion()
        number = self.likely(list(barred), list(model.members))
        company = barred.get(number)
        if (company and company["readmission"] and not self.seldom(4)) or self.seldom():
            proposal = company["readmission"] if company else None
            return members.ApproveReadmission(MemberId(number), "as it should be"), self.operator(
                but=self.proposer(proposal)
            )
        return members.ProposeReadmission(MemberId(number), REASON), self.operator()

    def approved(self, proposal: int) -> bool:
        return bool(self.model.proposals[proposal]["approved"])

    def proposer(self, proposal: int | None) -> int | None:
        return self.model.proposals[proposal]["by"] if proposal else None

    # Products and listings

    def product(self) -> Wanted:
        owner = self.likely(self.active("provider"), list(self.model.members))
        kind = self.one_of(list(ProductKind))
        code = "P-1" if self.seldom(4) else f"P-{self.model.position}"
        return listings.RegisterProduct(code, kind), self.acting_for(owner)

    def version_fields(self) -> Any:
        rights: tuple[str, ...] = ("use",)
        if self.seldom(4):
            last = self.model.today + timedelta(days=self.one_of([7, 0, -1, -7, -40]))
            rights = ("hold", f"use:{last}")
        grade = DataGrade.IMPORTANT if self.seldom(5) else DataGrade.GENERAL
        return version_fields(rights=rights, grade=grade, sector=self.one_of(list(Sector)))

    def version(self) -> Wanted:
        model = self.model
        good = [n for n, product in model.products.items() if product["owner"] in self.active("provider")]
        number = self.likely(good, list(model.products))
        product = model.products.get(number)
        by = self.acting_for(product["owner"] if product else None)
        return listings.DescribeVersion(ProductId(number), self.version_fields()), by

    def assessment(self) -> Wanted:
        wanting = [n for n, version in self.model.versions.items() if not self.model.is_assessed(n)]
        number = self.likely(wanting, list(self.model.versions))
        assessor = self.likely(self.active("service_org"), list(self.model.members))
        kind = self.one_of([AssessmentKind.SECURITY, AssessmentKind.QUALITY])
        return listings.RecordAssessment(VersionId(number), kind, a_sha256("report")), self.acting_for(assessor)

    def offer_fields(self, since: date | None = None) -> Any:
        since = since or self.model.today
        ends = since + timedelta(days=self.one_of([40, 7, 0, -1])) if self.seldom(4) else None
        if self.seldom(4):
            return offer_fields(None, expires_on=ends)
        changed = {"price_model": PriceModel.SUBSCRIPTION} if self.seldom(5) else {}
        rate = self.one_of([600, 0, 1_300, 1])
        return offer_fields(self.one_of([106_000, 1_007, 1]), vat_rate_bp=rate, expires_on=ends, **changed)

    def draft(self) -> Wanted:
        model = self.model
        owner = {n: model.products[version["product"]]["owner"] for n, version in model.versions.items()}
        number = self.likely([n for n in owner if owner[n] in self.active("provider")], list(owner))
        command = listings.DraftListing(VersionId(number), self.offer_fields())
        return command, self.acting_for(owner.get(number))

    def listing_step(self) -> Wanted:
        weights: dict[Any, int] = {
            listings.SubmitListing: 4,
            listings.ApproveListing: 5,
            listings.RejectListing: 2,
            listings.SuspendListing: 1,
            listings.ResumeListing: 3,
            listings.DelistListing: 1,
        }

        def good(step: Any) -> list[int]:
            return [n for n, one in self.model.listings.items() if one["state"] in LISTING_STEPS[step.__name__][0]]

        step = self.step(weights, good)
        if not good(step) and not self.seldom():
            return self.draft()
        number = self.likely(good(step), list(self.model.listings))
        listing = self.model.listings.get(number)
        own = step is listings.SubmitListing or (step is listings.DelistListing and self.draw(st.booleans()))
        given = self.day(listing["since"]) if listing and self.seldom(4) and (not own or self.seldom(3)) else None
        by = self.acting_for(listing["owner"] if listing else None) if own else self.operator()
        command: Command = step(ListingId(number), REASON, effective_on=given)
        return command, by

    def old_listing(self) -> Wanted:
        model = self.model
        owner = self.likely(self.active("provider"), list(model.members))
        member = model.members.get(owner, {"uscc": self.one_of(COMPANIES), "since": FIRST_DAY})
        codes = [product["code"] for product in model.products.values() if product["owner"] == owner]
        code = self.one_of(codes) if codes and self.seldom(3) else f"R-{model.position}"
        product = model.product_of(owner, code)
        number = (product["versions"] if product else 0) + 1 + self.seldom(12)
        admitted = [day for _, day, fact, value in member.get("history", ()) if (fact, value) == ("state", "active")]
        current = model.listings.get(product["current"] or 0) if product else None
        since = max([current["since"]] if current else admitted[:1], default=FIRST_DAY)
        listed = self.day(since)
        delisted = max(listed, self.day(listed)) if self.seldom(4) else None
        fields = self.version_fields()
        assessed: dict[str, Any] = {}
        if fields.grade is DataGrade.IMPORTANT and not self.seldom(6):
            assessor = model.members.get(self.likely(self.active("service_org"), list(model.members)), {})
            assessed = {
                "assessor_uscc": assessor.get("uscc", COMPANIES[-1]),
                "security_assessment_sha256": a_sha256("report"),
            }
        command = listings.RecordListing(
            member["uscc"],
            code,
            self.one_of(list(ProductKind)),
            number,
            fields,
            self.offer_fields(listed),
            listed,
            delisted,
            **assessed,
        )
        return command, self.operator()

    # Trades

    def tradable(self, day: date, *, fixed: bool = False) -> list[int]:
        return [
            n
            for n, one in self.model.listings.items()
            if self.model.is_tradable(one, day)
            and self.model.is_active(one["owner"], day)
            and (not fixed or one["model"] == "fixed")
        ]

    def buyer_for(self, listing: dict[str, Any] | None) -> int:
        """Choose an active member of another company; seldom any."""
        found = self.model.members
        seller = found[listing["owner"]]["uscc"] if listing else None
        return self.likely([n for n in self.active() if found[n]["uscc"] != seller], list(found))

    def terms(self, buyer: int, seller: int | None) -> Terms:
        """Draw terms, sometimes of a contract that there is between the two."""
        known = [trade["contract"] for trade in self.model.trades.values()]
        known = [c for c in known if c[:2] == (seller, buyer) and isinstance(c[3], str)]
        number = f"C-{self.model.position}"
        number, digest = self.one_of(known)[2:] if known and self.seldom(4) else (number, a_sha256(number))
        return Terms("Training a model", 1, self.price(), number, digest)

    def taking(self) -> Wanted:
        number = self.likely(self.tradable(self.model.today, fixed=True), list(self.model.listings))
        listing = self.model.listings.get(number)
        buyer = self.buyer_for(listing)
        quantity = 10**9 if self.seldom(20) else self.draw(st.integers(1, 3))
        due = self.model.due(listing, quantity) if listing else None
        net, vat, gross = due or (100_000, 6_000, 106_000)
        price = (
            Price(Money(net - self.seldom(15)), Money(vat), Money(gross))
            if net > 1
            else Price(Money(1), Money(0), Money(1))
        )
        price = Price(price.net, Money(price.gross - price.net), price.gross)
        order = self.one_of(["O-1", "O-2"]) if self.seldom(3) else None
        by = self.acting_for(buyer)
        return trades.TakeListing(ListingId(number), quantity, price, "Training a model", order), by

    def sides(self, day: date) -> tuple[int, int, bool]:
        """Draw a listing, a buyer, and whether the seller acts."""
        number = self.likely(self.tradable(day), list(self.model.listings))
        return number, self.buyer_for(self.model.listings.get(number)), bool(self.draw(st.booleans()))

    def place_and_day(self, months: int) -> tuple[int, date]:
        """Draw a listing and a day of trade, sometimes the last day on which it is for sale or the first on which it is not."""
        ending = [
            (number, end + timedelta(days=days))
            for number, one in self.model.listings.items()
            for end in (one["ends"], self.model.versions[one["version"]]["rights_end"])
            for days in (0, 1)
            if end is not None and end < self.model.today
        ]
        if ending and self.seldom(3):
            return self.one_of(ending)
        day = self.day(months_back(self.model.today, months))
        return self.likely(self.tradable(day), list(self.model.listings)), day

    def opening(self, kind: Any, number: int, buyer: int, *, sells: bool, **more: Any) -> Wanted:
        listing = self.model.listings.get(number)
        seller = listing["owner"] if listing else None
        named = buyer if sells != self.seldom(20) else None
        command = kind(
            ListingId(number), self.terms(buyer, seller), buyer_id=None if named is None else MemberId(named), **more
        )
        return command, self.acting_for(seller if sells else buyer)

    def proposal(self) -> Wanted:
        number, buyer, sells = self.sides(self.model.today)
        return self.opening(trades.ProposeTrade, number, buyer, sells=sells)

    def filing(self) -> Wanted:
        number, day = self.place_and_day(13)
        buyer, sells = self.buyer_for(self.model.listings.get(number)), bool(self.draw(st.booleans()))
        more = {"effective_on": day, "evidence": (a_sha256("evidence"),)}
        return self.opening(trades.FileTrade, number, buyer, sells=sells, **more)

    def auction(self) -> Wanted:
        number, day = self.place_and_day(3)
        listing = self.model.listings.get(number)
        buyer = self.buyer_for(listing)
        terms = self.terms(buyer, listing["owner"] if listing else None)
        return trades.RecordAuction(ListingId(number), MemberId(buyer), terms, day), self.operator()

    def old_trade(self) -> Wanted:
        model = self.model
        state = self.one_of([TradeState.CONTRACTED, TradeState.CONTRACTED, *trades.RecordTrade.STEPS])
        number, day = self.place_and_day(14)
        listing = model.listings.get(number)
        buyer = self.buyer_for(listing)
        product = model.products[listing["product"]] if listing else {"code": "P-0"}
        version = model.versions[listing["version"]]["number"] if listing else 1
        seller = listing["owner"] if listing else None
        counts = state in {TradeState.CONTRACTED, TradeState.TERMINATED}
        ends = state in {TradeState.CANCELLED, TradeState.TERMINATED}
        proposed = min(day, self.day(months_back(day, 2), day)) if counts else day
        received = max(day, self.day(day)) if self.seldom(3) else None
        dates = OldDates(proposed, day if counts else None, max(day, self.day(day)) if ends else None, received)
        mode, venue = self.one_of(
            [
                (TradeMode.NEGOTIATED, Venue.ON_EXCHANGE),
                (TradeMode.NEGOTIATED, Venue.OFF_EXCHANGE_FILED),
                (TradeMode.AUCTION, Venue.ON_EXCHANGE),
                (TradeMode.LISTED, Venue.ON_EXCHANGE),
            ]
        )
        terms = self.terms(buyer, seller)
        due = model.due(listing, 1) if listing else None
        if mode is TradeMode.LISTED and due and not self.seldom(6):
            net, vat, gross = map(Money, due)
            terms = Terms(terms.purpose, 1, Price(net, vat, gross), terms.contract_number, terms.contract_sha256)
        uscc = {n: member["uscc"] for n, member in model.members.items()}
        command = trades.RecordTrade(
            uscc.get(seller or 0, COMPANIES[-1]),
            uscc.get(buyer, COMPANIES[-2]),
            product["code"],
            version + self.seldom(30),
            mode,
            venue,
            terms,
            state,
            dates,
            reason=REASON if ends else None,
            evidence=(a_sha256("evidence"),),
        )
        return command, self.operator()

    def trade_step(self) -> Wanted:
        if not self.model.trades and not self.seldom():
            return self.one_of([self.taking, self.proposal, self.filing])()
        weights: dict[Any, int] = {
            trades.ConfirmTrade: 5,
            trades.ContractTrade: 6,
            trades.CancelTrade: 1,
            trades.ApproveFiling: 5,
            trades.RejectFiling: 1,
            trades.ProposeTermination: 1,
            trades.ApproveTermination: 4,
            trades.TerminateTrade: 1,
            trades.ProposeReversal: 2,
            trades.ApproveReversal: 4,
        }

        careless = self.seldom(5)

        def fits(step: Any, one: dict[str, Any]) -> bool:
            fitting: dict[Any, bool] = {
                trades.ConfirmTrade: one["state"] in {"proposed", "filed"} and (not one["confirmed"] or careless),
                trades.ContractTrade: one["state"] == "confirmed",
                trades.CancelTrade: one["state"] in OPEN_TRADES,
                trades.ApproveFiling: one["state"] == "filed" and (one["confirmed"] or careless),
                trades.RejectFiling: one["state"] == "filed",
                trades.ApproveTermination: one["state"] == "contracted" and (one["termination"] or careless),
                trades.ApproveReversal: one["state"] == "contracted" and (one["reversal"] or careless),
            }
            return bool(fitting.get(step, one["state"] == "contracted"))

        def good(step: Any) -> list[int]:
            return [n for n, one in self.model.trades.items() if fits(step, one)]

        step = self.step(weights, good)
        if not good(step) and not self.seldom():
            return self.one_of([self.taking, self.proposal, self.filing, self.old_trade])()
        number = self.likely(good(step), list(self.model.trades))
        trade = self.model.trades.get(number)
        return self.trade_step_command(step, number, trade), self.trade_step_caller(step, trade)

    def trade_step_command(self, step: Any, number: int, trade: dict[str, Any] | None) -> Any:
        if step in {trades.ConfirmTrade, trades.ContractTrade, trades.ApproveTermination}:
            return step(TradeId(number))
        since = (trade["effective_on"] if trade else None) or self.model.today
        more: dict[str, Any] = {}
        if step is trades.ApproveFiling and self.seldom(2):
            more["received_on"] = self.day(since)
        if step is trades.TerminateTrade and (self.seldom(2) or (trade and trade["late"])):
            more["effective_on"] = self.one_of([since, self.day(since)])
        return step(TradeId(number), REASON, **more)

    def trade_step_caller(self, step: Any, trade: dict[str, Any] | None) -> Caller:
        if Role.MEMBER not in step.allowed:
            reversal = trade["reversal"] if trade else None
            return self.operator(but=self.proposer(reversal) if step is trades.ApproveReversal else None)
        if trade is None:
            return self.acting_for(None)
        side = self.one_of(["buyer", "seller"])
        other = {"buyer": "seller", "seller": "buyer"}
        if not self.seldom(8):
            if step is trades.ConfirmTrade:
                side = other.get(trade["proposer"], side)
            if step is trades.ApproveTermination and trade["termination"]:
                proposing = self.model.proposals[trade["termination"]]["uscc"]
                side = "seller" if self.model.members[trade["buyer"]]["uscc"] == proposing else "buyer"
        if self.seldom(20):
            return self.company(self.one_of(COMPANIES))
        return self.acting_for(trade[side])

    def typo(self) -> Wanted:
        number = self.likely(list(self.model.trades), [])
        field = self.one_of(["contract_number", "purpose", "delivery_terms", "seller_ref"])
        numbers = [trade["contract"][2] for trade in self.model.trades.values() if trade["contract"][2][:2] == "C-"]
        after = {
            "contract_number": self.one_of(numbers) if numbers and not self.seldom(3) else f"M-{self.model.position}",
            "purpose": self.one_of(["Training two models", "Training a model"]),
        }.get(field, self.one_of(["as agreed", None]))
        return trades.CorrectTrade(TradeId(number), field, after, REASON), self.operator()

    # Months

    def closing(self) -> Wanted:
        model = self.model
        month = model.today.replace(day=1)
        due = month_end(model.closed[-1]) + timedelta(days=1) if model.closed else months_back(month, 2).replace(day=1)
        if self.seldom(3):
            due = self.one_of([month_end(due) + timedelta(days=1), month, months_back(due, 1)])
        return CloseMonth(due), self.operator()

    def release(self) -> Wanted:
        return members.ReleasePersonalData(REASON), self.operator()

    def personal(self) -> Wanted:
        if self.seldom(3):
            kind: Any = self.one_of([personal.ReadMemberData, personal.EraseMemberData])
            gone = [number for number, member in self.model.members.items() if member["data_erased"]]
            return kind(MemberId(self.likely(list(self.model.members), gone)), REASON), self.operator()
        kind = self.one_of([personal.ReadPerson, personal.ErasePerson])
        live = {key["person"] for key in self.model.keys.values() if key["live"]}
        idle = sorted(set(self.model.people.values()) - live)
        everybody = sorted({*self.model.people.values(), *self.model.erased})
        return kind(PersonId(self.likely(idle, everybody)), REASON), self.operator()

    def whatever(self) -> Wanted:
        """Want a step of something as it is, wherever it stands."""
        model = self.model
        late = [n for n, trade in model.trades.items() if trade["late"] and trade["state"] == "contracted"]
        if late and self.seldom(3):
            number = self.one_of(late)
            day = model.trades[number]["effective_on"]
            return trades.TerminateTrade(TradeId(number), REASON, effective_on=day), self.operator()
        agreed = [n for n, trade in model.trades.items() if trade["state"] == "filed" and trade["confirmed"]]
        if agreed and self.seldom(3):
            filed = model.trades[number := self.one_of(agreed)]
            other = "buyer" if filed["proposer"] == "seller" else "seller"
            return trades.ConfirmTrade(TradeId(number)), self.acting_for(filed[other])
        kind: Any = self.one_of(
            [
                *(members.StartReview, members.AdmitMember, members.ReinstateMember),
                *(listings.SubmitListing, listings.ApproveListing, listings.ResumeListing, listings.DelistListing),
                *(trades.ConfirmTrade, trades.ContractTrade, trades.CancelTrade, trades.ApproveFiling),
            ]
        )
        if issubclass(kind, trades._TradeStepCommand):
            number = self.likely(list(model.trades), [])
            trade = model.trades.get(number)
            return self.trade_step_command(kind, number, trade), self.trade_step_caller(kind, trade)
        if issubclass(kind, members._MemberStepCommand):
            return kind(MemberId(self.likely(list(model.members), [])), REASON), self.operator()
        number = self.likely(list(model.listings), [])
        listing = model.listings.get(number)
        own = kind in {listings.SubmitListing, listings.DelistListing}
        by = self.acting_for(listing["owner"] if listing else None) if own else self.operator()
        if own and self.seldom(4):
            by = self.company(self.one_of(COMPANIES))
        return kind(ListingId(number), REASON), by


def several(**weights: int) -> list[Callable[[Wishes], Wanted]]:
    """Repeat each wish by its weight."""
    return [getattr(Wishes, name) for name, weight in weights.items() for _ in range(weight)]


FAMILIES: dict[str, list[Callable[[Wishes], Wanted]]] = {
    "office": several(key_made=2, key_revoked=2, closing=3, old_member=1, release=1, personal=3),
    "companies": several(
        application=1, member_step=5, correction=2, change=3, typo_of_member=1, expulsion=3, readmission=3
    ),
    "offers": several(product=1, version=2, draft=3, assessment=2, listing_step=7, old_listing=2),
    "openings": several(taking=4, proposal=4, filing=3, auction=2, old_trade=3),
    "steps": several(trade_step=12, typo=1),
    "agents": several(mandate=3, mandate_ended=1, by_agent=9),
    "anything": several(whatever=1),
}


class Machine(RuleBasedStateMachine):
    """Sends the same wishes to the service and to the model, and compares all that can be seen."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self, open_exchange: Callable[[], Exchange]) -> None:
        super().__init__()
        self.exchange = open_exchange()
        self.model = Model()
        self.waiting: list[tuple[Wish, Accepted | Refused]] = []
        self.sent: list[Wish] = []
        self.bodies: dict[tuple[str, str], str] = {}
        self.told: list[tuple[date, int, dict[str, object]]] = []
        self.numbers = count(1)
        self.draw: Draw = lambda strategy: strategy.example()

    # What happens

    @initialize(data=st.data())
    def begin(self, data: Any) -> None:
        """Begin with two operators and four members of long standing, of whom three sell."""
        self.draw = data.draw
        patch.object(batch, "AT_ONCE", self.draw(st.sampled_from((AT_ONCE, 1, 2, 3)))).start()
        self.want(CreateKey(Role.OPERATOR, "Li", "a" * 64), Caller.SYSTEM)
        operator = self.wishes.operator()
        self.want(CreateKey(Role.OPERATOR, "Wang", "b" * 64), operator)
        since = months_back(self.exchange.today, 25)
        related = self.draw(st.integers(0, 3))
        for n, uscc in enumerate(COMPANIES):
            self.want(CreateKey(Role.MEMBER, "Zhang", f"{n:064}", uscc), operator)
        for n, uscc in enumerate(COMPANIES[: len(ROLES)]):
            parent = COMPANIES[0] if n == related else None
            fields = company_fields(f"公司{n}", region_code=REGIONS[n], roles=ROLES[n], group_parent_uscc=parent)
            self.want(members.RecordMember(uscc, fields, since, since), operator)
        for n, price in ((0, 106_000), (1, None), (3, 1_007)):
            command = listings.RecordListing(
                COMPANIES[n], "P-1", ProductKind.API, 1, version_fields(), offer_fields(price), since
            )
            self.want(command, operator)
        if self.draw(st.booleans()):
            month = months_back(self.exchange.today, 3).replace(day=1)
            self.want(CloseMonth(month), operator)
        self.flush()

    @property
    def wishes(self) -> Wishes:
        return Wishes(self.model, self.draw)

    def _one(self, family: str, data: Any) -> None:
        self.draw = data.draw
        self.ready()
        kind = self.wishes.one_of(FAMILIES[family])
        self.want(*kind(self.wishes))
        self.perhaps_flush()

    @rule(data=st.data())
    def office(self, data: Any) -> None:
        self._one("office", data)

    @rule(data=st.data())
    def companies(self, data: Any) -> None:
        self._one("companies", data)

    @rule(data=st.data())
    def offers(self, data: Any) -> None:
        self._one("offers", data)

    @rule(data=st.data())
    def openings(self, data: Any) -> None:
        self._one("openings", data)

    @rule(data=st.data(), times=st.integers(1, 3))
    def steps(self, data: Any, times: int) -> None:
        for _ in range(times):
            self._one("steps", data)

    @rule(data=st.data(), times=st.integers(1, 3))
    def more_steps(self, data: Any, times: int) -> None:
        for _ in range(times):
            self._one("steps", data)

    @rule(data=st.data())
    def agents(self, data: Any) -> None:
        self._one("agents", data)

    @rule(data=st.data())
    def anything(self, data: Any) -> None:
        self._one("anything", data)

    @rule(data=st.data())
    def whole_expulsion(self, data: Any) -> None:
        """Have a member expelled and perhaps readmitted, each by two; in between it may try to apply."""
        self.draw = data.draw
        self.ready()
        wishes = self.wishes
        number = MemberId(wishes.likely(wishes.members_in({"active", "suspended"}), list(self.model.members)))
        if not self.want(members.ProposeExpulsion(number, REASON), (by := wishes.operator())):
            return
        self.want(members.ApproveExpulsion(number, "as it should be"), wishes.operator(but=by.person_id))
        uscc = self.model.members[number]["uscc"]
        if wishes.draw(st.booleans()):
            self.want(members.ApplyForMembership(uscc, wishes.fields()), wishes.company(uscc))
        self.perhaps_flush()
        if wishes.draw(st.booleans()):
            self.want(members.ProposeReadmission(number, REASON), (by := wishes.operator()))
            self.want(members.ApproveReadmission(number, "as it should be"), wishes.operator(but=by.person_id))
            self.want(members.ApplyForMembership(uscc, wishes.fields()), wishes.company(uscc))
        self.perhaps_flush()

    @rule(data=st.data(), days=st.sampled_from([0, 7, 8]))
    def whole_reversal(self, data: Any, days: int) -> None:
        """Have a trade reversed by two, at once, in the last days in which it can be approved, or too late."""
        self.draw = data.draw
        self.flush()
        self.ready()
        wishes = self.wishes
        contracted = [n for n, trade in self.model.trades.items() if trade["state"] == "contracted"]
        if not contracted:
            return
        trade_id, by = TradeId(wishes.one_of(contracted)), wishes.operator()
        self.want(trades.ProposeReversal(trade_id, REASON), by)
        self.flush()
        self.exchange.wait(days=days)
        self.ready()
        self.want(trades.ApproveReversal(trade_id, "as it should be"), self.wishes.operator(but=by.person_id))
        self.perhaps_flush()

    @rule(data=st.data())
    def whole_mandate(self, data: Any) -> None:
        """Have a mandate given, used and ended; the other side comes too late to end it."""
        self.draw = data.draw
        self.ready()
        wishes, found = self.wishes, self.model.members
        agents = wishes.active("service_org")
        if not agents:
            return
        agent = wishes.one_of(agents)
        principals = [
            found[number]["uscc"] for number in wishes.active() if found[number]["uscc"] != found[agent]["uscc"]
        ]
        if not principals:
            return
        principal, acting = wishes.company(wishes.one_of(principals)), wishes.company(found[agent]["uscc"])
        until = self.model.today + timedelta(days=30)
        if not self.want(GrantMandate(MemberId(agent), tuple(MandateStep), until), principal):
            return
        mandate = MandateId(self.model.position)
        if acting.uscc and principal.uscc:
            self.want(wishes.product()[0], agent_for(cast("KeyHolder", acting), principal.uscc))
        self.perhaps_flush()
        for by in (principal, acting):
            self.want(EndMandate(mandate, REASON), by)
        self.perhaps_flush()

    @rule(data=st.data())
    def whole_erasure(self, data: Any) -> None:
        """Have a person's name erased; somebody of the same name comes in the same batch or later, and is another person."""
        self.draw = data.draw
        self.ready()

        def come() -> bool:
            return self.want(CreateKey(Role.AUDITOR, "Gone", f"{self.model.position:064x}"), self.wishes.operator())

        if not come():
            return
        key = self.model.position
        self.want(RevokeKey(KeyId(key)), self.wishes.operator())
        self.perhaps_flush()
        self.ready()
        self.want(personal.ErasePerson(PersonId(self.model.keys[key]["person"]), REASON), self.wishes.operator())
        self.perhaps_flush()
        come()
        self.perhaps_flush()

    @rule(data=st.data())
    def whole_sale(self, data: Any) -> None:
        """Have one trade proposed, confirmed and contracted, each step needing what its neighbour in the batch has changed."""
        self.draw = data.draw
        self.ready()
        wishes = self.wishes
        number, buyer, sells = wishes.sides(self.model.today)
        if not self.want(*wishes.opening(trades.ProposeTrade, number, buyer, sells=sells)):
            return
        seller = self.model.listings[number]["owner"]
        trade_id = TradeId(self.model.position)
        if wishes.seldom(3):
            moved = members.ChangeMember(MemberId(buyer), REASON, region_code=wishes.one_of(REGIONS))
            self.want(moved, wishes.operator())
        self.want(trades.ConfirmTrade(trade_id), wishes.acting_for(buyer if sells else seller))
        if wishes.draw(st.booleans()):
            self.flush()
        self.want(trades.ContractTrade(trade_id), wishes.acting_for(buyer))
        self.perhaps_flush()

    @rule(data=st.data())
    def whole_application(self, data: Any) -> None:
        """Have a company apply and be admitted, in one batch or in several."""
        self.draw = data.draw
        self.ready()
        wanted, by = self.wishes.application()
        if not self.want(wanted, by) or not isinstance(wanted, members.ApplyForMembership):
            return
        member_id = MemberId(self.model.position)
        operator = self.wishes.operator()
        self.want(members.StartReview(member_id, REASON), operator)
        if self.wishes.seldom(3):
            self.want(members.RequestCorrection(member_id, REASON), operator)
            self.want(members.CorrectApplication(member_id, self.wishes.fields()), self.wishes.acting_for(member_id))
        self.perhaps_flush()
        self.ready()
        self.want(members.AdmitMember(member_id, REASON), operator)
        self.perhaps_flush()

    @rule(data=st.data())
    def whole_listing(self, data: Any) -> None:
        """Have a product described and handed in as one job, and listed."""
        self.draw = data.draw
        self.ready()
        wishes = self.wishes
        product, by = wishes.product()
        first = self.model.position + 1
        version = listings.DescribeVersion(ProductId(first), wishes.version_fields())
        draft = listings.DraftListing(VersionId(first + 1), wishes.offer_fields())
        if self.want((product, version, draft, listings.SubmitListing(ListingId(first + 2), REASON)), by):
            decision = listings.RejectListing if wishes.seldom(4) else listings.ApproveListing
            self.want(decision(ListingId(first + 2), REASON), wishes.operator())
        self.perhaps_flush()

    @rule(data=st.data(), size=st.integers(2, 4))
    def job(self, data: Any, size: int) -> None:
        """Send several commands that stand or fall together, the later ones drawn as if the earlier ones had happened."""
        self.draw = data.draw
        self.ready()
        trial = copy.deepcopy(self.model)
        wishes = Wishes(trial, data.draw)
        kinds = [Wishes.old_member, Wishes.old_listing, Wishes.old_trade, Wishes.member_step, Wishes.change]
        commands = []
        by = wishes.operator()
        for n in range(size):
            command, _ = wishes.one_of(kinds)(wishes)
            commands.append(command)
            try:
                trial.decide((command,), by, f"trial {n}")
            except Refused:
                break
        self.want(tuple(commands), by)
        self.perhaps_flush()

    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        """Send what was sent before, with the same key; or another request with that key."""
        self.draw = data.draw
        self.ready()
        wanted, by, key = self.wishes.one_of(self.sent[-40:])
        assert key is not None
        if self.wishes.seldom(4):
            wanted, _ = self.wishes.change()
        self.want(wanted, by, key)
        self.perhaps_flush()

    @rule(data=st.data())
    def time(self, data: Any) -> None:
        """Let seconds to months pass; the clock may also fall behind a little."""
        self.draw = data.draw
        self.flush()
        waits = [
            {"seconds": 1},
            {"hours": 3},
            {"hours": 15},
            {"days": 1},
            {"days": 6},
            {"days": 8},
            {"days": 16},
            {"days": 31},
            {"days": 92},
            {"seconds": -20},
        ]
        before = self.exchange.now
        self.exchange.wait(**self.wishes.one_of(waits))
        if self.exchange.now < self.model.recorded_at - timedelta(seconds=60):
            self.exchange.now = before

    # How it is sent and compared

    def ready(self) -> None:
        if not self.waiting:
            self.model.begin(self.exchange.now)

    def want(self, wanted: Any, by: Caller, key: str | None = None) -> bool:
        """Have the model decide this, let it wait for its batch, and say whether it is accepted."""
        self.ready()
        key = key or f"key-{next(self.numbers)}"
        commands = wanted if isinstance(wanted, tuple) else (wanted,)
        # What an agent may not do for who it is, is refused when all is decided.
        before = copy.deepcopy(self.model) if len(commands) > 1 or isinstance(by, Agent) else None
        expected: Accepted | Refused
        try:
            expected = self.model.decide(commands, by, key)
        except Refused as refused:
            expected = refused
            self.model = before or self.model
        wish = (wanted, by, key)
        self.waiting.append((wish, expected))
        self.sent.append(wish)
        self.note_reached(commands, expected)
        return isinstance(expected, Accepted)

    def note_reached(self, commands: tuple[Any, ...], expected: Accepted | Refused) -> None:
        if isinstance(expected, Refused):
            names = [f"refused for {reason}" for reason in expected.reasons if len(expected.reasons) == 1]
        elif expected.replayed:
            names = ["replayed"]
        else:
            names = [type(command).__name__ for command in commands]
            names += [sign for sign in ("late", "related") if any(answer.get(sign) for answer in expected.answers)]
            names += ["a job of several"] * (len(commands) > 1) + ["in a batch of several"] * (len(self.waiting) > 1)
        for name in names:
            self.reached[name] += 1
            event(name)

    def perhaps_flush(self) -> None:
        if len(self.waiting) > 6 or self.draw(st.booleans()):
            self.flush()

    def flush(self) -> None:
        """Send what waits as one batch, and compare."""
        if not self.waiting:
            return
        changes = any(isinstance(expected, Accepted) and not expected.replayed for _, expected in self.waiting)
        before = None if changes else self.exchange.dump()
        outcomes = self.send([wish for wish, _ in self.waiting])
        for (wish, expected), outcome in zip(self.waiting, outcomes, strict=True):
            self.compare(wish, expected, outcome)
        self.waiting.clear()
        self.model.end()
        if before is not None:
            assert self.exchange.dump() == before, "what is refused or replayed leaves no trace"
        self.compare_rows()
        if self.exchange.database is not None:
            self.compare_figures()

    def send(self, wishes: list[Wish]) -> list[Outcome]:
        rehearsed = self.exchange.rehearse(wishes) if self.exchange.position % 3 == 0 else None
        outcomes = self.exchange.batch(wishes)
        if rehearsed is not None:
            assert list(map(said, rehearsed.outcomes)) == list(map(said, outcomes)), "it is rehearsed as it is done"
        return outcomes

    def compare(self, wish: Wish, expected: Accepted | Refused, outcome: Outcome) -> None:
        wanted, by, key = wish
        if isinstance(expected, Refused):
            assert type(outcome).__name__ in expected.reasons, f"{wanted}: {outcome!r} instead of {expected.reasons}"
            return
        assert isinstance(outcome, Answer), f"{wanted}: {outcome!r} instead of {expected}"
        assert outcome.replayed == expected.replayed
        body = orjson.loads(outcome.body)
        for answer, said in zip(expected.answers, body["data"] if isinstance(wanted, tuple) else [body], strict=True):
            assert answer.items() <= said.items(), f"{wanted}: {said} instead of {answer}"
        assert self.bodies.setdefault((by.holder, key or ""), outcome.body) == outcome.body

    def compare_rows(self) -> None:
        """Compare what is stored with what the model holds, row by row."""
        model, exchange = self.model, self.exchange
        [head] = exchange.records(Head)
        gross = sum(m["gross"] for m in model.movements if m["gross"] > 0)
        back = -sum(m["gross"] for m in model.movements if m["gross"] < 0)
        assert (head.position, head.recorded_at) == (model.position, model.recorded_at)
        assert (head.contracted_gross, head.contracted_reversed) == (gross, back)
        assert [(batch.last, batch.recorded_at) for batch in exchange.records(Batch)] == model.moments
        assert [one.position for one in exchange.records(Event)] == list(range(1, model.position + 1))
        acted = {leaf["position"]: leaf for leaf in exchange.leaves() if "mandate" in leaf["facts"]}
        assert {n: (leaf["acting_member"], leaf["facts"]["acting_for"]) for n, leaf in acted.items()} == model.acted_for
        numbered = defaultdict(list)
        for one in exchange.records(PartyEvent):
            numbered[one.member_id].append((one.number, one.position))
        assert numbered == {member: list(enumerate(found, 1)) for member, found in model.party_events.items()}
        assert {c.member_id: c.events for c in exchange.records(PartyCounter)} == {
            number: len(model.party_events[number]) for number in model.members
        }
        accounts = {(a.owner_id, str(a.kind)): (a.debits_posted, a.credits_posted) for a in exchange.records(Account)}
        assert accounts == model.counters()
        rollups = {
            (str(r.dimension), r.value, r.effective_on, r.recorded_on): (
                r.gross,
                r.reversed,
                r.net_excluding_vat,
                r.trades,
            )
            for r in exchange.records(Rollup)
        }
        assert rollups == model.rollups()
        monthly = {
            (str(r.dimension), r.value, r.effective_in, r.recorded_in): (
                r.gross,
                r.reversed,
                r.net_excluding_vat,
                r.trades,
            )
            for r in exchange.records(MonthlyRollup)
        }
        assert monthly == model.monthly_rollups()
        entries = [
            {
                "position": v.position,
                "number": v.number,
                "movement": v.movement,
                "trade": v.trade_id,
                "buyer": v.buyer_id,
                "seller": v.seller_id,
                "product": v.product_id,
                "effective_on": v.effective_on,
                "recorded_on": v.recorded_on,
                "gross": v.gross,
                "net": v.net_excluding_vat,
                **{name: getattr(v, name) for name in ("sector", "kind", "region", "venue", "mode", "related")},
            }
            for v in exchange.records(VolumeEntry)
        ]
        assert entries == model.movements
        self.compare_things()

    def compare_things(self) -> None:
        model, exchange = self.model, self.exchange
        names = [
            "state",
            "net",
            "vat",
            "gross",
            "venue",
            "mode",
            "proposer",
            "proposed_on",
            "effective_on",
            "received_on",
            "ended_on",
            "confirmed",
            "sector",
            "kind",
            "region",
            "related",
            "late",
        ]
        trades_held = {
            t.id: {name: getattr(t, name) for name in names}
            | {"buyer": t.buyer_id, "seller": t.seller_id, "listing": t.listing_id}
            for t in exchange.records(Trade)
        }
        names += ["buyer", "seller", "listing"]
        assert trades_held == {n: {name: trade[name] for name in names} for n, trade in model.trades.items()}
        assert {m.id: (m.state, m.uscc, m.open_trades, m.changed_on) for m in exchange.records(Member)} == {
            n: (m["state"], m["uscc"], m["open"], m["since"]) for n, m in model.members.items()
        }
        assert {one.id: (one.state, one.changed_on) for one in exchange.records(Listing)} == {
            n: (one["state"], one["since"]) for n, one in model.listings.items()
        }
        assert {p.id: (p.versions, p.current_listing_id) for p in exchange.records(DataProduct)} == {
            n: (p["versions"], p["current"]) for n, p in model.products.items()
        }
        assert {
            one.id: (one.principal_id, one.agent_id, set(one.steps), one.ends_on, one.state == "active")
            for one in exchange.records(Mandate)
        } == {
            n: (one["principal"], one["agent"], one["steps"], one["ends_on"], one["live"])
            for n, one in model.mandates.items()
        }
        history = defaultdict(list)
        for line in exchange.records(MemberHistory):
            history[line.member_id].append((line.position, line.effective_on, line.fact, line.value or None))
        for number, member in model.members.items():
            assert Counter(history[number]) == Counter(member["history"])
        offered = defaultdict(list)
        for line in exchange.records(ListingHistory):
            offered[line.listing_id].append((line.position, line.effective_on, str(line.state)))
        assert offered == {n: one["history"] for n, one in model.listings.items()}

    def compare_figures(self) -> None:
        """Ask for the figures of some day as known at some point; and again for some that were told before."""
        model, wishes = self.model, self.wishes
        ends = [end for one in model.listings.values() if (end := one["ends"]) is not None and end <= model.today]
        as_of = wishes.one_of(ends) if ends and wishes.seldom(3) else wishes.day(months_back(model.today, 26))
        as_of = max(FIRST_DAY, min(model.today, as_of))
        position = self.draw(st.integers(1, model.position)) if self.draw(st.booleans()) else model.position
        said = self.ask(as_of, position)
        expected = model.figures(as_of, position)
        assert {name: said[name] for name in expected} == expected
        self.told.append((as_of, position, said))
        once = wishes.one_of(self.told)
        assert self.ask(*once[:2]) == once[2], "what was known at a position never changes"
        dimension = wishes.one_of([Dimension.BUYER, Dimension.SELLER, Dimension.PRODUCT, Dimension.VENUE])
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for m in model.known(as_of, position):
            sums[str(m[str(dimension)])][m["gross"] < 0] += abs(m["gross"])
        assert self.sums_by(dimension, as_of, position) == dict(sums)

    def ask(self, as_of: date, position: int) -> dict[str, object]:
        self.exchange.now, clock = max(self.exchange.now, self.model.recorded_at), self.exchange.now
        shape = self.exchange.summary(as_of, position).shape()
        self.exchange.now = clock
        return shape

    def sums_by(self, dimension: Dimension, as_of: date, position: int) -> dict[str, list[int]]:
        def query(session: Any) -> dict[str, list[int]]:
            found = cumulative(session, moment_at(session, position), Question(as_of, dimension=dimension))
            return {value: [volume.gross, volume.reversed] for value, volume in found.items()}

        return self.exchange.read(query)

    def teardown(self) -> None:
        """After a whole history: compare what still waits, fold the events, check every invariant."""
        try:
            if sys.exc_info()[0] is None:
                self.draw = lambda _: False
                self.finish()
        finally:
            self.close()

    def finish(self) -> None:
        self.compare_figures = lambda: None  # type: ignore[method-assign]  # nothing can be drawn any more
        self.flush()
        assert folded(self.exchange) == told(self.exchange), "the events alone rebuild every table that they tell"
        if self.exchange.database is not None:
            found = self.exchange.read(integrity.check)
            assert [finding for finding in found if finding.offending] == []
            rebuilt = self.exchange.read(lambda session: list(replay(session)))
            assert [table for table in rebuilt if table.differing] == []

    def close(self) -> None:
        patch.stopall()
        self.exchange.close()


Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


def folded(exchange: Exchange) -> Rows:
    """Rebuild tables from the events alone."""
    keys = {schema_of(model).name: schema_of(model).key for model in TABLES}
    tables: Rows = defaultdict(dict)
    for leaf in exchange.leaves():
        for table, values in leaf["rows"]:
            tables[table].setdefault(tuple(values[name] for name in keys[table]), {}).update(values)
    return {table: {key: without_null(row) for key, row in rows.items()} for table, rows in tables.items()}


def told(exchange: Exchange) -> Rows:
    """Give the tables that the events tell, as they tell them."""
    tables: Rows = {}
    for model in TABLES:
        if model.told is Told.AS_IS:
            schema = schema_of(model)
            rows = [orjson.loads(canonical(schema.tell(row, schema.told_columns))) for row in exchange.records(model)]
            if rows:
                tables[schema.name] = {tuple(row[name] for name in schema.key): without_null(row) for row in rows}
    return tables


def without_null(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def run(
    open_exchange: Callable[[], Exchange], share: int, machine: Callable[[Callable[[], Exchange]], Machine] = Machine
) -> None:
    """Run the machine on a share of the profile's examples."""
    assert settings.default is not None
    examples = max(1, settings.default.max_examples // share)
    started = settings(max_examples=examples)
    run_state_machine_as_test(lambda: machine(open_exchange), settings=started)  # type: ignore[arg-type]  # takes what makes one


@pytest.fixture
def on_sqlite(sqlite_template: Path) -> Iterator[Callable[[], Exchange]]:
    """Opens one new exchange after the other, in memory where the system has a disk there: commits wait for the disk."""
    memory = Path("/dev/shm")
    numbers = count(1)
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield lambda: Exchange.on_sqlite(Path(folder) / f"{next(numbers)}.db", sqlite_template)


class Emptied(Exchange):
    """A PostgreSQL exchange that is emptied, not closed, when a test's example is done with it."""

    def close(self) -> None:
        self.begin_anew()


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Callable[[], Exchange]]:
    """Gives the same exchange anew each time: connecting takes longer than emptying it."""
    exchange = Emptied.on_postgres(postgres_url)
    yield lambda: exchange
    Exchange.close(exchange)


def test_the_service_in_memory_does_what_the_model_does() -> None:
    run(Exchange.in_memory, 1)


def test_the_service_on_sqlite_does_what_the_model_does(on_sqlite: Callable[[], Exchange]) -> None:
    run(on_sqlite, 5)


@pytest.mark.postgres
def test_the_service_on_postgresql_does_what_the_model_does(on_postgres: Callable[[], Exchange]) -> None:
    run(on_postgres, 6)


@pytest.mark.postgres
def test_one_history_gives_the_same_answers_and_the_same_rows_on_all_stores(
    on_sqlite: Callable[[], Exchange], on_postgres: Callable[[], Exchange]
) -> None:
    class Everywhere(Machine):
        """Sends each batch to all three stores."""

        def __init__(self, open_exchange: Callable[[], Exchange]) -> None:
            super().__init__(open_exchange)
            self.others = [on_sqlite(), on_postgres()]

        def send(self, wishes: list[Wish]) -> list[Outcome]:
            outcomes = super().send(wishes)
            for other in self.others:
                other.now = self.exchange.now
                assert list(map(said, other.batch(wishes))) == list(map(said, outcomes))
            return outcomes

        def finish(self) -> None:
            super().finish()
            rows = self.exchange.dump()
            for other in self.others:
                assert other.dump() == rows

        def close(self) -> None:
            for exchange in (self.exchange, *self.others):
                exchange.close()

    run(Exchange.in_memory, 6, Everywhere)


def said(outcome: Outcome) -> Any:
    """Give all that a caller sees of an outcome."""
    if isinstance(outcome, Problem):
        return type(outcome), outcome.detail, outcome.faults
    return outcome


ALL_REFUSALS = {
    "AgentInvolved",
    "AgentWrong",
    "AmountWrong",
    "AnotherCompany",
    "AssessmentMissing",
    "AssessorNotIndependent",
    "Barred",
    "BuyerWrong",
    "CodeTaken",
    "CompanyUnknown",
    "ConfirmedAlready",
    "ContractRecorded",
    "DateWrong",
    "ErasedAlready",
    "Forbidden",
    "JustErased",
    "KeyReused",
    "KeysLive",
    "ListingNotTradable",
    "ListingStepWrong",
    "MandateEnded",
    "MandateRests",
    "MandateWrong",
    "MemberAlready",
    "MemberStepWrong",
    "MonthClosed",
    "MonthOutOfTurn",
    "MonthWrong",
    "NoMandate",
    "NotActive",
    "NotAProvider",
    "NotBarred",
    "NotConfirmed",
    "NotFound",
    "NothingProposed",
    "NotYourStep",
    "NothingChanges",
    "OperatorsExist",
    "OwnersStep",
    "OwnInterest",
    "OwnProposal",
    "ProductFieldsWrong",
    "ProposalStale",
    "ProposedAlready",
    "RevokedAlready",
    "SameParty",
    "StillOpen",
    "TradeFieldsWrong",
    "TradeStepWrong",
    "Unauthenticated",
    "VersionOutOfTurn",
    "StepNotMandated",
}
"""All reasons for which the model refuses, each of which must once be the only one."""


def commands_below(kind: type[Any]) -> Iterator[str]:
    for below in kind.__subclasses__():
        if below.allowed and not below.__name__.startswith("_") and below.__module__.startswith("exchange."):
            yield below.__name__
        yield from commands_below(below)


class Alone(Machine):
    """Lets the model decide and asks nobody else: the other tests say that the service agrees."""

    def flush(self) -> None:
        self.waiting.clear()
        self.model.end()

    def finish(self) -> None:
        self.flush()


def test_the_machine_reaches_every_command_and_every_refusal() -> None:
    wanted = {*commands_below(Command), *(f"refused for {reason}" for reason in ALL_REFUSALS)}
    wanted |= {"replayed", "late", "related", "in a batch of several", "a job of several"}
    Machine.reached.clear()
    for number in range(16):

        @seed(number)
        def alone() -> Machine:
            return Alone(Exchange.in_memory)

        few = settings(max_examples=40, stateful_step_count=50, database=None)
        run_state_machine_as_test(alone, settings=few)  # type: ignore[arg-type]  # takes what makes one
        if wanted <= set(Machine.reached):
            break

    assert wanted - set(Machine.reached) == set()
