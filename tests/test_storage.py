"""Rows that change with every batch change in place on PostgreSQL: no index is touched, and what is dead is swept early."""

import asyncio
from typing import Any

import asyncpg
import pytest
from exchanges import Exchange

CHANGED = {"account", "head", "monthly_rollup", "party_counter", "rollup"}
BATCHES = 60


async def _asked(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    found: list[Any] = await connection.fetch(query)
    await connection.close()
    return found


@pytest.mark.postgres
def test_what_changes_with_every_batch_is_changed_in_place(postgres_url: str) -> None:
    with Exchange.at(postgres_url) as exchange:
        sale = exchange.a_taken_listing()
        for _ in range(BATCHES):
            exchange.a_taken_listing(sale.buyer, sale.offer)

    # Connections tell what they did when they end.
    rows = asyncio.run(_asked(postgres_url, "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"))

    changes = {name: (changed, in_place) for name, changed, in_place in rows if name in CHANGED}
    assert {name for name, (changed, _) in changes.items() if changed >= BATCHES} == CHANGED
    elsewhere = {name: changed - in_place for name, (changed, in_place) in changes.items()}
    assert {name: number for name, number in elsewhere.items() if number > BATCHES // 20} == {}


@pytest.mark.postgres
def test_what_changes_with_every_batch_is_swept_early(postgres_url: str) -> None:
    rows = asyncio.run(
        _asked(
            postgres_url, "SELECT relname FROM pg_class WHERE 'autovacuum_vacuum_scale_factor=0.02' = ANY (reloptions)"
        )
    )

    assert {row[0] for row in rows} == CHANGED
