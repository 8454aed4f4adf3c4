"""Whether the reference does the same work as the journal: one trade of each, row by row and column by column, on the same indexes and triggers."""

from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from benchmarks.load import take_one
from benchmarks.market import Market, wait_for
from benchmarks.processes import Failed

BYTES_TOLERANCE: Final = 0.03
"""What is written may differ in length by as much: the lengths of ids and keys differ."""

TABLES: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'bench%' ORDER BY relname
"""
STRUCTURE: Final = """
    SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'bench%'
    UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relname NOT LIKE 'bench%'
      AND NOT t.tgisinternal
    UNION ALL SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
      WHERE c.relname NOT LIKE 'bench%'
    UNION ALL SELECT 'options ' || relname || ' ' || reloptions::text FROM pg_class WHERE reloptions IS NOT NULL
      AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction wrote into a table: how many rows, new or changed, which columns of each hold a value, and their bytes."""

    rows: int
    columns: list[list[str]]
    bytes: int


async def _written(connection: "asyncpg.Connection[Any]", after: int) -> dict[str, Written]:
    """Give what the transactions after one wrote, by table."""
    found = {}
    for (table,) in await connection.fetch(TABLES):
        rows = await connection.fetch(
            f"SELECT ARRAY(SELECT key FROM jsonb_each_text(to_jsonb(t)) WHERE value IS NOT NULL ORDER BY key) AS columns, "
            f'octet_length(to_jsonb(t)::text) AS bytes FROM "{table}" t WHERE t.xmin::text::bigint > $1',
            after,
        )
        if rows:
            found[table] = Written(len(rows), sorted(row["columns"] for row in rows), sum(row["bytes"] for row in rows))
    return found


async def _begin(url: str) -> tuple["asyncpg.Connection[Any]", int]:
    connection = await asyncpg.connect(url)
    return connection, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")


async def _end(connection: "asyncpg.Connection[Any]", after: int) -> tuple[dict[str, Written], set[str]]:
    found = await _written(connection, after), {row[0] for row in await connection.fetch(STRUCTURE)}
    await connection.close()
    return found


async def _by_reference(url: str) -> tuple[dict[str, Written], set[str]]:
    connection, after = await _begin(url)
    await connection.fetchval("SELECT post_trades(1)")
    return await _end(connection, after)


async def _over_http(market: Market, address: str) -> tuple[dict[str, Written], set[str]]:
    connection, after = await _begin(market.url)
    market.took(take_one(address, market.spread))
    return await _end(connection, after)


def compare(market: Market, address: str, reference: Market) -> str:
    """Compare what one trade over HTTP writes with what one of the reference's does; say so. Raises Failed where they differ."""
    ours, our_structure = wait_for(_over_http(market, address))
    theirs, their_structure = wait_for(_by_reference(reference.url))
    reference.accepted += 1
    if different := our_structure ^ their_structure:
        raise Failed(f"The reference has other indexes, triggers or constraints: {sorted(different)}")
    if set(ours) != set(theirs):
        raise Failed(f"The reference writes other tables: {sorted(set(ours) ^ set(theirs))}")
    for table, written in ours.items():
        other = theirs[table]
        if (written.rows, written.columns) != (other.rows, other.columns):
            raise Failed(f"The reference writes other rows into {table}: {other} instead of {written}")
        if abs(written.bytes - other.bytes) > BYTES_TOLERANCE * written.bytes + 16 * written.rows:
            raise Failed(f"The reference writes {other.bytes} bytes into {table} instead of {written.bytes}")
    rows = ", ".join(f"{written.rows} {table}" for table, written in sorted(ours.items()))
    return f"The reference writes what one trade over HTTP writes ({rows}), on the same {len(our_structure)} indexes, triggers, constraints"
