"""The main job from beginning to end: a history imported, reversals approved, months closed, two companies trading live, all verified."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import httpx
import typer
from stdnum.cn import uscc as uscc_standard

from exchange import clock, revisions
from exchange.access.callers import SECRET_LENGTH, secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.cli.progress import progress_bar
from exchange.cli.reading import headline, read_summary, run_verify
from exchange.cli.running import FOUND_WANTING, console, desk, wait
from exchange.demo import history
from exchange.identifiers import Prefix, TradeId, read_id
from exchange.imports.kinds import KINDS
from exchange.imports.running import Report
from exchange.imports.running import run as run_import
from exchange.journal.callers import Caller
from exchange.money import Money, yuan_text
from exchange.problems import Conflict
from exchange.regulator.queries import Summary
from exchange.trades.commands import ApproveReversal
from exchange.trades.queries import open_reversals
from exchange.volume.commands import CloseMonth
from exchange.volume.rules import next_month

KEYS: Final = "keys.txt"
END: Final = date(2023, 12, 31)
MEMBERS: Final = 416
VOLUME_FEN: Final = 89_700_000_000
LIVE_GROSS_FEN: Final = Money(21_200_000)
PEOPLE: Final = {"first": "示例操作员甲", "second": "示例操作员乙"}


class FolderTaken(Conflict):
    """The folder holds files of somebody's own."""

    remedy = "Choose another with --folder."


def check(found: object, due: object, what: str) -> None:
    """Stop where a figure is not what it must be."""
    if found != due:
        console.print(f"{what} is {found}, and must be {due}.", style="bold red")
        raise typer.Exit(FOUND_WANTING)


def run_demo(folder: Path) -> None:
    """Do it all, in a folder of its own that is emptied first."""
    _empty(folder)
    os.environ["EXCHANGE_DATABASE_URL"] = f"sqlite:///{folder / 'exchange.db'}"
    os.environ.pop("EXCHANGE_KEY", None)
    history.write(folder)
    console.print(f"Four years of history are in {folder}/: members.csv, products.csv, trades.csv.")
    keys = wait(_open_office(folder))
    wait(_import(folder, keys))
    before = wait(read_summary(END))
    check(before.members_active, MEMBERS, "The number of active members")
    check(before.contracted.net, VOLUME_FEN, "The cumulative volume")
    console.print("\nThe headline before the live trade:", headline(before))
    with _server() as url:
        console.print(f"The server runs at {url}. Two new companies come:")
        _trade_live(url, keys["first"])
    _compare(before)
    if not wait(run_verify()):
        raise typer.Exit(FOUND_WANTING)
    _say_what_next(folder)


def _empty(folder: Path) -> None:
    """Remove an earlier demonstration's files, known by its keys. Raises FolderTaken where they may be somebody's own."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = folder / KEYS
    ours = [
        folder / name
        for name in ("exchange.db", "exchange.db-wal", "exchange.db-shm", *(f"{kind}.csv" for kind in KINDS))
    ]
    taken = [path for path in ours if path.exists()]
    if taken and not keys.exists():
        raise FolderTaken(f"{taken[0]} is not an earlier demonstration's.")
    for path in (*taken, keys):
        path.unlink(missing_ok=True)
    keys.touch(mode=0o600)


async def _open_office(folder: Path) -> dict[str, str]:
    """Make the database and the keys of two operators."""
    keys = {name: written_secret(secrets.token_bytes(SECRET_LENGTH)) for name in PEOPLE}
    async with desk(current=False) as place:
        await revisions.upgrade(place.database)
        caller = Caller.SYSTEM
        for name, person in PEOPLE.items():
            digest = secret_hash(keys[name])
            assert digest is not None
            await place.do(CreateKey(Role.OPERATOR, person, digest), caller)
            os.environ["EXCHANGE_KEY"] = keys["first"]
            async with desk() as keyed:
                caller = await keyed.caller()
    file = folder / KEYS
    file.write_text("".join(f"{PEOPLE[name]} {key}\n" for name, key in keys.items()), encoding="utf-8")
    console.print(f"Two operators have keys; they are in {file}, for this demonstration only.")
    return keys


async def _import(folder: Path, keys: dict[str, str]) -> None:
    """Import the files as the first operator, approve the reversals as the second, close the months."""
    with progress_bar() as progress:
        os.environ["EXCHANGE_KEY"] = keys["first"]
        async with desk() as place, place.journal() as journal:
            first = await place.caller()
            for kind in KINDS.values():
                path = folder / f"{kind.name}.csv"
                task = progress.add_task(f"import {kind.name}", total=len(path.read_bytes().splitlines()) - 1)

                def tell(report: Report, task: Any = task) -> None:
                    progress.update(task, completed=report.rows)

                report = await run_import(kind, path, journal, first, tell)
                check(report.refused, 0, f"The number of refused {kind.name}")
        os.environ["EXCHANGE_KEY"] = keys["second"]
        async with desk() as place:
            second = await place.caller()
            waiting = await place.database.read(open_reversals)
            for trade in progress.track(waiting, description="approve reversals"):
                number = read_id(Prefix.TRADE, trade.trade)
                assert number is not None
                await place.do(ApproveReversal(TradeId(number), "Agreed, as the contract shows."), second)
            months = list(_months())
            for month in progress.track(months, description="close months"):
                await place.do(CloseMonth(month), second)


def _months() -> Iterator[date]:
    month = history.FIRST_DAY
    while month <= END:
        yield month
        month = next_month(month)


@contextmanager
def _server() -> Iterator[str]:
    """Run the real server on a free port, and stop it."""
    command = [sys.executable, "-m", "exchange", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own program
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            check(found is not None, True, "That the server starts")
            assert found is not None
            yield found[0]
        finally:
            server.terminate()
            server.wait()


@dataclass
class Company:
    """A company that calls the API with its own key."""

    name: str
    number: int
    client: httpx.Client
    calls: int = field(default=0)

    @property
    def uscc(self) -> str:
        """A code that is not in the history."""
        base = f"91430104DEM1{self.number:05}"
        return base + str(uscc_standard.calc_check_digit(base))


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = client.post(path, json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    except httpx.HTTPError as error:
        console.print(f"POST {path} failed: {error}", style="bold red")
        raise typer.Exit(FOUND_WANTING) from None
    if answer.is_error:
        console.print(answer.text, style="bold red")
        raise typer.Exit(FOUND_WANTING)
    told: dict[str, Any] = answer.json()
    return told


def _trade_live(url: str, operator_key: str) -> None:
    """Let two new companies do one whole trade over HTTP."""

    def caller(key: str) -> httpx.Client:
        return httpx.Client(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30)

    with caller(operator_key) as operator:

        def admitted(name: str, number: int) -> httpx.Client:
            company = Company(name, number, operator)
            key = _post(operator, "/keys", {"role": "member", "person": f"{name}经办人", "uscc": company.uscc})[
                "secret"
            ]
            client = caller(key)
            member = _post(client, "/members", _application(company))["id"]
            _post(operator, f"/members/{member}/review", {"reason": "材料齐全"})
            _post(operator, f"/members/{member}/admission", {"reason": "符合入会条件"})
            console.print(f"  {name} applied and is admitted: {member}")
            return client

        with closing(admitted("示例供方", 1)) as seller, closing(admitted("示例需方", 2)) as buyer:
            product = _post(seller, "/products", {"code": "DEMO-1", "kind": "dataset"})["id"]
            version = _post(seller, f"/products/{product}/versions", VERSION)["id"]
            offer = {"version_id": version, "price_model": "fixed", "price": _money(LIVE_GROSS_FEN), "vat_rate_bp": 600}
            listing = _post(seller, "/listings", offer)["id"]
            _post(seller, f"/listings/{listing}/submission", {"reason": "申请挂牌"})
            _post(operator, f"/listings/{listing}/approval", {"reason": "合规"})
            console.print(f"  示例供方 listed a product: {listing}")
            net = LIVE_GROSS_FEN * 100 // 106
            amounts = {"net": _money(net), "vat": _money(LIVE_GROSS_FEN - net), "gross": _money(LIVE_GROSS_FEN)}
            order = {"mode": "listed", "listing_id": listing, "quantity": 1, "purpose": "演示", **amounts}
            trade = _post(buyer, "/trades", order)
            console.print(f"  示例需方 took it: {trade['id']} is {trade['state']}, {yuan_text(LIVE_GROSS_FEN)}")


def _money(amount: int) -> dict[str, str]:
    return {"amount": str(amount), "currency": "CNY"}


def _application(company: Company) -> dict[str, Any]:
    return {
        "uscc": company.uscc,
        "legal_name": f"湖南{company.name}数据有限公司",
        "short_name": company.name,
        "legal_representative": f"{company.name}代表",
        "address": "长沙市岳麓区示例路1号",
        "region_code": "430104",
        "industry_code": "I6510",
        "roles": ["provider", "consumer"],
        "contact": "0731-80000000",
    }


VERSION: Final = {
    "title": "示例信用评分数据集",
    "abstract": "用于演示的示例数据。",
    "sector": "finance",
    "scenarios": "风控建模",
    "source_type": "first_party",
    "personal_information": False,
    "grade": "general",
    "coverage": "湖南省",
    "record_count": 10_000,
    "update_frequency": "monthly",
    "delivery_modes": ["download"],
    "rights": ["hold", "use"],
}


def _compare(before: Summary) -> None:
    """Check that the past did not move, and that the present did."""
    after, today = wait(read_summary(END)), wait(read_summary(clock.business_day(clock.now())))
    console.print("\nThe headline of the same day after it, and that of today:", headline(after), headline(today))
    check(after.members_active, MEMBERS, "The number of active members at the end of 2023")
    check(after.contracted, before.contracted, "The cumulative volume at the end of 2023")
    check(today.members_active, MEMBERS + 2, "The number of active members today")
    check(today.contracted.net, VOLUME_FEN + LIVE_GROSS_FEN, "The cumulative volume today")


def _say_what_next(folder: Path) -> None:
    console.print("\nWhat to try next", style="bold")
    url = os.environ["EXCHANGE_DATABASE_URL"]
    for line in (
        "make serve                                  # the API, with docs at http://127.0.0.1:8000/docs",
        f"export EXCHANGE_DATABASE_URL={url}",
        ".venv/bin/exchange summary --as-of 2023-12-31 --json",
        ".venv/bin/exchange summary --as-of 2021-06-30",
        ".venv/bin/exchange verify",
        f"EXCHANGE_KEY=$(awk 'NR==1{{print $2}}' {folder}/keys.txt) .venv/bin/exchange import trades {folder}/trades.csv   # adds nothing",
    ):
        console.print(f"  {line}", highlight=False)
