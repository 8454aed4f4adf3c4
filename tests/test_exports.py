"""Exports: what goes out comes in again elsewhere, with the same figures on every day."""

import gc
import io
import secrets
import stat
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from cluster import Cluster
from commandline import Cells, CommandLine, member_row, process, product_row, read_rows, trade_row, write_rows
from conftest import migrated
from exchanges import Exchange, Offer, Party, a_price, a_uscc, number_of, offer_fields, terms_of, version_fields
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from sqlalchemy import event
from sqlmodel import Session

from exchange.access.callers import SECRET_LENGTH, secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.cli.running import wait
from exchange.clock import now
from exchange.database import Database, connect_sqlite
from exchange.exports.kinds import EXPORTS, PAGE, WITHHELD
from exchange.exports.writing import TooManyRows, rows_to, safe
from exchange.identifiers import ListingId, VersionId
from exchange.imports.kinds import KINDS
from exchange.imports.running import run
from exchange.imports.sheets import LAST_ROW
from exchange.imports.sources import FileKind
from exchange.journal.callers import Caller
from exchange.journal.journal import Journal
from exchange.journal.sqlite import SqliteStore
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
from exchange.texts import FORMULA_STARTS, is_formula
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
    exchange.do(ApproveReversal(late.id, "as it should be"), exchange.second_operator())
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
    assert "2 reversals approved, 0 refused." in line.done(
        "reversals", "approve", "--all", "--reason", "as it should be"
    )
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


# Who may, and what is personal


def a_market(line: CommandLine, folder: Path) -> None:
    """Record two members, a product of the first, and a trade."""
    rows: dict[str, list[Cells]] = {
        "members": [member_row(1), member_row(2)],
        "products": [product_row(1)],
        "trades": [trade_row(1)],
    }
    for kind, some in rows.items():
        line.done("import", kind, write_rows(folder / f"old-{kind}.csv", kind, some))


def test_who_sees_only_its_own_exports_nothing(line: CommandLine, tmp_path: Path) -> None:
    line.a_key()
    member = line.done("keys", "create", "--role", "member", "--person", "张三", "--member", a_uscc(1)).strip()
    readers = [line.a_key("陈", "auditor"), line.a_key("赵", "regulator")]
    a_market(line, tmp_path)
    line.act_as(member)
    assert "Only who sees every member's affairs" in line.refused(4, "export", "members", tmp_path / "members.csv")
    line.act_as(None)
    assert "EXCHANGE_KEY is not set" in line.refused(4, "export", "members", tmp_path / "members.csv")
    for key in readers:
        line.act_as(key)
        line.done("export", "members", tmp_path / "members.csv", "--force")
        why = ["--personal-data", "curious"]
        assert "does not do this" in line.refused(4, "export", "members", tmp_path / "members.csv", "--force", *why)

    assert {row["contact"] for row in read_rows(tmp_path / "members.csv")} == {WITHHELD}
    assert list(tmp_path.glob("*.part")) == []


def test_personal_data_goes_out_for_a_reason_that_the_log_keeps(
    line: CommandLine, tmp_path: Path, database_url: str
) -> None:
    line.a_key()
    a_market(line, tmp_path)
    assert "reason must not begin with" in line.refused(
        3, "export", "members", tmp_path / "members.csv", "--personal-data", "=1"
    )
    line.done("export", "members", tmp_path / "members.csv", "--personal-data", "迁移")
    with Exchange.at(database_url) as exchange:
        last = exchange.leaves()[-1]
    [row, _] = read_rows(tmp_path / "members.csv")

    assert (row["legal_representative"], row["contact"]) == ("张三", "0731-80000000")
    assert (last["kind"], last["facts"]) == ("personal_data.released", {"reason": "迁移"})
    assert "张三" not in str(last)


def test_what_was_erased_is_withheld(sqlite_line: CommandLine, tmp_path: Path) -> None:
    sqlite_line.a_key()
    a_market(sqlite_line, tmp_path)
    with closing(connect_sqlite(tmp_path / "exchange.db")) as connection:
        connection.execute("UPDATE personal_datum SET value = NULL, salt = NULL WHERE fact = 'contact'")
    sqlite_line.done("export", "members", tmp_path / "members.csv", "--personal-data", "迁移")

    assert {(row["legal_representative"], row["contact"]) for row in read_rows(tmp_path / "members.csv")} == {
        ("张三", WITHHELD)
    }


# Files


def test_stdout_gets_csv_and_nothing_else(line: CommandLine, tmp_path: Path) -> None:
    line.a_key()
    a_market(line, tmp_path)
    line.done("export", "trades", tmp_path / "trades.csv")
    with process("export", "trades", "-", stderr=subprocess.PIPE) as exporting:
        out, err = exporting.communicate(timeout=60)

    assert out == (tmp_path / "trades.csv").read_text(encoding="utf-8")
    assert out.count("\n") == 2
    assert "1 rows are written." in err


def test_files_are_for_their_owner_alone_and_not_written_over_unasked(sqlite_line: CommandLine, tmp_path: Path) -> None:
    sqlite_line.a_key()
    for ending in (".csv", ".ndjson", ".xlsx"):
        path = tmp_path / f"members{ending}"
        sqlite_line.done("export", "members", path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "--force" in sqlite_line.refused(6, "export", "members", path)
    assert "does not end in" in sqlite_line.refused(3, "export", "members", tmp_path / "members.pdf")
    assert list(tmp_path.glob("*.part")) == []


def test_an_export_that_breaks_off_leaves_what_was_there(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_line.a_key()
    a_market(sqlite_line, tmp_path)
    path = tmp_path / "members.csv"
    path.write_text("of an earlier export", encoding="utf-8")

    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("exchange.members.queries.histories_of", break_off)

    said = sqlite_line("export", "members", path, "--force")
    assert said.code == 3
    assert "No space left on device" in said.err
    assert path.read_text(encoding="utf-8") == "of an earlier export"
    assert list(tmp_path.glob("*.part")) == []


def test_a_sheet_is_not_begun_where_it_cannot_hold_all(tmp_path: Path) -> None:
    with pytest.raises(TooManyRows), rows_to(FileKind.XLSX, io.BytesIO(), ["a"], LAST_ROW):
        pass


@given(st.text(min_size=1))
def test_no_text_becomes_a_formula(text: str) -> None:
    assert safe(text)[0] not in FORMULA_STARTS
    assert safe(text) == text or is_formula(text)


def test_a_text_in_a_sheet_is_a_text_whatever_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "any.xlsx"
    texts = ["=1+1", "#N/A", "00012", "TRUE", "2020-01-01", "1e5"]
    with path.open("wb") as file, rows_to(FileKind.XLSX, file, ["a"], len(texts)) as write:
        for text in texts:
            write({"a": text})

    cells = [cell for [cell] in load_workbook(path).worksheets[0].iter_rows(min_row=2)]
    assert [cell.data_type for cell in cells] == ["s"] * len(texts)
    assert [cell.value for cell in cells] == ["'=1+1", *texts[1:]]


# Large exports


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> str:
    """An exchange of many members."""
    folder = tmp_path_factory.mktemp("large")
    path = folder / "exchange.db"
    path.write_bytes(sqlite_template.read_bytes())
    rows = write_rows(folder / "members.csv", "members", (member_row(n) for n in range(1, 3 * PAGE + 1)))

    async def fill() -> None:
        store = SqliteStore(path, now, secrets.token_bytes)
        async with Journal(store, PAGE) as journal:
            await run(KINDS["members"], rows, journal, Caller("test", Role.OPERATOR), lambda _: None)

    wait(fill())
    return f"sqlite:///{path}"


def test_so_many_statements_are_enough_for_a_thousand_rows_however_many_there_are(large: str) -> None:
    seen: list[str] = []

    def statements(rows: int) -> int:
        seen.clear()

        def look(session: Session) -> None:
            event.listen(session.connection(), "before_cursor_execute", lambda *told: seen.append(told[2]))
            assert len(list(islice(EXPORTS["members"].rows(session, True), rows))) == rows

        async def read() -> None:
            database = Database(large)
            await database.read(look)
            await database.close()

        wait(read())
        return len(seen)

    one = statements(PAGE)
    assert one == 4
    assert statements(3 * PAGE) == 3 * one


def test_a_large_export_is_whole(large: str, sqlite_line: CommandLine, tmp_path: Path) -> None:
    sqlite_line.use(large)
    sqlite_line.a_key()
    path = tmp_path / "members.ndjson"
    said = sqlite_line("export", "members", path)

    assert f"{3 * PAGE} rows are written." in said.err
    lines = path.read_bytes().splitlines()
    assert [orjson.loads(row)["uscc"] for row in lines] == [a_uscc(number) for number in range(1, 3 * PAGE + 1)]


@pytest.mark.parametrize("kind", FileKind)
def test_a_large_export_is_never_in_memory_as_a_whole(large: str, tmp_path: Path, kind: FileKind) -> None:
    def peak(rows: int) -> int:
        def write(session: Session) -> None:
            names = list(KINDS["members"].columns.heads)
            with (tmp_path / f"{rows}{kind}").open("wb") as file, rows_to(kind, file, names, rows) as write_row:
                for cells in islice(EXPORTS["members"].rows(session, True), rows):
                    write_row(cells)

        async def read() -> None:
            database = Database(large)
            await database.read(write)
            await database.close()

        gc.collect()
        tracemalloc.start()
        wait(read())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(3 * PAGE) < 2 * peak(PAGE)
