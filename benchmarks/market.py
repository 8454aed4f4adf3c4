"""The databases that are measured: members made by the commands that everybody has, the reference beside them, and the check at the end."""

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from cluster import Cluster
from exchanges import Exchange
from sqlalchemy import text
from sqlmodel import Session

from benchmarks import HERE
from benchmarks.load import Measured
from benchmarks.processes import Failed
from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.clock import now
from exchange.database import Database
from exchange.identifiers import Prefix, written_id
from exchange.journal.invariants import Finding
from exchange.regulator.integrity import check
from exchange.revisions import upgrade

T = TypeVar("T")

MEMBERS: Final = 400
"""Half of them buy, half of them sell."""
SECRET_LENGTH: Final = 32


@dataclass(slots=True)
class Market:
    """A database, the orders that can be sent to it, and what it was told to have accepted."""

    url: str
    spread: Path
    """Orders of all buyers for all listings, as `take.lua` reads them."""
    hot: Path
    """Orders of one buyer for one listing."""
    members: list[tuple[int, int, int | None, int | None]] = field(default_factory=list)
    """Number, member id, and a buyer's key or a seller's listing: what the reference picks from."""
    accepted: int = 0
    """So many trades were answered with 201."""
    unanswered: int = 0
    """So many more may be there at most: the client left without waiting for their answers."""

    def took(self, measured: Measured, in_flight: int = 0) -> Measured:
        """Note what was accepted, and how many requests may have been in flight at the end."""
        self.accepted += measured.trades
        self.unanswered += in_flight
        return measured


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def prepare(url: str) -> None:
    """Make the schema."""

    async def run() -> None:
        database = Database(url)
        await upgrade(database)
        await database.close()

    wait_for(run())


def seed(url: str, folder: Path, name: str) -> Market:
    """Fill a migrated database: 200 buyers with a key each, 200 sellers with a listing each; their orders are written to the folder."""
    keys, listings = [], []
    market = Market(url, folder / f"{name}-spread", folder / f"{name}-hot")
    with Exchange.at(url, now=now()) as exchange:
        operator = exchange.operator()
        for number in range(1, MEMBERS + 1):
            party = exchange.a_member()
            if number > MEMBERS // 2:
                listing = exchange.a_listing(party)
                listings.append(f"listing {written_id(Prefix.LISTING, listing.id)}")
                market.members.append((number, party.id, None, listing.id))
                continue
            secret = written_secret(secrets.token_bytes(SECRET_LENGTH))
            made = exchange.do(CreateKey(Role.MEMBER, "Zhang", secret_hash(secret) or "", party.uscc), operator)
            keys.append(f"key {secret}")
            market.members.append((number, party.id, int(made["id"].partition("_")[2]), None))
    market.spread.write_text("\n".join([*keys, *listings]) + "\n", encoding="utf-8")
    market.hot.write_text(f"{keys[0]}\n{listings[0]}\n", encoding="utf-8")
    return market


def make_reference(place: Cluster, name: str, market: Market) -> Market:
    """Copy a seeded database, which nobody may be connected to, and give the copy the function that pgbench runs."""
    place.create_database(name, Database(market.url).dsn.rpartition("/")[2])

    async def run() -> None:
        connection = await asyncpg.connect(place.url(name))
        await connection.execute(
            "CREATE TABLE bench_member (n int PRIMARY KEY, member_id bigint, key_id bigint, listing_id bigint)"
        )
        await connection.copy_records_to_table("bench_member", records=market.members)
        await connection.execute((HERE / "reference.sql").read_text(encoding="utf-8"))
        await connection.execute("ANALYZE")
        await connection.close()

    wait_for(run())
    return Market(place.url(name), market.spread, market.hot)


def verify(market: Market, name: str) -> str:
    """Check every invariant, and that all accepted trades are there, and no others; say so. Raises Failed."""

    def look(session: Session) -> tuple[int, list[Finding]]:
        return session.connection().execute(text("SELECT count(*) FROM trade")).scalar_one(), check(session)

    async def run() -> tuple[int, list[Finding]]:
        database = Database(market.url)
        try:
            # It has grown from next to nothing in a minute: what is planned for that takes for ever now.
            await database.alter(lambda connection: connection.execute(text("ANALYZE")))
            return await database.read(look)
        finally:
            await database.close()

    trades, found = wait_for(run())
    for finding in found:
        if finding.offending:
            raise Failed(f"{name}: invariant {finding.number} does not hold: {finding.offending}")
    if not market.accepted <= trades <= market.accepted + market.unanswered:
        raise Failed(f"{name}: {market.accepted:,} trades were accepted, and {trades:,} are there.")
    return f"{name}: all {len(found)} invariants hold over {trades:,} trades"
