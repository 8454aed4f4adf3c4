"""The store on plain dictionaries: the very same decisions, thousands of histories a second. It is lost with the process."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from exchange.journal.asks import Ask, Change, Insert, Load
from exchange.journal.batch import Outcome, Rehearsal, drive, rehearse, transact
from exchange.journal.commands import Job
from exchange.journal.events import GENESIS_AT, GENESIS_KIND, Chance, genesis_leaf, leaf_hash
from exchange.journal.schema import Index, Record, Schema, schema_of
from exchange.journal.stores import StoreFailed
from exchange.journal.tables import HEAD_ID, Batch, Event, Head
from exchange.journal.work import Kept


class MemoryStore:
    """Runs batches in memory."""

    def __init__(self, now: Callable[[], datetime], chance: Chance) -> None:
        """Take the clock and a source of random bytes; start with the genesis event alone."""
        self._now = now
        self._chance = chance
        self._kept = Kept()
        self.records: defaultdict[Schema, dict[Any, Record]] = defaultdict(dict)
        self._index: defaultdict[Index, defaultdict[Any, dict[Any, None]]] = defaultdict(lambda: defaultdict(dict))
        leaf = genesis_leaf()
        zero = {"contracted_gross": 0, "contracted_reversed": 0, "recorded_at": GENESIS_AT}
        self._put(Head, id=HEAD_ID, position=1, **zero)
        self._put(Batch, first=1, last=1, **zero)
        genesis = {"kind": GENESIS_KIND, "subject": None, "person_id": None}
        self._put(Event, position=1, leaf=leaf.decode(), leaf_sha256=leaf_hash(leaf), **genesis)

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Decide and keep these jobs."""
        return self.run_now(jobs)

    def run_now(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the same without a loop."""
        with self._kept.unless_it_fails():
            return drive(transact(jobs, self._now, self._chance, self._kept), self._do)

    async def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """Decide these jobs and keep nothing."""
        return drive(rehearse(jobs, self._now, self._chance), self._do)

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _put(self, model: Any, **values: object) -> None:
        schema = schema_of(model)
        self._do(Insert(schema, [schema.row(**values)]))

    def _do(self, ask: Ask) -> list[Record]:
        match ask:
            case Load(schema, by, values):
                table, index = self.records[schema], schema.indexes[by]
                if index is schema.primary:
                    return [table[value] for value in values if value in table]
                return [table[key] for value in values for key in self._index[index].get(value, ())]
            case Insert(schema, rows):
                for row in rows:
                    self._insert(schema, row)
            case Change(schema, columns, rows):
                places = [schema.columns.index(name) for name in columns]
                for row in rows:
                    record = list(self.records[schema][schema.identity(row)])
                    for place, value in zip(places, schema.values(columns)(row), strict=True):
                        record[place] = value
                    self._refile(schema, self.records[schema][schema.identity(row)], row)
                    self.records[schema][schema.identity(row)] = tuple(record)
            case _:
                schema, sums = ask
                for key, deltas in sums.items():
                    identity = key if len(key) > 1 else key[0]
                    held = self.records[schema].get(identity)
                    old = held[len(key) :] if held else (0,) * len(deltas)
                    self.records[schema][identity] = key + tuple(map(int.__add__, old, deltas))
        return []

    def _insert(self, schema: Schema, row: Any) -> None:
        identity = schema.identity(row)
        if identity in self.records[schema]:
            raise StoreFailed(f"{schema.name} has this key already")
        for index in (*schema.uniques, *schema.lists):
            if index is not schema.primary:
                keys = self._index[index][index.value(row)]
                # As in a database, what is null is nobody's.
                if keys and not index.many and None not in schema.values(index.columns)(row):
                    raise StoreFailed(f"{schema.name} has this {index.columns} already")
                keys[identity] = None
        self.records[schema][identity] = schema.values(schema.columns)(row)

    def _refile(self, schema: Schema, before: Any, row: Any) -> None:
        """Find a row by what it is now: of its keys, what can be erased may have been."""
        old = schema.row(*before)
        for index in schema.uniques:
            if index is not schema.primary and index.value(old) != index.value(row):
                identity = schema.identity(row)
                del self._index[index][index.value(old)][identity]
                self._index[index][index.value(row)][identity] = None
