"""The pure rules, each against an expectation that is written on its own: by hand from the domain, or in other arithmetic."""

import unicodedata
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from exchanges import a_sha256, a_uscc, company_fields, offer_fields, refused, terms_of, version_fields
from hypothesis import assume, example, given
from hypothesis import strategies as st
from stdnum.cn import uscc as uscc_standard

from exchange.access.commands import CreateKey, KeyWrong
from exchange.access.corrections import NothingChanges
from exchange.access.tables import Role
from exchange.clock import SHANGHAI, business_day, instant_text
from exchange.identifiers import MemberId, Prefix, TradeId, VersionId, is_sha256, is_uscc, read_id, written_id
from exchange.listings.commands import RecordAssessment, RecordListing, RegisterProduct
from exchange.listings.rules import (
    CoreDataRefused,
    ListingNotTradable,
    ListingStepWrong,
    ProductFieldsWrong,
    check_offer,
    check_tradable,
    check_version,
    right_expiry,
    rights_expire_on,
    state_on,
)
from exchange.listings.rules import next_state as next_listing_state
from exchange.listings.states import ListingState, ListingStep
from exchange.listings.tables import (
    AssessmentKind,
    DataGrade,
    DeliveryMode,
    LegalBasis,
    Listing,
    ListingHistory,
    PriceModel,
    ProductKind,
    ProductVersion,
)
from exchange.members.commands import ChangeMember, ReasonWrong, RecordMember, StartReview
from exchange.members.rules import MemberFieldsWrong, MemberStepWrong, check_company, check_fields, standing_on
from exchange.members.rules import next_state as next_member_state
from exchange.members.states import ENDED, MemberState, MemberStep
from exchange.members.tables import MemberFact, MemberHistory
from exchange.money import BASIS_POINTS, TRADE_LIMIT, Money, Price, divided_half_up, growth, split_gross, yuan_text
from exchange.problems import Problem
from exchange.texts import FORMULA_STARTS, text_fault
from exchange.trades.commands import CancelTrade, RecordTrade
from exchange.trades.rules import (
    AmountWrong,
    NotYourStep,
    OldDates,
    TradeFieldsWrong,
    TradeStepWrong,
    check_evidence,
    check_old_dates,
    check_price,
    check_reference,
    check_stated,
    check_terms,
    check_who,
    listed_price,
    refuse_given,
    require_contract,
)
from exchange.trades.rules import next_state as next_trade_state
from exchange.trades.states import OPEN, TradeState, TradeStep
from exchange.trades.tables import Side, TradeMode, Venue
from exchange.volume.commands import CloseMonth, MonthWrong
from exchange.volume.rules import (
    end_of_year,
    is_late,
    is_open,
    last_day,
    month_before,
    month_of,
    next_month,
    taken_back_on,
    year_before,
    year_of,
)

FEN = st.integers(1, TRADE_LIMIT)
SUMS = st.integers(-9 * 10**18, 9 * 10**18)
RATES = st.integers(0, BASIS_POINTS)
DAYS = st.dates(date(2014, 12, 31), date(2100, 12, 31))
NEAR = st.dates(date(2026, 1, 1), date(2026, 1, 5))
DIGITS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


# Money


@given(FEN, RATES)
@example(1, BASIS_POINTS)
@example(3, BASIS_POINTS)
def test_a_price_is_split_into_the_nearest_net_amount_and_the_rest(gross: int, rate: int) -> None:
    price = split_gross(Money(gross), rate)

    exact = Fraction(gross * 10_000, 10_000 + rate)
    assert price.net + price.vat == price.gross == gross
    assert price.net == (Decimal(gross) * 10_000 / (10_000 + rate)).quantize(Decimal(1), ROUND_HALF_UP)
    assert -Fraction(1, 2) <= exact - price.net < Fraction(1, 2) or price.net - exact == Fraction(1, 2)
    assert price.vat >= 0
    check_price(price)


@given(st.integers(0, 10**20), st.integers(1, 10**20))
def test_division_rounds_half_up(dividend: int, divisor: int) -> None:
    rounded = divided_half_up(dividend, divisor)

    assert rounded - Fraction(1, 2) <= Fraction(dividend, divisor) < rounded + Fraction(1, 2)


@given(SUMS, st.integers(1, 9 * 10**18))
@example(100_005, 100_000)
@example(99_995, 100_000)
@example(99_996, 100_000)
@example(0, 1)
def test_growth_is_the_exact_ratio_less_one_rounded_half_away_from_zero(now: int, before: int) -> None:
    with localcontext() as context:
        context.prec = 100
        exact = (Decimal(now) / Decimal(before) - 1).quantize(Decimal("0.0001"), ROUND_HALF_UP)

    said = growth(Money(now), Money(before))

    assert said == f"{abs(exact) if exact == 0 else exact:f}"
    assert abs(Fraction(said) - (Fraction(now, before) - 1)) <= Fraction(1, 20_000)


@given(SUMS, st.one_of(st.none(), st.integers(-9 * 10**18, 0)))
def test_there_is_no_growth_from_a_base_that_is_missing_zero_or_negative(now: int, before: int | None) -> None:
    assert growth(Money(now), None if before is None else Money(before)) is None


@given(SUMS)
def test_an_amount_for_people_reads_back(amount: int) -> None:
    written = yuan_text(Money(amount))

    assert Decimal(written.removeprefix("CNY ").replace(",", "")) * 100 == amount
    assert written.startswith("CNY ")


# The lives of members, listings and trades, step by step

MEMBERS = """
    submitted start_review under_review
    under_review request_correction correction_requested
    correction_requested correct under_review
    under_review admit active
    under_review reject rejected
    active suspend suspended
    suspended reinstate active
    active withdraw withdrawn
    suspended withdraw withdrawn
    active expel expelled
    suspended expel expelled
"""
LISTINGS = """
    draft submit in_review
    in_review approve listed
    in_review reject rejected
    listed suspend suspended
    suspended resume listed
    listed delist delisted
    suspended delist delisted
"""
TRADES = """
    proposed confirm confirmed
    confirmed contract contracted
    proposed cancel cancelled
    confirmed cancel cancelled
    filed cancel cancelled
    filed confirm filed
    filed approve_filing contracted
    filed reject_filing rejected
    contracted propose_termination contracted
    contracted approve_termination terminated
    contracted terminate terminated
    contracted propose_reversal contracted
    contracted approve_reversal reversed
"""


def life(text: str) -> dict[tuple[str, str], str]:
    """Read lines of state, step, and the state that follows."""
    return {(before, step): after for before, step, after in map(str.split, text.strip().splitlines())}


@pytest.mark.parametrize(("state", "step"), list(product(MemberState, MemberStep)))
def test_a_membership_takes_just_the_steps_of_its_state(state: MemberState, step: MemberStep) -> None:
    check_step(next_member_state, MEMBERS, state, step, MemberStepWrong)


@pytest.mark.parametrize(("state", "step"), list(product(ListingState, ListingStep)))
def test_a_listing_takes_just_the_steps_of_its_state(state: ListingState, step: ListingStep) -> None:
    check_step(next_listing_state, LISTINGS, state, step, ListingStepWrong)


@pytest.mark.parametrize(("state", "step"), list(product(TradeState, TradeStep)))
def test_a_trade_takes_just_the_steps_of_its_state(state: TradeState, step: TradeStep) -> None:
    check_step(next_trade_state, TRADES, state, step, TradeStepWrong)


def check_step(
    next_state: Callable[[Any, Any], Any], table: str, state: str, step: str, refusal: type[Problem]
) -> None:
    after = life(table).get((state, step))
    if after is not None:
        assert next_state(state, step) == after
    else:
        with refused(refusal):
            next_state(state, step)


def test_no_step_leads_out_of_an_end_and_every_state_can_be_reached() -> None:
    ends = {"rejected", "withdrawn", "expelled", "delisted", "cancelled", "terminated", "reversed"}
    for table, states, first in ((MEMBERS, MemberState, {"submitted"}), (LISTINGS, ListingState, {"draft"})):
        steps = life(table)
        assert set(steps.values()) | first == set(states)
        assert {state for state in states if not any(before == state for before, _ in steps)} == ends & set(states)
    assert set(life(TRADES).values()) | {"proposed"} == set(TradeState)
    assert {"rejected", "withdrawn", "expelled"} == ENDED
    assert {"proposed", "confirmed", "filed"} == OPEN


ALLOWED = {
    "confirm": "the other party",
    "contract": "either party",
    "cancel": "either party",
    "approve_filing": "the exchange",
    "reject_filing": "the exchange",
    "propose_termination": "either party",
    "approve_termination": "the other party",
    "terminate": "the exchange",
    "propose_reversal": "the exchange",
    "approve_reversal": "the exchange",
}


@pytest.mark.parametrize(("step", "side", "proposer"), list(product(TradeStep, Side, Side)))
def test_each_step_of_a_trade_is_just_its_sides(step: TradeStep, side: Side, proposer: Side) -> None:
    party = side != "exchange"
    allowed = {
        "either party": party,
        "the other party": party and side != proposer,
        "the exchange": not party,
    }[ALLOWED[step]]

    if allowed:
        check_who(step, side, proposer)
    else:
        with refused(NotYourStep) as caught:
            check_who(step, side, proposer)
        own = ALLOWED[step] == "the other party" and side == proposer
        said = "Who proposed it" if own else "the exchange's" if party else "the parties'"
        assert said in caught.value.detail


# Codes and ids


def codes() -> st.SearchStrategy[str]:
    base = st.tuples(st.sampled_from("19"), st.sampled_from("123"), st.sampled_from(["430100", "110101", "440305"]))
    rest = st.text(DIGITS, min_size=9, max_size=9)
    return st.tuples(base, rest).map(lambda parts: "".join((*parts[0], parts[1]))).map(with_check_character)


def with_check_character(base: str) -> str:
    return base + str(uscc_standard.calc_check_digit(base))


@given(codes())
def test_a_code_is_valid_where_the_standard_says_so(code: str) -> None:
    assert is_uscc(code) == uscc_standard.is_valid(code)


@given(st.integers(0, 10**9 - 1), st.integers(0, 17), st.sampled_from(DIGITS))
def test_a_code_with_one_wrong_character_is_refused(number: int, place: int, character: str) -> None:
    code = a_uscc(number)
    wrong = code[:place] + character + code[place + 1 :]

    assert is_uscc(code)
    assert is_uscc(wrong) == (wrong == code)


@given(st.integers(0, 10**9 - 1), st.sampled_from([" {}", "{}\n", "{}0", "{:.17}", "１{:.17}"]))
def test_a_code_is_taken_exactly_as_the_standard_writes_it(number: int, form: str) -> None:
    assert not is_uscc(form.format(a_uscc(number)))


def test_a_code_in_small_letters_is_refused() -> None:
    code = next(code for code in map(a_uscc, range(100)) if code != code.lower())

    assert not is_uscc(code.lower())


@given(st.sampled_from(Prefix), st.sampled_from(Prefix), st.integers(0, 10**12 - 1))
def test_an_id_reads_back_under_its_own_prefix_alone(prefix: Prefix, other: Prefix, number: int) -> None:
    written = written_id(prefix, number)

    assert read_id(other, written) == (number if other is prefix else None)
    assert read_id(prefix, written + "\n") is None
    assert read_id(prefix, written[:-1]) is None


@given(st.binary(), st.sampled_from(["{}", "{:.63}", "{}0", "x{:.63}", "{}\n"]))
def test_a_sha256_has_sixty_four_small_hexadecimal_digits(data: bytes, form: str) -> None:
    digest = a_sha256(data)

    assert is_sha256(form.format(digest)) == (form == "{}")
    assert is_sha256(digest.upper()) == (digest.upper() == digest)


# Days and months


@given(st.datetimes(datetime(2014, 12, 31), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - made aware
def test_a_business_day_begins_at_four_in_the_afternoon_of_utc(instant: datetime) -> None:
    assert business_day(instant) == (instant + timedelta(hours=8)).date()
    assert datetime.fromisoformat(instant_text(instant.astimezone(SHANGHAI))) == instant


@given(DAYS)
def test_a_month_ends_where_the_next_begins(day: date) -> None:
    assert month_of(day) <= day <= last_day(day)
    assert last_day(day).day == monthrange(day.year, day.month)[1]
    assert next_month(day) == last_day(day) + timedelta(days=1)
    assert next_month(day).day == month_of(day).day == year_of(day).day == year_of(day).month == 1
    assert year_of(day).year == day.year
    assert end_of_year(day) == date(day.year, 12, 31)


def compared(day: date, months: int) -> date:
    """Give the day to compare with, so many months earlier: counted in months since the year 0."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    length = monthrange(year, month + 1)[1]
    is_last = (day + timedelta(days=1)).day == 1
    return date(year, month + 1, length if is_last else min(day.day, length))


@given(DAYS)
@example(date(2024, 2, 29))
@example(date(2024, 2, 28))
@example(date(2025, 2, 28))
@example(date(2026, 3, 30))
@example(date(2026, 4, 30))
@example(date(2026, 1, 1))
def test_a_day_is_compared_with_the_same_day_earlier_and_a_last_day_with_a_last_day(day: date) -> None:
    assert year_before(day) == compared(day, 12)
    assert month_before(day) == compared(day, 1)


@given(DAYS, DAYS, st.one_of(st.none(), DAYS))
def test_a_reversal_takes_the_trades_own_day_while_its_month_is_open(
    one: date, other: date, closed: date | None
) -> None:
    original, decided = sorted((one, other))
    closed = last_day(closed) if closed else None

    day = taken_back_on(original, decided, closed)

    assert day == (decided if closed and original <= closed else original)
    assert is_open(original, closed) == (day == original) or original == decided


@given(DAYS, st.integers(0, 400), st.one_of(st.none(), DAYS))
@example(date(2026, 1, 1), 30, None)
@example(date(2026, 1, 1), 31, None)
def test_a_trade_is_late_after_thirty_days_or_in_a_closed_month(day: date, waited: int, closed: date | None) -> None:
    assert is_late(day, day + timedelta(days=waited), closed) == (waited > 30 or (closed is not None and day <= closed))


@given(NEAR, st.lists(st.tuples(NEAR, st.sampled_from(MemberState)), max_size=6), st.booleans())
def test_how_a_member_stood_is_the_last_thing_that_took_effect_by_then(
    day: date, changes: list[tuple[date, MemberState]], grouped: bool
) -> None:
    changes.sort(key=lambda change: change[0])
    history = [
        MemberHistory(position=n, number=1, member_id=MemberId(1), fact=MemberFact.STATE, value=state, effective_on=on)
        for n, (on, state) in enumerate(changes)
    ]
    known = [
        MemberHistory(position=0, number=n, member_id=MemberId(1), fact=fact, value=value, effective_on=day)
        for n, (fact, value) in enumerate([(MemberFact.GROUP, "P"), (MemberFact.REGION, "430104")])
    ]

    found = standing_on(day, "U", [*history, *(known if grouped else [])])

    past = [state for on, state in changes if on <= day]
    assert found.state == (past[-1] if past else None)
    assert (found.group, found.region_code) == (("P", "430104") if grouped else ("U", ""))


@given(NEAR, st.lists(st.tuples(NEAR, st.sampled_from(ListingState)), max_size=6))
def test_how_a_listing_stood_is_the_last_thing_that_took_effect_by_then(
    day: date, changes: list[tuple[date, ListingState]]
) -> None:
    changes.sort(key=lambda change: change[0])
    history = [
        ListingHistory(position=n, number=1, listing_id=1, state=state, effective_on=on)  # type: ignore[arg-type]
        for n, (on, state) in enumerate(changes)
    ]

    past = [state for on, state in changes if on <= day]
    assert state_on(day, history) == (past[-1] if past else None)


# Texts


UNSEEN = {
    *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)),
    *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
}
"""Letters and marks that nobody sees."""


@given(st.text(max_size=80), st.integers(1, 80))
@example("=1+1", 80)
@example("\u3164", 80)
@example("数\U000e0100", 80)
@example("数\U000e01ef", 80)
@example("＝1", 80)
@example("a\u200bb", 80)
@example("e\u0301", 80)
@example("a\n", 80)
def test_a_text_gets_in_where_no_screen_file_or_spreadsheet_must_defend_itself(text: str, limit: int) -> None:
    good = (
        0 < len(text) <= limit
        and text == text.strip()
        and text[0] not in "=+-@\t\r＝＋－＠"
        and all(unicodedata.category(one)[0] != "C" and unicodedata.category(one) not in {"Zl", "Zp"} for one in text)
        and not set(text) & UNSEEN
        and unicodedata.normalize("NFC", text) == text
    )

    assert (text_fault(text, limit) is None) == good


@given(st.sampled_from(sorted(FORMULA_STARTS)), st.text("ab1", max_size=5))
def test_no_text_begins_as_a_formula_does(start: str, rest: str) -> None:
    assert text_fault(start + rest, 80) is not None


# Amounts and terms of trades


@given(st.integers(-2, TRADE_LIMIT), st.integers(-2, 100), st.integers(-1, 1))
@example(TRADE_LIMIT, 0, 0)
@example(TRADE_LIMIT, 1, 0)
@example(1, 0, 0)
@example(0, 1, 0)
def test_an_amount_has_a_positive_net_a_vat_and_their_sum_within_the_limit(net: int, vat: int, wrong: int) -> None:
    price = Price(Money(net), Money(vat), Money(net + vat + wrong))

    if net > 0 <= vat and wrong == 0 and net + vat <= 10**14:
        check_price(price)
    else:
        with refused(AmountWrong):
            check_price(price)


@given(st.one_of(st.none(), st.integers(1, TRADE_LIMIT)), st.integers(1, 10**9), RATES)
def test_a_taken_listing_costs_price_times_quantity(unit_price: int | None, quantity: int, rate: int) -> None:
    gross = (unit_price or 0) * quantity
    if unit_price is not None and gross <= 10**14 and gross * 20_000 >= 10_000 + rate:
        due = listed_price(Money(unit_price), quantity, rate)
        assert due == split_gross(Money(gross), rate)
        check_stated(due, due)
    else:
        with refused(AmountWrong):
            listed_price(None if unit_price is None else Money(unit_price), quantity, rate)


@given(FEN, RATES, st.sampled_from(["net", "vat", "gross"]), st.sampled_from([-1, 1]))
def test_another_amount_than_the_listings_is_refused(gross: int, rate: int, which: str, by: int) -> None:
    due = split_gross(Money(gross), rate)
    amounts = {name: Money(getattr(due, name) + by * (name == which)) for name in ("net", "vat", "gross")}

    with refused(AmountWrong, f"/{which}"):
        check_stated(Price(**amounts), due)


@pytest.mark.parametrize(
    ("net", "vat", "gross", "fields"),
    [
        (0, 1, 1, ["net"]),
        (2, -1, 1, ["vat"]),
        (1, 1, 3, ["gross"]),
        (TRADE_LIMIT, 1, TRADE_LIMIT + 1, ["gross"]),
        (0, -1, 0, ["net", "vat", "gross"]),
    ],
)
def test_each_amount_that_breaks_a_rule_is_named(net: int, vat: int, gross: int, fields: list[str]) -> None:
    with refused(AmountWrong, *[f"/{name}" for name in fields]):
        check_price(Price(Money(net), Money(vat), Money(gross)))


def test_a_listing_without_a_fixed_price_is_not_taken() -> None:
    with refused(AmountWrong, "/listing_id"):
        listed_price(None, 1, 600)


WRONG_TERMS: list[dict[str, Any]] = [
    {"purpose": ""},
    {"quantity": 0},
    {"quantity": 10**9 + 1},
    {"contract_number": " C"},
    {"contract_sha256": "C" * 64},
    {"delivery_terms": "=1"},
    {"acceptance_window_days": -1},
    {"acceptance_window_days": 3651},
]


@pytest.mark.parametrize("wrong", WRONG_TERMS)
def test_terms_that_break_a_rule_are_refused_by_name(wrong: dict[str, Any]) -> None:
    check_terms(terms_of())

    with refused(TradeFieldsWrong, *[f"/{name}" for name in wrong]):
        check_terms(terms_of(**wrong))


def test_terms_on_a_bound_are_taken() -> None:
    check_terms(terms_of(quantity=1, acceptance_window_days=0))
    check_terms(terms_of(quantity=10**9, acceptance_window_days=3650))


def test_a_filing_needs_evidence_and_a_contract() -> None:
    check_evidence([a_sha256(1)])
    check_evidence([a_sha256(1)] * 20)
    for wrong, pointer in ([], "/evidence"), ([a_sha256(1), "x"], "/evidence/1"), ([a_sha256(1)] * 21, "/evidence"):
        with refused(TradeFieldsWrong, pointer):
            check_evidence(wrong)
    assert require_contract("C-1", a_sha256(1)) == ("C-1", a_sha256(1))
    with refused(TradeFieldsWrong, "/contract_sha256"):
        require_contract("C-1", None)
    with refused(TradeFieldsWrong, "/contract_number"):
        require_contract(None, a_sha256(1))


def test_what_has_no_place_in_a_request_is_refused_by_name() -> None:
    refuse_given(listing_id=None, buyer_id=None)

    with refused(TradeFieldsWrong, "/buyer_id"):
        refuse_given(listing_id=None, buyer_id=7)


def test_a_partys_own_reference_is_a_short_text() -> None:
    check_reference(None)
    check_reference("x" * 64)
    for wrong in ("", "x" * 65):
        with refused(TradeFieldsWrong, "/external_ref"):
            check_reference(wrong)


@given(
    st.sampled_from(
        [TradeState.PROPOSED, TradeState.CONFIRMED, TradeState.CONTRACTED, TradeState.CANCELLED, TradeState.TERMINATED]
    ),
    st.dates(date(2026, 1, 1), date(2026, 1, 4)),
    *[st.one_of(st.none(), st.dates(date(2026, 1, 1), date(2026, 1, 4)))] * 3,
)
def test_an_old_trade_has_the_days_of_its_state_in_order(
    state: TradeState, proposed: date, effective: date | None, ended: date | None, received: date | None
) -> None:
    days = OldDates(proposed, effective, ended, received)
    given_days = [day for day in (proposed, effective, ended) if day is not None]
    good = (
        (effective is not None) == (state in {"contracted", "terminated"})
        and (ended is not None) == (state in {"cancelled", "terminated"})
        and given_days == sorted(given_days)
        and (received is None or received >= (effective or proposed))
    )

    if good:
        check_old_dates(state, days)
    else:
        with refused(TradeFieldsWrong):
            check_old_dates(state, days)


FIRST, SECOND, THIRD = date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)


@pytest.mark.parametrize(
    ("state", "days", "fields"),
    [
        (TradeState.CONTRACTED, OldDates(FIRST, None, None, None), ["effective_on"]),
        (TradeState.PROPOSED, OldDates(FIRST, SECOND, None, None), ["effective_on"]),
        (TradeState.CANCELLED, OldDates(FIRST, None, None, None), ["ended_on"]),
        (TradeState.CONTRACTED, OldDates(FIRST, SECOND, THIRD, None), ["ended_on"]),
        (TradeState.TERMINATED, OldDates(FIRST, None, None, None), ["effective_on", "ended_on"]),
        (TradeState.CONTRACTED, OldDates(SECOND, FIRST, None, None), ["effective_on"]),
        (TradeState.TERMINATED, OldDates(FIRST, THIRD, SECOND, None), ["ended_on"]),
        (TradeState.CANCELLED, OldDates(SECOND, None, FIRST, None), ["ended_on"]),
        (TradeState.CONTRACTED, OldDates(FIRST, SECOND, None, FIRST), ["received_on"]),
        (TradeState.PROPOSED, OldDates(SECOND, None, None, FIRST), ["received_on"]),
    ],
)
def test_a_day_of_an_old_trade_that_breaks_a_rule_is_named(
    state: TradeState, days: OldDates, fields: list[str]
) -> None:
    with refused(TradeFieldsWrong, *[f"/{name}" for name in fields]):
        check_old_dates(state, days)


def test_a_day_out_of_order_is_told_which_day_it_follows() -> None:
    with refused(TradeFieldsWrong) as caught:
        check_old_dates(TradeState.CONTRACTED, OldDates(SECOND, FIRST, None, None))

    assert [fault.rule for fault in caught.value.faults] == ["must not lie before proposed_on"]


# Companies, products, offers


WRONG_COMPANIES: list[tuple[str, Any]] = [
    ("legal_name", "x" * 121),
    ("short_name", ""),
    ("legal_representative", "@x"),
    ("address", "a\u200bb"),
    ("contact", " "),
    ("region_code", "43010"),
    ("region_code", "990000"),
    ("industry_code", "Z1"),
    ("roles", ()),
    ("roles", ("provider", "provider")),
    ("roles", ("king",)),
    ("group_parent_uscc", "1" * 18),
    ("evidence", ("x",)),
    ("evidence", (a_sha256(1),) * 21),
]


@pytest.mark.parametrize(("name", "value"), WRONG_COMPANIES)
def test_an_application_that_breaks_a_rule_is_refused_by_name(name: str, value: Any) -> None:
    check_company(a_uscc(1), company_fields())

    with refused(MemberFieldsWrong) as caught:
        check_company(a_uscc(1), company_fields(**{name: value}))

    [fault] = caught.value.faults
    assert fault.pointer in {f"/{name}", f"/{name}/0"}


def test_a_company_is_known_by_a_valid_code() -> None:
    with refused(MemberFieldsWrong, "/uscc", "/contact"):
        check_company("1" * 18, company_fields(contact=""))


def test_a_correction_breaks_no_rule_either() -> None:
    check_fields(company_fields())

    with refused(MemberFieldsWrong, "/contact"):
        check_fields(company_fields(contact=""))


def test_an_application_on_a_bound_is_taken() -> None:
    check_company(a_uscc(1), company_fields("x" * 116, address="x" * 200, evidence=(a_sha256(1),) * 20))


WRONG_VERSIONS: list[tuple[str, Any]] = [
    ("title", ""),
    ("abstract", "x" * 601),
    ("scenarios", "-x"),
    ("coverage", "\x00"),
    ("legal_basis", LegalBasis.CONSENT),
    ("record_count", -1),
    ("record_count", 10**15 + 1),
    ("delivery_modes", ()),
    ("delivery_modes", ("api", "api")),
    ("delivery_modes", ("post",)),
    ("rights", ()),
    ("rights", ("use", "use:2027-01-01")),
    ("rights", ("use:2027-02-30",)),
    ("rights", ("sell",)),
    ("rights", ("use:",)),
    ("sample_sha256", "x"),
    ("ip_registration", "x" * 65),
]


@pytest.mark.parametrize(("name", "value"), WRONG_VERSIONS)
def test_a_version_that_breaks_a_rule_is_refused_by_name(name: str, value: Any) -> None:
    check_version(version_fields())

    with refused(ProductFieldsWrong) as caught:
        check_version(version_fields(**{name: value}))

    [fault] = caught.value.faults
    assert fault.pointer in {f"/{name}", f"/{name}/0"}


def test_a_version_on_a_bound_is_taken() -> None:
    for count in (0, 10**15):
        check_version(version_fields(record_count=count))
    check_version(version_fields(delivery_modes=tuple(DeliveryMode)))
    check_version(version_fields(title="x" * 120, abstract="x" * 600, rights=("hold", "use", "operate:2027-12-31")))


def test_core_data_is_refused_and_personal_information_needs_a_basis() -> None:
    check_version(version_fields(personal_information=True, legal_basis=LegalBasis.CONSENT))
    with refused(CoreDataRefused, "/grade"):
        check_version(version_fields(grade=DataGrade.CORE))
    with refused(ProductFieldsWrong, "/legal_basis"):
        check_version(version_fields(personal_information=True))


@given(
    st.sampled_from(PriceModel),
    st.one_of(st.none(), st.integers(-1, 2), st.integers(10**14 - 1, 10**14 + 1)),
    st.sampled_from([-1, 0, 600, 10_000, 10_001]),
)
def test_an_offer_has_a_price_unless_it_is_negotiable(model: PriceModel, price: int | None, rate: int) -> None:
    offer = offer_fields(price, price_model=model, vat_rate_bp=rate)
    priced = price is None if model == "negotiable" else price is not None and 0 < price <= 10**14

    wrong = [name for name, good in (("price", priced), ("vat_rate_bp", 0 <= rate <= 10_000)) if not good]

    if wrong:
        with refused(ProductFieldsWrong, *[f"/{name}" for name in wrong]):
            check_offer(offer)
    else:
        check_offer(offer)


@given(st.lists(st.one_of(st.none(), DAYS), min_size=1, max_size=3))
def test_rights_run_out_with_the_first_of_them(ends: list[date | None]) -> None:
    kinds = ("hold", "use", "operate")
    rights = [kind if end is None else f"{kind}:{end}" for kind, end in zip(kinds, ends, strict=False)]

    assert rights_expire_on(rights) == min((end for end in ends if end is not None), default=None)


def test_a_right_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match="use:"):
        right_expiry("use:")


@given(st.sampled_from([*ListingState, None]), DAYS, st.one_of(st.none(), DAYS), st.one_of(st.none(), DAYS))
def test_a_listing_is_for_sale_by_its_state_its_term_and_its_rights(
    state: ListingState | None, day: date, term: date | None, rights: date | None
) -> None:
    listing = Listing.model_construct(expires_on=term)
    version = ProductVersion.model_construct(rights_expire_on=rights)

    if state == "listed" and (term is None or day <= term) and (rights is None or day <= rights):
        check_tradable(state, listing, version, day)
    else:
        with refused(ListingNotTradable):
            check_tradable(state, listing, version, day)


# Commands that are refused before anybody decides

DAY = date(2026, 1, 2)
EARLIER = date(2026, 1, 1)


def an_old_listing(**changed: Any) -> RecordListing:
    given_fields: dict[str, Any] = {
        "owner_uscc": a_uscc(1),
        "code": "P-1",
        "kind": ProductKind.API,
        "number": 1,
        "version": version_fields(),
        "offer": offer_fields(),
        "listed_on": DAY,
    }
    return RecordListing(**(given_fields | changed))


def an_old_trade(**changed: Any) -> RecordTrade:
    given_fields: dict[str, Any] = {
        "seller_uscc": a_uscc(1),
        "buyer_uscc": a_uscc(2),
        "product_code": "P-1",
        "product_version": 1,
        "mode": TradeMode.NEGOTIATED,
        "venue": Venue.ON_EXCHANGE,
        "terms": terms_of(),
        "state": TradeState.CONTRACTED,
        "days": OldDates(DAY, DAY, None, None),
    }
    return RecordTrade(**(given_fields | changed))


REFUSED: list[tuple[Callable[[], object], type[Problem]]] = [
    (lambda: StartReview(MemberId(1), ""), ReasonWrong),
    (lambda: CancelTrade(TradeId(1), " no"), ReasonWrong),
    (lambda: ChangeMember(MemberId(1), "reason"), NothingChanges),
    (lambda: ChangeMember(MemberId(1), "reason", group_parent_uscc=a_uscc(1), leaves_group=True), NothingChanges),
    (lambda: ChangeMember(MemberId(1), "reason", region_code="1"), MemberFieldsWrong),
    (lambda: RecordMember(a_uscc(1), company_fields(), DAY, EARLIER), MemberFieldsWrong),
    (lambda: RecordMember(a_uscc(1), company_fields(), EARLIER, DAY, EARLIER), MemberFieldsWrong),
    (lambda: RecordMember("1" * 18, company_fields(), EARLIER, DAY), MemberFieldsWrong),
    (lambda: RegisterProduct("-1", ProductKind.API), ProductFieldsWrong),
    (lambda: RecordAssessment(VersionId(1), AssessmentKind.QUALITY, "x"), ProductFieldsWrong),
    (lambda: an_old_listing(owner_uscc="x"), ProductFieldsWrong),
    (lambda: an_old_listing(assessor_uscc=a_uscc(2)), ProductFieldsWrong),
    (lambda: an_old_listing(assessor_uscc=a_uscc(2), security_assessment_sha256="x"), ProductFieldsWrong),
    (lambda: an_old_listing(delisted_on=EARLIER), ProductFieldsWrong),
    (lambda: an_old_trade(buyer_uscc="x"), TradeFieldsWrong),
    (lambda: an_old_trade(state=TradeState.REVERSED), TradeFieldsWrong),
    (lambda: an_old_trade(state=TradeState.TERMINATED, days=OldDates(DAY, DAY, DAY, None)), ReasonWrong),
    (lambda: an_old_trade(venue=Venue.OFF_EXCHANGE_FILED, mode=TradeMode.AUCTION), TradeFieldsWrong),
    (lambda: an_old_trade(venue=Venue.OFF_EXCHANGE_FILED), TradeFieldsWrong),
    (lambda: CloseMonth(DAY), MonthWrong),
    (lambda: CloseMonth(date(2014, 11, 1)), MonthWrong),
    (lambda: CreateKey(Role.MEMBER, "Li", "a" * 64), KeyWrong),
    (lambda: CreateKey(Role.MEMBER, "Li", "a" * 64, "1" * 18), KeyWrong),
    (lambda: CreateKey(Role.OPERATOR, "Li", "a" * 64, a_uscc(1)), KeyWrong),
]


@pytest.mark.parametrize(("make", "refusal"), REFUSED)
def test_a_command_that_can_never_be_right_is_not_made(make: Callable[[], object], refusal: type[Problem]) -> None:
    with refused(refusal):
        make()


@given(st.text("aB1._-", max_size=66))
def test_a_products_code_is_a_word(code: str) -> None:
    good = 0 < len(code) <= 64 and code[0].isalnum()
    assume(code)

    if good:
        RegisterProduct(code, ProductKind.API)
    else:
        with refused(ProductFieldsWrong, "/code"):
            RegisterProduct(code, ProductKind.API)
