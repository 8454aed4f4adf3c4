"""No load of the journal and no list reads a table that grows from end to end: each finds its rows by an index."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from exchanges import Exchange, terms_of

from exchange.database import connect_sqlite
from exchange.journal import statements
from exchange.journal.asks import Ask, Load
from exchange.journal.memory import MemoryStore
from exchange.journal.postgres import SESSION
from exchange.journal.schema import Columns, Schema, schema_of
from exchange.journal.work import Kept
from exchange.listings.tables import DataGrade, DataProduct
from exchange.members.commands import ApproveExpulsion, ApproveReadmission, ProposeExpulsion, ProposeReadmission
from exchange.trades.commands import ApproveTermination, ProposeTermination, RecordTrade
from exchange.trades.rules import OldDates
from exchange.trades.states import TradeState
from exchange.trades.tables import TradeMode, Venue

SMALL = {"head", "closing", "office"}
"""Tables of one row."""


def loads() -> set[tuple[Schema, Columns]]:
    """Take every kind of step once, and see by which keys the journal loads rows."""
    seen: set[tuple[Schema, Columns]] = set()
    original = MemoryStore._do

    def note(store: MemoryStore, ask: Ask) -> Any:
        if isinstance(ask, Load):
            seen.add((ask.schema, ask.by))
        return original(store, ask)

    with pytest.MonkeyPatch.context() as patch, Exchange.in_memory() as exchange:
        patch.setattr(MemoryStore, "_do", note)
        patch.setattr(Kept, "hand_to", lambda *_: None)
        exchange.a_taken_listing()
        exchange.a_listing(version={"grade": DataGrade.IMPORTANT})
        for state in (TradeState.REVERSED, TradeState.REJECTED, TradeState.CANCELLED):
            exchange.a_trade(state)
        sale = exchange.a_trade()
        exchange.do(ProposeTermination(sale.id, "as it should be"), sale.buyer.by)
        exchange.do(ApproveTermination(sale.id), sale.seller.by)
        member = exchange.a_member()
        exchange.do(ProposeExpulsion(member.id, "as it should be"), exchange.operator())
        exchange.do(ApproveExpulsion(member.id, "as it should be"), exchange.second_operator())
        exchange.do(ProposeReadmission(member.id, "as it should be"), exchange.operator())
        exchange.do(ApproveReadmission(member.id, "as it should be"), exchange.second_operator())
        exchange.wait(days=40)
        old = exchange.a_trade(effective_on=exchange.today)
        code = next(row.code for row in exchange.records(DataProduct) if row.id == old.offer.product_id)
        record = RecordTrade(
            seller_uscc=old.seller.uscc,
            buyer_uscc=old.buyer.uscc,
            product_code=code,
            product_version=1,
            mode=TradeMode.NEGOTIATED,
            venue=Venue.ON_EXCHANGE,
            terms=terms_of("old"),
            state=TradeState.CONTRACTED,
            days=OldDates(exchange.today, exchange.today, None, None),
        )
        exchange.do(record, exchange.operator())
    return seen


LOADS = sorted(loads(), key=lambda load: (load[0].name, load[1]))


def test_all_tables_that_commands_ask_for_are_among_them() -> None:
    assert len({schema.name for schema, _ in LOADS}) >= 17
    assert (schema_of(DataProduct), ("owner_id", "code")) in LOADS


@pytest.fixture(scope="module")
def sqlite_plans(sqlite_template: Any) -> Iterator[Any]:
    connection = connect_sqlite(sqlite_template)
    yield lambda statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("[]",))]
    connection.close()


@pytest.mark.parametrize(("schema", "by"), LOADS, ids=lambda part: getattr(part, "name", None) or "-".join(part))
def test_sqlite_loads_by_index(sqlite_plans: Any, schema: Schema, by: Columns) -> None:
    plan = sqlite_plans(statements.load_sqlite(schema, by))

    assert any(step.startswith("SEARCH found USING") for step in plan), plan


@pytest.mark.postgres
def test_postgresql_loads_by_index(postgres_url: str) -> None:
    async def plans() -> dict[tuple[str, Columns], str]:
        connection = await asyncpg.connect(postgres_url, server_settings=SESSION)
        # On tables of a few rows reading all is cheapest; what matters is that there is another way, and that it is found.
        await connection.execute("SET enable_seqscan = off")
        found = {}
        for schema, by in LOADS:
            text = re.sub(r"\$\d+::(.+?)\[\]", r"'{}'::\1[]", statements.load(schema, by))
            rows = await connection.fetch(f"EXPLAIN {text}")
            found[schema.name, by] = "\n".join(row[0] for row in rows)
        await connection.close()
        return found

    scanned = {load: plan for load, plan in asyncio.run(plans()).items() if "Seq Scan" in plan}

    assert not [load for load in scanned if load[0] not in SMALL], scanned
