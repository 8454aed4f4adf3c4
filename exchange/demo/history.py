"""Four years of an exchange, 2020 to 2023, as the files that its operator would import: the same bytes every time.

The shape follows published figures of Chinese exchanges. Amounts are quantiles of a log-normal law (median CNY 120,000, σ 1.8), dealt to the years
in proportion to their volume, and scaled so that each year's net volume by effective date is exact: prices of listings to whole yuan first, then
the free amounts to the rest; the fen left over by rounding go one each to the year's largest trades that were not taken from a listing. What is
cancelled, terminated (within its year) or reversed has amounts of the same law, unscaled, and nets to nothing.

Reached with the seed 2020: the counted amounts' median is CNY 137,697 (15 % above the law's, as scaling the years lifts all), their largest tenth
makes up 67.8 % of the volume, the largest trade 4.6 %. Buyers have their shares of places by number of companies; by number of trades they are 53 %
Changsha, 17 % elsewhere in Hunan, 30 % outside, as a few buyers make most of the trades.
"""

import csv
import hashlib
import io
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, TypeVar

from stdnum.cn import uscc as uscc_standard

T = TypeVar("T")

HEADS: Final = {
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

# The shape: the figures of "What a real exchange looks like", in the project's design of the domain.

FIRST_DAY: Final = date(2020, 1, 1)
VOLUME_FEN: Final = {2020: 6_200_000_000, 2021: 15_500_000_000, 2022: 28_000_000_000, 2023: 40_000_000_000}
ACTIVE: Final = {2020: 110, 2021: 205, 2022: 320, 2023: 416}
WITHDRAWN: Final = {2020: 0, 2021: 3, 2022: 7, 2023: 11}
FOUNDERS: Final = 48
TRADES: Final = 1_480
MEDIAN_FEN: Final = 12_000_000
SIGMA: Final = 1.8
MONTHS: Final = (6, 3, 8, 6, 6, 11, 5, 5, 9, 7, 12, 22)
OUTCOMES: Final = {"cancelled": 59, "terminated": 30, "reversed": 22}
LISTED, AUCTION, FILED, LATE, RELATED = 400, 44, 474, 44, 74
SALES_PER_LISTING: Final = 3
QUANTITIES: Final = (1, 1, 1, 2, 2, 3, 5)
QUIET: Final = timedelta(days=90)
"""Nothing of a trade happens later than this after its day: neither an end nor a late filing."""
RELATED_PAIRS: Final = 16
NEVER_TRADING: Final = 0.34
"""So many are kept from trading; those whom chance passes over make it a third."""
PRIMARY_ROLES: Final = {"consumer": 48, "provider": 38, "service_org": 14}
SECOND_ROLE: Final = 0.30
KIND_SHARES: Final = {"api": 34, "dataset": 24, "report": 16, "service": 12, "application": 6, "model": 5, "compute": 3}
SECTORS: Final = {
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
SECTOR_NAMES: Final = {
    "government": "政务",
    "finance": "金融",
    "manufacturing": "制造",
    "transport": "交通",
    "health": "健康",
    "energy": "能源",
    "culture": "文旅",
    "agriculture": "农业",
    "other": "综合",
}
KIND_NAMES: Final = {
    "api": "查询接口",
    "dataset": "数据集",
    "report": "分析报告",
    "service": "数据服务",
    "application": "数据应用",
    "model": "评估模型",
    "compute": "计算服务",
}
CHANGSHA: Final = ("430102", "430103", "430104", "430105", "430111", "430112", "430121", "430181")
HUNAN: Final = ("430202", "430304", "430405", "430503", "430602", "430702", "430902", "431003", "431103", "431202")
OUTSIDE: Final = {
    "110108": "北京",
    "310115": "上海",
    "440305": "深圳",
    "440106": "广州",
    "330106": "杭州",
    "320106": "南京",
    "420106": "武汉",
    "510107": "成都",
}
REGIONS: Final = {CHANGSHA: 45, HUNAN: 25, tuple(OUTSIDE): 30}
REGION_CHUNK: Final = 20
"""So many buyers, in the order of their admission, have the shares exactly: else chance would give all old hands to one place."""
SYLLABLES: Final = "湘岳麓星辰云图智汇联数信达恒远博创景明泽华锐启瑞丰安泰宏盛嘉源"
ZIPF: Final = list(accumulate(10**9 // rank for rank in range(1, 2_000)))
VAT_RATES_BP: Final = (600, 600, 600, 600, 600, 600, 600, 300, 1300, 0)


@dataclass(frozen=True, slots=True)
class History:
    """The three files, as CSV in UTF-8."""

    members: bytes
    products: bytes
    trades: bytes


class Dice:
    """Chance that falls the same on every platform: everything is made of one generator's fractions."""

    def __init__(self, seed: int) -> None:
        """Begin with a seed."""
        self._fraction = random.Random(seed).random  # noqa: S311 - it must repeat, not surprise

    def below(self, limit: int) -> int:
        """Give a number from 0 to limit − 1."""
        return int(self._fraction() * limit)

    def chance(self, share: float) -> bool:
        """Say yes so often."""
        return self._fraction() < share

    def pick(self, choices: Sequence[T]) -> T:
        """Pick one."""
        return choices[self.below(len(choices))]

    def zipf(self, count: int) -> int:
        """Pick an index: the first ones most, by one over their rank."""
        return bisect_right(ZIPF, self.below(ZIPF[count - 1]), hi=count - 1)

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """Give the items in a chance order."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed


def shares(total: int, weights: dict[T, int]) -> dict[T, int]:
    """Divide a total in proportion to weights: whole parts, the largest remainders rounded up."""
    whole = sum(weights.values())
    parts = {key: total * weight // whole for key, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda key: -(total * weights[key] % whole))
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def dealt(total: int, weights: dict[T, int], dice: Dice) -> list[T]:
    """Give so many items in the proportions of the weights, in a chance order."""
    return dice.shuffled(key for key, count in shares(total, weights).items() for _ in range(count))


def quantiles(count: int) -> list[int]:
    """Give amounts in fen, the largest first, that are spread as the law says: at n / (count + 1), which keeps the largest below 5 % of all."""
    law = NormalDist(math.log(MEDIAN_FEN), SIGMA)
    return [round(math.exp(law.inv_cdf((count - n) / (count + 1)))) for n in range(count)]


def sha256(*parts: object) -> str:
    """Stand in for the hash of a document."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def made_uscc(region: str, number: int) -> str:
    """Make up a code with true check characters (GB 11714 inside of GB 32100), in a range where no real ones are."""
    body = f"DEM0{number:04}"
    weighted = sum(int(letter, 36) * weight for letter, weight in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    base = f"91{region}{body}{'0123456789X0'[11 - weighted % 11]}"
    return base + str(uscc_standard.calc_check_digit(base))


@dataclass(slots=True)
class Company:
    """A member to be."""

    number: int
    roles: list[str]
    region: str
    admitted_on: date
    trades: bool
    group: str = ""
    withdrawn_on: date | None = None
    last_trade_on: date | None = None

    @property
    def uscc(self) -> str:
        """Its code."""
        return made_uscc(self.region, self.number)


@dataclass(slots=True)
class Product:
    """A product with its listing, and perhaps a second version from some day on."""

    owner: Company
    number: int
    kind: str
    sector: str
    price_model: str
    price: int | None
    vat_rate_bp: int
    listed_on: date
    renewed_on: date | None = None
    sold_in: int | None = None

    @property
    def expires_on(self) -> date | None:
        """The last day of its listing, where it has one."""
        return date(self.sold_in, 12, 31) if self.sold_in else None

    @property
    def code(self) -> str:
        """Its owner's code for it."""
        return f"HN-{self.sector[:3].upper()}-{self.number:04}"

    def version_on(self, day: date) -> int:
        """The version for sale on a day."""
        return 2 if self.renewed_on is not None and day >= self.renewed_on else 1

    def listed_since(self, day: date) -> date:
        """Since when the version for sale on a day has been so."""
        return self.renewed_on if self.renewed_on is not None and day >= self.renewed_on else self.listed_on

    def delisted_on(self, version: int) -> date | None:
        """When a version is taken off: as the next one comes, or as its owner leaves before its listing runs out."""
        if version == 1 and self.renewed_on:
            return self.renewed_on
        left = self.owner.withdrawn_on
        return None if left is None or (self.expires_on and self.expires_on < left) else left


@dataclass(slots=True)
class Sale:
    """A trade to be."""

    amount: int
    day: date
    outcome: str = "contracted"
    mode: str = "negotiated"
    quantity: int = 1
    filed: bool = False
    late: bool = False
    related: bool = False
    product: Product | None = None
    buyer: Company | None = None
    companions: list["Sale"] = field(default_factory=list)


def history(seed: int = 2020) -> History:
    """Make the files. Pure: the same seed gives the same bytes."""
    dice = Dice(seed)
    companies = _companies(dice)
    sales = _sales(dice)
    products = _products(dice, companies, sales)
    _parties(dice, companies, products, sales)
    _withdraw(dice, companies, products)
    return History(
        members=_csv("members", _member_rows(companies)),
        products=_csv("products", _product_rows(products, companies)),
        trades=_csv("trades", _trade_rows(sales, dice)),
    )


def write(folder: Path, seed: int = 2020) -> None:
    """Write the files into a folder."""
    made = history(seed)
    for name in ("members", "products", "trades"):
        (folder / f"{name}.csv").write_bytes(getattr(made, name))


# Companies


def _companies(dice: Dice) -> list[Company]:
    joined = {year: ACTIVE[year] - ACTIVE.get(year - 1, 0) + WITHDRAWN[year] for year in ACTIVE}
    count = sum(joined.values())
    primary = dealt(count, PRIMARY_ROLES, dice)
    second = dealt(count, {True: int(SECOND_ROLE * 100), False: int(100 - SECOND_ROLE * 100)}, dice)
    days = [FIRST_DAY] * FOUNDERS
    for year, number in joined.items():
        free = number - FOUNDERS if year == FIRST_DAY.year else number
        days += sorted(date(year, 1, 2) + timedelta(days=dice.below(360)) for _ in range(free))
    all_roles = [[role] for role in primary]
    for roles, more in zip(all_roles, second, strict=True):
        if more:
            roles.append(dice.pick([role for role in PRIMARY_ROLES if role not in roles]))
    regions = {buys: _regions(dice) for buys in (True, False)}
    companies = []
    for number, (day, roles) in enumerate(zip(days, all_roles, strict=True)):
        trades = primary[number] != "service_org" and dice.chance(
            (1 - NEVER_TRADING) / (1 - PRIMARY_ROLES["service_org"] / 100)
        )
        region = next(regions["consumer" in roles])
        companies.append(Company(number + 1, roles, region, day, trades or number < FOUNDERS // 2))
    _pair(companies)
    return companies


def _regions(dice: Dice) -> Iterator[str]:
    while True:
        for codes in dealt(REGION_CHUNK, REGIONS, dice):
            yield dice.pick(codes)


def _withdraw(dice: Dice, companies: list[Company], products: list[Product]) -> None:
    """Let some go, nearly half of them after trades of which all is over; an owner that left renews nothing."""
    for year, number in WITHDRAWN.items():
        there = [one for one in dice.shuffled(companies) if one.withdrawn_on is None and one.admitted_on.year < year]
        idle = [one for one in there if one.last_trade_on is None]
        done = [one for one in there if one.last_trade_on and one.last_trade_on + QUIET < date(year, 12, 1)]
        traders = done[: number // 2]
        for company in traders + idle[: number - len(traders)]:
            over = company.last_trade_on + QUIET if company.last_trade_on else FIRST_DAY
            company.withdrawn_on = max(over, date(year, 2, 1) + timedelta(days=dice.below(300)))
    for product in products:
        left = product.owner.withdrawn_on
        if left and product.renewed_on and product.renewed_on >= left:
            product.renewed_on = None


def _pair(companies: list[Company]) -> None:
    """Put a seller and a buyer each into a group of their own, under a parent that is no member; founders first."""
    sellers = [one for one in companies if one.trades and one.roles[0] == "provider"][:RELATED_PAIRS]
    buyers = [one for one in companies if one.trades and one.roles[0] == "consumer"][:RELATED_PAIRS]
    for number, (seller, buyer) in enumerate(zip(sellers, buyers, strict=True)):
        seller.group = buyer.group = made_uscc("430104", 9_000 + number)


# Sales: how many, when, for how much


def _sales(dice: Dice) -> list[Sale]:
    counted = TRADES - sum(OUTCOMES.values())
    by_year = shares(counted, VOLUME_FEN)
    amounts: dict[int, list[int]] = {year: [] for year in by_year}
    for amount in quantiles(counted):
        # The next largest amount goes to the year that is furthest behind, so that all have the same shape.
        year = min(by_year, key=lambda one: (2 * len(amounts[one]) + 1) / by_year[one])
        amounts[year].append(amount)
    listed_by_year = shares(LISTED, by_year)
    sales: list[Sale] = []
    for year, values in amounts.items():
        sales += _year(dice, year, values, listed_by_year[year])
    for outcome, number in OUTCOMES.items():
        lost = dice.shuffled(quantiles(sum(OUTCOMES.values())))[:number]
        years = dealt(number, VOLUME_FEN, dice)
        sales += [Sale(amount, _day(dice, year), outcome) for amount, year in zip(lost, years, strict=True)]
    plain = [sale for sale in sales if sale.mode == "negotiated"]
    _mark(dice, plain)
    return sorted(sales, key=lambda sale: sale.day)


def _year(dice: Dice, year: int, values: list[int], listed: int) -> list[Sale]:
    """Make a year's counted sales and scale them to its volume. Neighbours in size share a listing, priced in whole yuan."""
    step = len(values) / listed
    places = {int(n * step + step / 2) for n in range(listed)}
    chosen = [value for n, value in enumerate(values) if n in places]
    groups = [chosen[n : n + SALES_PER_LISTING] for n in range(0, len(chosen), SALES_PER_LISTING)]
    free = [value for n, value in enumerate(values) if n not in places]
    target, whole = VOLUME_FEN[year], sum(values)
    priced = []
    for group in groups:
        quantity = dice.pick(QUANTITIES)
        yuan = max(1, sum(group) * target // (whole * len(group) * quantity * 100))
        priced.append((100 * yuan, quantity, len(group)))
    rest = target - sum(price * quantity * number for price, quantity, number in priced)
    amounts = [value * rest // sum(free) for value in free]
    for n in range(rest - sum(amounts)):  # fewer than there are amounts, the largest first
        amounts[n] += 1
    days = [_day(dice, year, month) for month in dealt(len(values), dict(enumerate(MONTHS, 1)), dice)]
    sales = [Sale(amount, days.pop()) for amount in amounts]
    for price, quantity, number in priced:
        sold = [Sale(price * quantity, days.pop(), mode="listed", quantity=quantity) for _ in range(number)]
        for sale in sold:
            sale.companions = sold
        sales += sold
    return sales


def _day(dice: Dice, year: int, month: int | None = None) -> date:
    month = month or dealt(sum(MONTHS), dict(enumerate(MONTHS, 1)), dice)[0]
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, 1) + timedelta(days=dice.below((following - date(year, month, 1)).days))


def _mark(dice: Dice, plain: list[Sale]) -> None:
    """Say which negotiated sales were auctioned, filed, late and between related parties. Filings are larger."""
    mixed = dice.shuffled(plain)
    for sale in [sale for sale in mixed if sale.outcome == "contracted"][:AUCTION]:
        sale.mode = "auction"
    middle = sorted(sale.amount for sale in plain)[len(plain) // 2]
    open_to = [sale for sale in mixed if sale.mode == "negotiated"]
    large = [sale for sale in open_to if sale.amount >= middle]
    small = [sale for sale in open_to if sale.amount < middle]
    filed = large[: FILED * 2 // 3] + small[: FILED - FILED * 2 // 3]
    for sale in filed:
        sale.filed = True
    for sale in dice.shuffled(sale for sale in filed if sale.outcome == "contracted")[:LATE]:
        sale.late = True
    for sale in dice.shuffled(sale for sale in open_to if sale.day >= FIRST_DAY + timedelta(days=30))[:RELATED]:
        sale.related = True


# Products: a negotiable one or two for each seller, and a fixed price for each group of listed sales


def _products(dice: Dice, companies: list[Company], sales: list[Sale]) -> list[Product]:
    sellers = [one for one in companies if one.trades and "provider" in one.roles]
    groups = {id(sale.companions): sale.companions for sale in sales if sale.companions}
    count = len(sellers) + len(sellers) // 3 + len(groups)
    kinds, sectors = dealt(count, KIND_SHARES, dice), dealt(count, SECTORS, dice)
    products: list[Product] = []

    def add(owner: Company, model: str, price: int | None, listed_on: date) -> Product:
        product = Product(
            owner, len(products) + 1, kinds.pop(), sectors.pop(), model, price, dice.pick(VAT_RATES_BP), listed_on
        )
        products.append(product)
        return product

    for owner in [*sellers, *sellers[: len(sellers) // 3]]:
        founder = owner.admitted_on == FIRST_DAY
        listed_on = owner.admitted_on + timedelta(days=0 if founder else dice.below(20))
        listed_on = max(owner.admitted_on, min(listed_on, date(2023, 12, 20)))
        model = dice.pick(("negotiable", "negotiable", "negotiable", "per_call", "subscription"))
        product = add(owner, model, None if model == "negotiable" else 100 * (1 + dice.below(5_000)), listed_on)
        if listed_on < date(2022, 6, 1) and dice.chance(0.12):
            product.renewed_on = listed_on + timedelta(days=200 + dice.below(300))
    admissions = [seller.admitted_on for seller in sellers]
    for group in groups.values():
        first = min(sale.day for sale in group)
        owner = sellers[dice.zipf(bisect_right(admissions, first))]
        listed_on = max(owner.admitted_on, date(first.year, 1, 1), first - timedelta(days=dice.below(60)))
        product = add(owner, "fixed", group[0].amount // group[0].quantity, listed_on)
        product.sold_in = first.year
        for sale in group:
            sale.product = product
    return products


# Parties


def _parties(dice: Dice, companies: list[Company], products: list[Product], sales: list[Sale]) -> None:
    """Find a product and a buyer for each sale: all who were there on its day, the old hands most."""
    offered = sorted(
        (one for one in products if one.price_model != "fixed"), key=lambda one: (one.listed_on, one.number)
    )
    listing_days = [product.listed_on for product in offered]
    buyers = [one for one in companies if one.trades and "consumer" in one.roles]
    admissions = [buyer.admitted_on for buyer in buyers]
    pairs = _related_offers(offered, buyers)
    for sale in sales:
        if sale.related:
            sale.product, sale.buyer = dice.pick([pair for pair in pairs if pair[0].listed_on <= sale.day])
        else:
            there = offered[: bisect_right(listing_days, sale.day)]
            sale.product = sale.product or _fresh_first(dice, there, [product.owner for product in there])
            around = [
                one for one in buyers[: bisect_right(admissions, sale.day)] if not _related(one, sale.product.owner)
            ]
            sale.buyer = _fresh_first(dice, around, around)
        sale.buyer.last_trade_on = sale.product.owner.last_trade_on = sale.day


def _related_offers(offered: list[Product], buyers: list[Company]) -> list[tuple[Product, Company]]:
    by_group = {buyer.group: buyer for buyer in buyers if buyer.group}
    founders = [(one, by_group[one.owner.group]) for one in offered if one.owner.group in by_group]
    return [
        (product, buyer) for product, buyer in founders if buyer.admitted_on <= FIRST_DAY and buyer is not product.owner
    ]


def _related(one: Company, other: Company) -> bool:
    return one is other or (bool(one.group) and one.group == other.group)


def _fresh_first(dice: Dice, choices: list[T], companies: list[Company]) -> T:
    """Pick by activity; now and then somebody who has not traded yet."""
    fresh = [n for n, company in enumerate(companies) if company.last_trade_on is None]
    return choices[dice.pick(fresh)] if fresh and dice.chance(0.25) else choices[dice.zipf(len(choices))]


# Rows


def _name(number: int) -> str:
    """Give each company two syllables of its own, and a third for every round through them."""
    size = len(SYLLABLES)
    first, second = SYLLABLES[number % size], SYLLABLES[(number * 7 + number // size) % size]
    return first + second + (SYLLABLES[(number * 11) % size] if number >= size else "")


def _member_rows(companies: list[Company]) -> Iterable[list[object]]:
    for company in sorted(companies, key=lambda one: (one.admitted_on, one.number)):
        short = f"{_name(company.number)}{company.number:03}"
        place = OUTSIDE.get(company.region, "湖南")
        applied_on = max(FIRST_DAY, company.admitted_on - timedelta(days=12))
        yield [
            company.uscc,
            f"{place}{short}数据科技有限公司",
            short,
            f"示例{company.number:03}",
            f"{place}示例大道{company.number}号",
            company.region,
            "I6510" if "service_org" in company.roles else "I6550",
            ";".join(company.roles),
            f"office{company.number:03}@example.com",
            company.group,
            sha256("licence", company.number),
            applied_on,
            company.admitted_on,
            company.withdrawn_on,
        ]


def _product_rows(products: list[Product], companies: list[Company]) -> Iterable[list[object]]:
    rows = []
    for product in products:
        rows.append((product.listed_on, product.number, 1, product))
        if product.renewed_on:
            rows.append((product.renewed_on, product.number, 2, product))
    for listed_on, number, version, product in sorted(rows, key=lambda row: row[:3]):
        important = number % 40 == 7  # noqa: PLR2004 - one in forty
        assessor = _assessor(companies, product, listed_on) if important else None
        name = SECTOR_NAMES[product.sector] + KIND_NAMES[product.kind]
        personal = number % 6 == 0
        yield [
            product.owner.uscc,
            product.code,
            product.kind,
            version,
            f"{name}{number:04}",
            f"面向{SECTOR_NAMES[product.sector]}领域的{KIND_NAMES[product.kind]}，第{version}版。",
            product.sector,
            f"{SECTOR_NAMES[product.sector]}分析与决策",
            ("first_party", "public", "licensed", "derived")[number % 4],
            "yes" if personal else "no",
            "anonymised" if personal else "",
            "important" if assessor else "general",
            "湖南省",
            1_000 * (1 + number * 37 % 900),
            ("realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "once")[number % 7],
            "api" if product.kind == "api" else "download;sandbox",
            sha256("sample", number, version),
            "hold;use" if number % 3 else "use:2030-12-31;operate",
            f"SZCQ-{number:05}" if number % 5 == 0 else "",
            assessor.uscc if assessor else "",
            sha256("assessment", number, version) if assessor else "",
            product.price_model,
            product.price,
            product.vat_rate_bp,
            "members" if number % 8 == 0 else "public",
            listed_on,
            product.expires_on,
            product.delisted_on(version),
        ]


def _assessor(companies: list[Company], product: Product, day: date) -> Company | None:
    """Find a service organisation of another group that was there on a day."""
    fit = [
        one
        for one in companies
        if "service_org" in one.roles
        and one.admitted_on <= day
        and not _related(one, product.owner)
        and (one.withdrawn_on is None or one.withdrawn_on > day)
    ]
    return fit[product.number % len(fit)] if fit else None


def _trade_rows(sales: list[Sale], dice: Dice) -> Iterable[list[object]]:
    rows = [_trade_row(number, sale, dice) for number, sale in enumerate(sales, 1)]
    proposed = HEADS["trades"].split(",").index("proposed_on")
    return sorted(rows, key=lambda row: str(row[proposed]))


def _trade_row(number: int, sale: Sale, dice: Dice) -> list[object]:
    assert sale.product is not None
    assert sale.buyer is not None
    product, cancelled = sale.product, sale.outcome == "cancelled"
    rate = product.vat_rate_bp
    net = (2 * sale.amount * 10_000 + 10_000 + rate) // (2 * (10_000 + rate))
    before = sale.day - timedelta(days=0 if cancelled else dice.below(15))
    since = (product.listed_since(sale.day), product.owner.admitted_on, sale.buyer.admitted_on)
    proposed_on = max(before, *since)
    ended_on = (
        None
        if sale.outcome == "contracted"
        else min(sale.day + timedelta(days=3 + dice.below(40)), date(sale.day.year, 12, 31))
    )
    received_on = sale.day + timedelta(days=31 + dice.below(58)) if sale.late else None
    reasons = {"cancelled": "双方协商取消", "terminated": "双方协商终止", "reversed": "登记有误"}
    return [
        product.owner.uscc,
        sale.buyer.uscc,
        f"HT-{sale.day.year}-{number:05}",
        sha256("contract", number),
        product.code,
        product.version_on(sale.day),
        sale.mode,
        "off_exchange_filed" if sale.filed else "on_exchange",
        f"{SECTOR_NAMES[product.sector]}业务分析",
        sale.quantity,
        net,
        sale.amount - net,
        sale.amount,
        proposed_on,
        None if cancelled else sale.day,
        received_on,
        sale.outcome,
        ended_on,
        reasons.get(sale.outcome, ""),
        "",
        (0, 7, 15, 30)[number % 4],
        f"PO-{number:06}" if number % 2 else "",
        f"SO-{number:06}" if number % 3 else "",
        sha256("filing", number) if sale.filed else "",
    ]


def _csv(kind: str, rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADS[kind].split(","))
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().encode()
