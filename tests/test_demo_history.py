"""The history of the demonstration obeys every rule that its import enforces, and has the shape that it promises."""

import csv
import hashlib
import io
import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist, median

import pytest
from stdnum import numdb
from stdnum.cn import uscc as uscc_standard

from exchange.demo import history as module
from exchange.demo.history import history, write

Row = dict[str, str]

PINNED = {
    "members": "ea16ed0ff01ecc9bb107441b6b114f890de2c74608e67e31bec1f66dcfea3b72",
    "products": "eaf5f9c519187be93546852931f02b3b9766f1b693ced4007dac93c972e83f89",
    "trades": "a320e7bbf65b0f525234ca1771078f3ab813946fff96bae1a6e3d92b535eb811",
}
HEADS = {
    "members": "uscc,legal_name,short_name,legal_representative,address,region_code,industry_code,roles,contact,"
    "group_parent_uscc,evidence_sha256,applied_on,admitted_on,withdrawn_on",
    "products": "owner_uscc,product_code,kind,version,title,abstract,sector,scenarios,source_type,personal_information,"
    "legal_basis,grade,coverage,record_count,update_frequency,delivery_modes,sample_sha256,rights,ip_registration,"
    "assessor_uscc,security_assessment_sha256,price_model,price_fen,vat_rate_bp,visibility,listed_on,expires_on,"
    "delisted_on",
    "trades": "seller_uscc,buyer_uscc,contract_number,contract_sha256,product_code,product_version,mode,venue,purpose,"
    "quantity,net_fen,vat_fen,gross_fen,proposed_on,effective_on,received_on,outcome,ended_on,reason,delivery_terms,"
    "acceptance_window_days,buyer_ref,seller_ref,evidence_sha256",
}
YEARS = {2020: 6_200_000_000, 2021: 15_500_000_000, 2022: 28_000_000_000, 2023: 40_000_000_000}
ACTIVE = {2020: 110, 2021: 205, 2022: 320, 2023: 416}
MONTHS = (6, 3, 8, 6, 6, 11, 5, 5, 9, 7, 12, 22)
KINDS = {"api": 34, "dataset": 24, "report": 16, "service": 12, "application": 6, "model": 5, "compute": 3}
SECTORS = {
    "government": 18,
    "finance": 17,
    "manufacturing": 14,
    "transport": 12,
    "health": 9,
    "energy": 8,
    "culture": 8,
    "agriculture": 6,
    "other": 8,
}
OUTCOMES = {"contracted": 92.5, "cancelled": 4, "terminated": 2, "reversed": 1.5}
SHA256 = re.compile(r"[0-9a-f]{64}")
FIRST, LAST = date(2020, 1, 1), date(2023, 12, 31)

MADE = history()
MEMBERS, PRODUCTS, TRADES = (
    list(csv.DictReader(io.StringIO(getattr(MADE, name).decode(), newline=""))) for name in HEADS
)
MEMBER = {row["uscc"]: row for row in MEMBERS}
VERSIONS = {(row["owner_uscc"], row["product_code"], row["version"]): row for row in PRODUCTS}


def day(text: str) -> date:
    made = date.fromisoformat(text)
    assert made.isoformat() == text
    return made


def active(uscc: str, on: date) -> bool:
    member = MEMBER[uscc]
    return day(member["admitted_on"]) <= on and (not member["withdrawn_on"] or day(member["withdrawn_on"]) > on)


def group(uscc: str) -> str:
    return MEMBER[uscc]["group_parent_uscc"] or uscc


def version(trade: Row) -> Row:
    return VERSIONS[trade["seller_uscc"], trade["product_code"], trade["product_version"]]


def roles(uscc: str) -> list[str]:
    return MEMBER[uscc]["roles"].split(";")


def dates(trade: Row) -> list[date]:
    return [day(trade[name]) for name in ("proposed_on", "effective_on", "ended_on") if trade[name]]


def percent(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> float:
    found = [wanted(row) for row in rows]
    return 100 * sum(found) / len(found)


def counted() -> list[Row]:
    """What is left: neither cancelled nor taken back."""
    return [row for row in TRADES if row["outcome"] == "contracted"]


def amounts() -> list[int]:
    return sorted(int(row["gross_fen"]) for row in counted())


def near(shares: Counter[str], due: dict[str, float] | dict[str, int], within: float) -> None:
    whole = sum(shares.values())
    assert set(shares) == set(due)
    assert {key: round(100 * shares[key] / whole, 2) for key in due} == pytest.approx(due, abs=within)


# Bytes


@pytest.mark.parametrize("name", HEADS)
def test_the_files_are_the_same_bytes_as_ever(name: str) -> None:
    made = getattr(history(), name)

    assert made == getattr(MADE, name)
    assert hashlib.sha256(made).hexdigest() == PINNED[name]


@pytest.mark.parametrize("name", HEADS)
def test_the_files_are_plain_csv_with_english_heads(name: str) -> None:
    made: bytes = getattr(MADE, name)
    text = made.decode("utf-8", errors="strict")

    assert not made.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in made
    assert text.endswith("\n")
    assert text.split("\n", 1)[0] == HEADS[name]
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}


def test_no_cell_is_unsafe() -> None:
    for cell in (cell for rows in (MEMBERS, PRODUCTS, TRADES) for row in rows for cell in row.values() if cell):
        assert unicodedata.is_normalized("NFC", cell)
        assert cell == cell.strip()
        assert cell[0] not in "=+-@\t\r＝＋－＠"
        assert not any(unicodedata.category(letter).startswith(("C", "Zl", "Zp")) for letter in cell)


def test_the_files_are_written_as_they_are_made(tmp_path: Path) -> None:
    write(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{name}.csv": getattr(MADE, name) for name in HEADS
    }


def test_another_seed_gives_another_history_of_the_same_sums() -> None:
    for seed in range(5):
        other = list(csv.DictReader(io.StringIO(history(seed).trades.decode(), newline="")))
        sums: Counter[int] = Counter()
        for row in other:
            if row["outcome"] == "contracted":
                sums[day(row["effective_on"]).year] += int(row["gross_fen"])
        assert other != TRADES
        assert sums == YEARS


def test_the_last_bit_of_a_float_decides_no_amount() -> None:
    """`log`, `exp` and `inv_cdf` may differ in their last bits from platform to platform."""
    law = NormalDist(math.log(module.MEDIAN_FEN), module.SIGMA)
    lost = sum(module.OUTCOMES.values())
    for count in (lost, module.TRADES - lost):
        for n in range(count):
            exact = math.exp(law.inv_cdf((n + 1) / (count + 1)))
            assert abs(exact % 1 - 0.5) > exact * 1e-13


def test_the_files_are_in_the_order_of_their_days() -> None:
    for rows, name in ((MEMBERS, "admitted_on"), (PRODUCTS, "listed_on"), (TRADES, "proposed_on")):
        assert all(one[name] <= next_one[name] for one, next_one in pairwise(rows))


# Members


def test_members_have_true_codes_and_names_of_their_own() -> None:
    parents = {row["group_parent_uscc"] for row in MEMBERS} - {""}
    for code in [*MEMBER, *parents]:
        assert re.fullmatch(r"[0-9A-HJ-NP-RTUWXY]{18}", code)
        assert uscc_standard.is_valid(code)
        assert code[16] == _organisation_check(code[8:16])
    assert len(MEMBER) == len(MEMBERS)
    for name in ("legal_name", "short_name"):
        assert len({row[name] for row in MEMBERS}) == len(MEMBERS)
    assert all(row["legal_name"].endswith("有限公司") for row in MEMBERS)
    assert all(code[2:8] == row["region_code"] for code, row in MEMBER.items())
    assert all(code[8:12] == "DEM0" for code in [*MEMBER, *parents])


def _organisation_check(body: str) -> str:
    """GB 11714: the check character of an organisation's code, which GB 32100 embeds."""
    weighted = sum(int(letter, 36) * weight for letter, weight in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return "0123456789X0"[11 - weighted % 11]


def test_members_fields_are_as_they_must_be() -> None:
    places = numdb.get("cn/loc")
    for row in MEMBERS:
        assert re.fullmatch(r"[1-9][0-9]{3}(?!00)[0-9]{2}", row["region_code"])
        province, county = places.info(row["region_code"])
        assert province[1]["province"]
        assert re.fullmatch(r"(.*,)?(\[[0-9]{4}-\])?[^],[]+", county[1]["county"]), "a county of today"
        assert re.fullmatch(r"[A-T][0-9]{2,4}", row["industry_code"])
        named = row["roles"].split(";")
        assert len(set(named)) == len(named)
        assert set(named) <= {"provider", "consumer", "service_org"}
        assert row["legal_representative"]
        assert row["address"]
        assert re.fullmatch(r"[a-z0-9]+@example\.com", row["contact"])
        assert SHA256.fullmatch(row["evidence_sha256"])
        assert FIRST <= day(row["applied_on"]) <= day(row["admitted_on"]) <= LAST
        assert not row["withdrawn_on"] or day(row["admitted_on"]) < day(row["withdrawn_on"]) <= LAST


def test_members_grow_as_published() -> None:
    assert {year: sum(active(code, date(year, 12, 31)) for code in MEMBER) for year in ACTIVE} == ACTIVE
    assert len(MEMBERS) == 437
    assert sum(row["withdrawn_on"] != "" for row in MEMBERS) == 21


def test_roles_have_their_shares() -> None:
    near(
        Counter(row["roles"].split(";")[0] for row in MEMBERS), {"consumer": 48, "provider": 38, "service_org": 14}, 0.5
    )
    assert percent(MEMBERS, lambda row: ";" in row["roles"]) == pytest.approx(30, abs=0.5)


def test_buyers_come_from_where_they_should() -> None:
    def place(row: Row) -> str:
        code = row["region_code"]
        return "Changsha" if code.startswith("4301") else "Hunan" if code.startswith("43") else "outside"

    due = {"Changsha": 45, "Hunan": 25, "outside": 30}
    near(Counter(place(row) for row in MEMBERS if "consumer" in row["roles"].split(";")), due, 3)
    near(Counter(place(MEMBER[row["buyer_uscc"]]) for row in TRADES), due, 10)


def test_a_third_never_trades_and_activity_falls_as_one_over_the_rank() -> None:
    activity: Counter[str] = Counter()
    for row in TRADES:
        activity.update((row["seller_uscc"], row["buyer_uscc"]))

    assert 30 <= percent(MEMBERS, lambda row: not activity[row["uscc"]]) <= 37
    for side in ("seller_uscc", "buyer_uscc"):
        ranked = sorted(Counter(row[side] for row in TRADES).values(), reverse=True)
        assert 0.25 <= sum(ranked[: len(ranked) // 10]) / len(TRADES) <= 0.75
        xs, ys = [math.log(n) for n in range(1, 51)], [math.log(number) for number in ranked[:50]]
        middle_x, middle_y = sum(xs) / 50, sum(ys) / 50
        slope = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / sum(
            (x - middle_x) ** 2 for x in xs
        )
        assert -1.2 <= slope <= -0.5


def test_withdrawn_members_go_after_their_last_trade_and_some_had_one() -> None:
    last: dict[str, date] = defaultdict(lambda: date.min)
    for row in TRADES:
        for uscc in (row["seller_uscc"], row["buyer_uscc"]):
            last[uscc] = max(last[uscc], *dates(row), *([day(row["received_on"])] if row["received_on"] else []))
    gone = [row for row in MEMBERS if row["withdrawn_on"]]

    assert all(last[row["uscc"]] < day(row["withdrawn_on"]) for row in gone)
    assert sum(row["uscc"] in last and last[row["uscc"]] > date.min for row in gone) >= 5
    for row in PRODUCTS:
        left = MEMBER[row["owner_uscc"]]["withdrawn_on"]
        ends = [end for end in (row["delisted_on"], row["expires_on"]) if end]
        assert not left or (ends and min(ends) <= left)


# Products


def test_products_fields_are_as_they_must_be() -> None:
    allowed = {
        "kind": set(KINDS),
        "sector": set(SECTORS),
        "source_type": {"first_party", "public", "licensed", "derived"},
        "personal_information": {"yes", "no"},
        "grade": {"general", "important"},
        "update_frequency": {"realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "once"},
        "price_model": {"fixed", "per_call", "subscription", "negotiable"},
        "vat_rate_bp": {"600", "300", "1300", "0"},
        "visibility": {"public", "members"},
        "version": {"1", "2"},
    }
    for name, values in allowed.items():
        assert {row[name] for row in PRODUCTS} == values
    for row in PRODUCTS:
        assert re.fullmatch(r"HN-[A-Z]{3}-[0-9]{4}", row["product_code"])
        for name in ("title", "abstract", "scenarios", "coverage"):
            assert row[name]
        bases = {"consent", "contract", "public_interest", "anonymised"}
        assert row["legal_basis"] in (bases if row["personal_information"] == "yes" else {""})
        assert int(row["record_count"]) >= 0
        modes = row["delivery_modes"].split(";")
        assert len(set(modes)) == len(modes)
        assert set(modes) <= {"download", "api", "sandbox", "private_compute"}
        assert SHA256.fullmatch(row["sample_sha256"])
        if row["price_model"] == "negotiable":
            assert not row["price_fen"]
        else:
            assert 0 < int(row["price_fen"]) <= 10**14
    assert percent(PRODUCTS, lambda row: row["vat_rate_bp"] == "600") >= 55


def rights_end(row: Row) -> date:
    found = [re.fullmatch(r"(hold|use|operate)(?::(.+))?", right) for right in row["rights"].split(";")]
    assert all(found)
    assert len({right[1] for right in found if right}) == len(found)
    return min([day(right[2]) for right in found if right and right[2]], default=date.max)


def test_products_are_listed_by_active_providers() -> None:
    assert len(VERSIONS) == len(PRODUCTS)
    for row in PRODUCTS:
        listed_on = day(row["listed_on"])
        assert "provider" in roles(row["owner_uscc"])
        assert active(row["owner_uscc"], listed_on)
        assert FIRST <= listed_on <= LAST
        assert listed_on <= rights_end(row)
        assert not row["expires_on"] or listed_on <= day(row["expires_on"])
        assert not row["delisted_on"] or listed_on < day(row["delisted_on"]) <= LAST


def test_important_data_was_assessed_by_somebody_unrelated() -> None:
    important = [row for row in PRODUCTS if row["grade"] == "important"]

    assert important
    for row in PRODUCTS:
        assert (row["grade"] == "important") == bool(row["assessor_uscc"]) == bool(row["security_assessment_sha256"])
    for row in important:
        assessor, owner = row["assessor_uscc"], row["owner_uscc"]
        assert "service_org" in roles(assessor)
        assert active(assessor, day(row["listed_on"]))
        assert assessor != owner
        assert group(assessor) != group(owner)
        assert SHA256.fullmatch(row["security_assessment_sha256"])
    assert len({row["assessor_uscc"] for row in important}) > 1


def test_second_versions_replace_first_ones() -> None:
    second = [row for row in PRODUCTS if row["version"] == "2"]

    assert 3 <= len(second) <= len(PRODUCTS) // 10
    for row in second:
        first = VERSIONS[row["owner_uscc"], row["product_code"], "1"]
        assert first["delisted_on"] == row["listed_on"]
        assert first["kind"] == row["kind"]
    assert any(row["product_version"] == "2" for row in TRADES)


def test_kinds_and_sectors_have_their_shares() -> None:
    first = [row for row in PRODUCTS if row["version"] == "1"]

    near(Counter(row["kind"] for row in first), KINDS, 0.5)
    near(Counter(row["sector"] for row in first), SECTORS, 0.5)


# Trades


def test_trades_fields_are_as_they_must_be() -> None:
    for row in TRADES:
        assert row["purpose"]
        assert row["contract_number"]
        assert SHA256.fullmatch(row["contract_sha256"])
        assert 1 <= int(row["quantity"]) <= 10**9
        assert 0 <= int(row["acceptance_window_days"] or 0) <= 3650
        assert row["outcome"] in OUTCOMES
        assert (row["outcome"] == "cancelled") == (not row["effective_on"])
        assert (row["outcome"] == "contracted") == (not row["ended_on"]) == (not row["reason"])
        assert all(FIRST <= on <= LAST for on in dates(row))
        assert dates(row) == sorted(dates(row))
        if row["outcome"] == "terminated":
            assert row["ended_on"][:4] == row["effective_on"][:4]
    assert len({tuple(row[name] for name in HEADS["trades"].split(",")[:4]) for row in TRADES}) == len(TRADES)


def test_trades_are_of_active_parties_that_may() -> None:
    for row in TRADES:
        seller, buyer = row["seller_uscc"], row["buyer_uscc"]
        assert seller != buyer
        assert "provider" in roles(seller)
        assert "consumer" in roles(buyer)
        assert all(active(party, on) for party in (seller, buyer) for on in dates(row))


def test_trades_are_of_tradable_listings() -> None:
    for row in TRADES:
        offer = version(row)
        for name in ("proposed_on", "effective_on"):
            if row[name]:
                on = day(row[name])
                assert day(offer["listed_on"]) <= on <= rights_end(offer), (name, row)
                assert not offer["delisted_on"] or on < day(offer["delisted_on"])
                assert not offer["expires_on"] or on <= day(offer["expires_on"])


def test_amounts_follow_from_the_listing() -> None:
    for row in TRADES:
        offer = version(row)
        net, vat, gross = (int(row[name]) for name in ("net_fen", "vat_fen", "gross_fen"))
        rate = int(offer["vat_rate_bp"])
        assert net > 0
        assert vat >= 0
        assert net + vat == gross <= 10**14
        assert net == (gross * 10_000 * 2 + 10_000 + rate) // (2 * (10_000 + rate))
        assert (row["mode"] == "listed") == (offer["price_model"] == "fixed")
        if row["mode"] == "listed":
            assert gross == int(offer["price_fen"]) * int(row["quantity"])
    assert any(int(row["quantity"]) > 1 for row in TRADES if row["mode"] == "listed")


def test_filings_are_negotiated_larger_and_have_evidence() -> None:
    filed = [row for row in TRADES if row["venue"] == "off_exchange_filed"]
    here = [row for row in TRADES if row["venue"] == "on_exchange"]

    assert len(filed) + len(here) == len(TRADES)
    assert {row["mode"] for row in filed} == {"negotiated"}
    assert all(SHA256.fullmatch(row["evidence_sha256"]) for row in filed)
    assert all(not row["evidence_sha256"] for row in here)
    assert 100 * len(here) / len(TRADES) == pytest.approx(68, abs=0.5)
    assert median(int(row["gross_fen"]) for row in filed) > 1.5 * median(int(row["gross_fen"]) for row in here)


def test_late_ones_came_more_than_thirty_days_after() -> None:
    late = [row for row in TRADES if row["received_on"] and row["received_on"] != row["effective_on"]]

    assert 100 * len(late) / len(TRADES) == pytest.approx(3, abs=0.2)
    for row in late:
        assert row["effective_on"]
        assert day(row["received_on"]) > day(row["effective_on"]) + timedelta(days=30)
        assert day(row["received_on"]) <= date(2024, 3, 31)


def test_related_parties_make_up_a_twentieth() -> None:
    related = [row for row in TRADES if group(row["seller_uscc"]) == group(row["buyer_uscc"])]

    assert 100 * len(related) / len(TRADES) == pytest.approx(5, abs=0.2)
    assert len({group(row["seller_uscc"]) for row in related}) >= 5


def test_modes_and_outcomes_have_their_shares() -> None:
    near(Counter(row["mode"] for row in TRADES), {"negotiated": 70, "listed": 27, "auction": 3}, 0.1)
    near(Counter(row["outcome"] for row in TRADES), OUTCOMES, 0.1)
    assert len(TRADES) == 1_480


def test_months_have_their_weights() -> None:
    near(
        Counter(str(day(row["effective_on"]).month) for row in TRADES if row["effective_on"]),
        {str(month): weight for month, weight in enumerate(MONTHS, 1)},
        1,
    )
    for year in YEARS:
        near(
            Counter(str(day(row["effective_on"]).month) for row in counted() if row["effective_on"][:4] == str(year)),
            {str(month): weight for month, weight in enumerate(MONTHS, 1)},
            1,
        )


def test_volume_is_exact_in_every_year_and_in_all() -> None:
    volume: Counter[int] = Counter()
    for row in TRADES:
        if row["effective_on"]:
            volume[day(row["effective_on"]).year] += int(row["gross_fen"])
        if row["outcome"] == "terminated":
            volume[day(row["ended_on"]).year] -= int(row["gross_fen"])
        if row["outcome"] == "reversed":
            volume[day(row["effective_on"]).year] -= int(row["gross_fen"])

    assert volume == YEARS
    assert sum(volume.values()) == 89_700_000_000


def test_amounts_have_the_shape_of_the_law() -> None:
    values = amounts()

    assert median(values) == pytest.approx(12_000_000, rel=0.2)
    assert 0.65 <= sum(values[-(len(values) // 10) :]) / sum(values) <= 0.75
    assert values[-1] <= 0.05 * sum(values)
    mean, count = math.log(median(values)), len(values)
    law = NormalDist(mean, 1.8)
    logs = [math.log(value) for value in values]
    assert max(abs(bisect_left(logs, x) / count - law.cdf(x)) for x in logs) < 0.05


def test_no_row_balances_the_sum() -> None:
    """Each year's sum is reached by scale alone: no single trade stands out of the law to make it fit."""
    values = amounts()

    for n, value in enumerate(values[-20:]):
        rank = (len(values) - 20 + n + 1) / (len(values) + 1)
        due = math.exp(NormalDist(math.log(median(values)), 1.8).inv_cdf(rank))
        assert value == pytest.approx(due, rel=0.25)
    for year, volume in YEARS.items():
        largest = max(int(row["gross_fen"]) for row in counted() if row["effective_on"].startswith(str(year)))
        assert largest <= volume / 4
