"""Exports: what goes out comes in again elsewhere, with the same figures on every day."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from commandline import CommandLine
from conftest import migrated
from exchanges import Exchange, Offer, Party, a_price, a_uscc, number_of, offer_fields, terms_of, version_fields
from openpyxl import load_workbook

from exchange.access.callers import SECRET_LENGTH, secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.identifiers import ListingId, VersionId
from exchange.listings.commands import (
    ApproveListing,
    DelistListing,
    DescribeVersion,
    DraftListing,
    RegisterProduct,
    ResumeListing,
    SubmitListing,
    SuspendListing,
)
from exchange.listings.states import OFFERED, ListingState
from exchange.listings.tables import DataGrade, DataProduct, Listing, ProductKind, ProductVersion
from exchange.members.commands import ChangeMember, ReinstateMember, SuspendMember
from exchange.members.states import ADMITTED, MemberState
from exchange.members.tables import Member
from exchange.trades.commands import (
    ApproveReversal,
    ApproveTermination,
    ProposeReversal,
    ProposeTermination,
    RecordAuction,
)
from exchange.trades.states import IMPORTABLE, TradeState
from exchange.trades.tables import Trade
from exchange.volume.commands import CloseMonth

KIND_NAMES = ("members", "products", "trades")
REASON = "as it should be"
START = datetime(2023, 3, 1, 1, tzinfo=UTC)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str) -> CommandLine:
    """The command line on a fresh exchange, on each database in turn."""
    return CommandLine(monkeypatch, capsys, database_url)


@pytest.fixture
def sqlite_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    """The command line on a fresh SQLite file."""
    return CommandLine(monkeypatch, capsys, sqlite_url)


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """A second, empty exchange of the same sort."""
    if database_url.startswith("sqlite"):
        yield migrated(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    else:
        running: Cluster = request.getfixturevalue("postgres")
        name = f"{database_url.rpartition('/')[2]}_elsewhere"
        running.create_database(name, "exchange_template")
        yield running.url(name)
        running.drop_database(name)


def export_all(line: CommandLine, folder: Path, ending: str = ".csv") -> dict[str, Path]:
    folder.mkdir()
    files = {kind: folder / f"{kind}{ending}" for kind in KIND_NAMES}
    for kind, path in files.items():
        personal = ["--personal-data", "moving house"] if kind == "members" else []
        line.done("export", kind, path, *personal)
    return files


def relisted(exchange: Exchange, offer: Offer, price: int, version_id: VersionId | None = None) -> Offer:
    """List a version of the same product at another price."""
    drafted = exchange.do(DraftListing(version_id or offer.version_id, offer_fields(price)), offer.owner.by)
    listing_id = ListingId(number_of(drafted["id"]))
    exchange.do(SubmitListing(listing_id, REASON), offer.owner.by)
    exchange.do(ApproveListing(listing_id, REASON), exchange.operator())
    return Offer(listing_id, offer.product_id, version_id or offer.version_id, offer.owner, a_price(price))


def live(exchange: Exchange) -> None:
    """Let an exchange live through everything that can be told elsewhere, and some of what cannot."""
    operator = exchange.operator()
    buyer, seller, group = exchange.a_member(), exchange.a_member(), exchange.a_member(group_parent_uscc=a_uscc(900))
    for state in MemberState:
        exchange.a_member(state)
    offer = exchange.a_listing(seller)
    exchange.a_taken_listing(buyer, offer, 3)
    exchange.a_taken_listing(group, offer)
    exchange.wait(days=20)
    exchange.do(ChangeMember(buyer.id, REASON, legal_name="新名; 2020-01有限公司", short_name="新名"), operator)
    exchange.do(ChangeMember(buyer.id, REASON, region_code="440305"), operator)
    exchange.do(ChangeMember(group.id, REASON, leaves_group=True), operator)
    exchange.do(ChangeMember(seller.id, REASON, group_parent_uscc=a_uscc(900)), operator)
    exchange.a_trade(buyer=buyer, offer=offer)
    exchange.wait(days=5)
    exchange.do(ChangeMember(group.id, REASON, group_parent_uscc=a_uscc(900)), operator)
    exchange.a_trade(buyer=group, offer=offer)
    exchange.do(SuspendMember(buyer.id, REASON), operator)
    exchange.wait(days=3)
    exchange.do(ReinstateMember(buyer.id, REASON), operator)
    _offer_much(exchange, buyer, seller, offer)
    _trade_much(exchange, buyer, seller)


def _offer_much(exchange: Exchange, buyer: Party, seller: Party, offer: Offer) -> None:
    """Make listings of all sorts; sell one version at two prices, then a new version, which takes its place."""
    operator = exchange.operator()
    exchange.a_version(seller)
    exchange.do(RegisterProduct("BARE", ProductKind.API), seller.by)
    for state in ListingState:
        exchange.a_listing(seller, state, expires_on=exchange.today + timedelta(days=60))
    exchange.do(SuspendListing(offer.id, REASON), operator)
    exchange.wait(days=1)
    exchange.do(ResumeListing(offer.id, REASON), operator)
    exchange.wait(days=1)
    exchange.do(DelistListing(offer.id, REASON), seller.by)
    exchange.wait(days=1)
    dearer = relisted(exchange, offer, 212_000)
    exchange.a_taken_listing(buyer, dearer)
    exchange.wait(days=1)
    version = exchange.do(DescribeVersion(offer.product_id, version_fields(title="第二版")), seller.by)
    exchange.a_taken_listing(buyer, relisted(exchange, dearer, 318_000, VersionId(number_of(version["id"]))))


def _trade_much(exchange: Exchange, buyer: Party, seller: Party) -> None:
    """Make trades of all outcomes; reverse one when the month in which it counted is closed."""
    operator, today = exchange.operator(), exchange.today
    offer = exchange.a_listing(seller, version={"grade": DataGrade.IMPORTANT}, price=None)
    for state in TradeState:
        exchange.a_trade(state, buyer, offer)
    for state in (TradeState.CONTRACTED, TradeState.CANCELLED):
        exchange.a_trade(state, buyer, offer, effective_on=today)
    agreed = exchange.a_trade(buyer=buyer, offer=offer)
    exchange.do(ProposeTermination(agreed.id, "agreed"), buyer.by)
    exchange.do(ApproveTermination(agreed.id), seller.by)
    twice = terms_of("again")
    exchange.a_trade(TradeState.CANCELLED, buyer, offer, twice)
    exchange.a_trade(TradeState.CONTRACTED, buyer, offer, twice)
    late = exchange.a_trade(buyer=buyer, offer=offer)
    exchange.wait(days=40)
    auctioned = terms_of("A-1", acceptance_window_days=7, delivery_terms="接口")
    exchange.do(RecordAuction(offer.id, buyer.id, auctioned, today), operator)
    exchange.do(CloseMonth(date(2023, 3, 1)), operator)
    exchange.do(CloseMonth(date(2023, 4, 1)), operator)
    exchange.do(ProposeReversal(late.id, "it never was"), operator)
    exchange.do(ApproveReversal(late.id), exchange.second_operator())
    waiting = exchange.a_trade(buyer=buyer, offer=offer)
    exchange.do(ProposeReversal(waiting.id, "it waits"), operator)


def business(exchange: Exchange) -> dict[str, list[dict[str, Any]]]:
    """Give what the rows say, with what they point at by name, and without what only the journal knows."""
    own = {"id", "changed_at", "open_trades", "expulsion_id", "termination_id", "reversal_id", "proposer", "late"}
    companies = {row.id: row.uscc for row in exchange.records(Member)}
    products = {row.id: (companies[row.owner_id], row.code) for row in exchange.records(DataProduct)}
    versions = {row.id: (products[row.product_id], row.number) for row in exchange.records(ProductVersion)}
    names = {
        "owner_id": companies,
        "buyer_id": companies,
        "seller_id": companies,
        "product_id": products,
        "version_id": versions,
    }
    told: dict[type[Any], Callable[[Any], bool]] = {
        Member: lambda row: row.state in ADMITTED,
        ProductVersion: lambda _: True,
        Listing: lambda row: row.state in OFFERED,
        Trade: lambda row: row.state in IMPORTABLE,
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for model, is_told in told.items():
        rows[model.__name__] = [
            {
                name: names[name][getattr(row, name)] if name in names else getattr(row, name)
                for name in row.__slots__
                if name not in own | {"listing_id"}
            }
            for row in exchange.records(model)
            if is_told(row)
        ]
    for member in rows["Member"]:
        if member["state"] is MemberState.EXPELLED:
            member["state"] = MemberState.SUSPENDED
    for trade in rows["Trade"]:
        if trade["state"] is TradeState.CANCELLED:
            del trade["effective_on"]
    return rows


def figures(exchange: Exchange) -> list[dict[str, Any]]:
    """Give the headline as of each day, without where the journal stands."""
    days = (START.date() + timedelta(days=n) for n in range(100))
    shapes = [exchange.summary(day).shape() for day in days]
    return [
        {name: value for name, value in shape.items() if name not in {"position", "recorded_at"}} for shape in shapes
    ]


def a_life(url: str) -> str:
    """Let the exchange at a URL live; give an operator's key."""
    secret = written_secret(bytes(SECRET_LENGTH))
    digest = secret_hash(secret)
    assert digest
    with Exchange.at(url, now=START) as exchange:
        live(exchange)
        exchange.do(CreateKey(Role.OPERATOR, "Sun", digest), exchange.operator())
    return secret


@pytest.mark.parametrize("ending", [".csv", ".ndjson", ".xlsx"])
def test_what_goes_out_comes_in_elsewhere_with_the_same_figures_on_every_day(
    line: CommandLine, tmp_path: Path, database_url: str, elsewhere: str, ending: str
) -> None:
    line.act_as(a_life(database_url))
    files = export_all(line, tmp_path / "first", ending)
    line.use(elsewhere)
    line.act_as(None)
    line.a_key()
    second = line.a_key("王五")
    for kind, path in files.items():
        assert ", 0 there already, 0 refused." in line.done("import", kind, path)
    line.act_as(second)
    assert "2 reversals approved, 0 refused." in line.done("reversals", "approve", "--all")
    again = export_all(line, tmp_path / "second", ending)
    with Exchange.at(database_url) as first, Exchange.at(elsewhere) as other:
        assert business(other) == business(first)
        before, after = figures(first), figures(other)

    # The expelled one is no member any more there, and suspended here: neither is active.
    assert after == before
    assert any(int(shape["cumulative_volume"]["contracted"]["related_parties"]["amount"]) for shape in before)
    assert "invariants hold" in line.done("verify")
    for kind, path in files.items():
        if ending == ".xlsx":
            assert sheet_of(again[kind]) == sheet_of(path)
        else:
            assert again[kind].read_bytes() == path.read_bytes()


def sheet_of(path: Path) -> list[tuple[object, ...]]:
    book = load_workbook(path)
    [sheet] = book.worksheets
    return list(sheet.iter_rows(values_only=True))


def test_what_a_file_cannot_say_is_told(line: CommandLine, tmp_path: Path, database_url: str) -> None:
    line.act_as(a_life(database_url))
    told = {}
    for kind in KIND_NAMES:
        said = line("export", kind, tmp_path / f"{kind}.csv")
        assert (said.code, said.out) == (0, "")
        told[kind] = [row.strip() for row in said.err.splitlines() if "Not in" in row]

    assert told == {
        "members": [
            *(
                f"Not in the file: 1 memberships that are {state}."
                for state in ("correction_requested", "rejected", "submitted", "under_review")
            ),
            "Not in the file: 1 expelled members are written as suspended: expel them again.",
        ],
        "products": [
            *(f"Not in the file: 1 listings that are {state}." for state in ("draft", "in_review", "rejected")),
            "Not in the file: 1 products without any version.",
        ],
        "trades": [
            *(f"Not in the file: 1 trades that are {state}." for state in ("filed", "rejected")),
            "Not in the file: 1 proposals to reverse or terminate, which wait for agreement.",
        ],
    }
