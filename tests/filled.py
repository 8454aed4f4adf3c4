"""A filled database of each revision, kept as rows, so that upgrades are tried on what an older program wrote.

Before a revision is followed by a new one: `PYTHONPATH=. python tests/filled.py > tests/revisions/REVISION.json`.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from exchanges import Exchange
from sqlalchemy import Connection

from exchange.access.tables import Role
from exchange.database import Database
from exchange.listings.states import ListingState
from exchange.listings.tables import DataGrade
from exchange.members.commands import ChangeMember
from exchange.members.states import MemberState
from exchange.revisions import configuration
from exchange.trades.commands import ProposeReversal, ProposeTermination
from exchange.trades.states import TradeState
from exchange.volume.commands import CloseMonth

FOLDER: Final = Path(__file__).parent / "revisions"
WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    bytes: bytes.hex,
    date: date.isoformat,
    # SQLite keeps instants without their zone, which is always UTC.
    datetime: lambda value: value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC).isoformat(),
}
READERS: Final[list[tuple[type[sa.types.TypeEngine[Any]], Callable[[Any], Any]]]] = [
    (sa.LargeBinary, bytes.fromhex),
    (sa.DateTime, datetime.fromisoformat),
    (sa.Date, date.fromisoformat),
    (sa.Boolean, bool),
]


def live(exchange: Exchange) -> None:
    """Let a little of everything happen."""
    for member_state in MemberState:
        exchange.a_member(member_state)
    for listing_state in (ListingState.DRAFT, ListingState.REJECTED, ListingState.SUSPENDED, ListingState.DELISTED):
        exchange.a_listing(state=listing_state)
    exchange.a_listing(version={"grade": DataGrade.IMPORTANT})
    for trade_state in TradeState:
        exchange.a_trade(trade_state)
    exchange.a_taken_listing(quantity=3)
    for role in (Role.AUDITOR, Role.REGULATOR):
        exchange.a_key(role, f"{role} of old")
    offer, buyer, early = exchange.a_listing(), exchange.a_member(), exchange.today
    exchange.wait(days=40)
    exchange.do(CloseMonth(early.replace(day=1)), exchange.operator())
    late = exchange.a_trade(buyer=buyer, offer=offer, effective_on=early)
    exchange.do(ProposeReversal(late.id, "as it should be"), exchange.operator())
    ended = exchange.a_trade()
    exchange.do(ProposeTermination(ended.id, "as it should be"), ended.buyer.by)
    exchange.do(ChangeMember(ended.buyer.id, "as it should be", legal_name="湖南新名有限公司"), exchange.operator())


def written(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Give all rows of all tables, by table in the order of their references."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {
        table.name: [
            {
                name: WRITERS[type(value)](value) if type(value) in WRITERS else value
                for name, value in row.items()
                if value is not None
            }
            for row in connection.execute(table.select().order_by(*table.primary_key)).mappings()
        ]
        for table in metadata.sorted_tables
    }


def fill(connection: Connection, revision: str) -> None:
    """Make an empty database into the filled one of a revision."""
    command.upgrade(configuration(connection), revision)
    rows = json.loads((FOLDER / f"{revision}.json").read_text(encoding="utf-8"))
    metadata = sa.MetaData()
    metadata.reflect(connection)
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    for table in metadata.sorted_tables:
        first = 1 if table.name in {"batch", "event"} else 0
        if table.name in {"alembic_version", "head"}:
            continue
        found = [{name: _read(table.c[name], value) for name, value in row.items()} for row in rows[table.name][first:]]
        for row in found:
            connection.execute(table.insert(), row)
    head = {name: _read(metadata.tables["head"].c[name], value) for name, value in rows["head"][0].items()}
    connection.execute(metadata.tables["head"].update().values(head))
    if postgres:
        connection.exec_driver_sql("SET LOCAL session_replication_role = origin")


def _read(column: sa.Column[Any], value: Any) -> Any:
    for kind, read in READERS:
        if isinstance(column.type, kind):
            return read(value)
    return value


def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exchange.db"
        asyncio.run(_on(path, lambda connection: command.upgrade(configuration(connection), "head")))
        with Exchange.on_sqlite(path) as exchange:
            live(exchange)
        rows = asyncio.run(_on(path, written))
    tables = [
        f"{json.dumps(name)}:[" + ",".join("\n" + json.dumps(row, ensure_ascii=False) for row in found) + "]"
        for name, found in rows.items()
    ]
    sys.stdout.write("{\n" + ",\n".join(tables) + "}\n")


async def _on(path: Path, act: Callable[[Connection], Any]) -> Any:
    database = Database(f"sqlite:///{path}")
    try:
        return await database.alter(act)
    finally:
        await database.close()


if __name__ == "__main__":
    _main()
