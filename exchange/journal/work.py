"""The unit of work: the rows of one batch in memory. Found, inserted, changed, added to; what a refused job did is taken back."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from exchange.clock import business_day, instant_text
from exchange.columns import Stored
from exchange.identifiers import MemberId
from exchange.journal.asks import Add, Ask, Change, Insert
from exchange.journal.callers import Caller
from exchange.journal.events import NewEvent
from exchange.journal.schema import Columns, Index, Record, Schema, schema_of
from exchange.journal.tables import Head
from exchange.problems import PreconditionFailed, unseen

M = TypeVar("M", bound=Stored)
P = ParamSpec("P")


class Need(NamedTuple):
    """A key that a command asks for: of a table, by a unique or list key, its value (a tuple where the key has several columns)."""

    model: type[Stored]
    value: Any
    by: Columns | None = None


DRAWN_AT_ONCE: Final = 1_024
KEPT_LIMIT: Final = 50_000
"""So many keys are kept from batch to batch at most; beyond, all are loaded anew."""

Needs = Iterator[list[Need]]
"""What a command must have at hand, in rounds: each round may look at what the ones before it brought."""


class NotLoaded(Exception):  # noqa: N818 - a signal to load one round more
    """A decision asked for a key that was not loaded: a neighbour in the batch made it relevant, or `needs` is incomplete."""


class UnitOfWork:
    """The rows of one batch in memory, for the job that is being decided by `caller`."""

    def __init__(self, head: Head, now: datetime, chance: Callable[[int], bytes]) -> None:
        """Start at a head, at an instant, with a source of random bytes."""
        self.head = head
        self.now = now
        self.recorded_at = instant_text(now)
        self.today = business_day(now)
        self._draw = chance
        self._drawn = BytesIO()
        self.caller: Caller = Caller.SYSTEM
        self.event: NewEvent | None = None
        self.expected: frozenset[int] | None = None
        self.found: defaultdict[Index, dict[Any, Any]] = defaultdict(dict)
        self.inserted: defaultdict[Schema, dict[int, Any]] = defaultdict(dict)
        self.changed: defaultdict[Schema, dict[int, Any]] = defaultdict(dict)
        self._touched: defaultdict[Schema, set[str]] = defaultdict(set)
        self._sums: defaultdict[Schema, dict[tuple[Any, ...], tuple[int, ...]]] = defaultdict(dict)
        self._undo: list[tuple[Any, ...]] = []

    @property
    def position(self) -> int:
        """The position of the command that is being decided."""
        return self.head.position

    def chance(self, length: int) -> bytes:
        """Give so many random bytes. They are drawn many at once: each draw is a call of the system, at which other threads take their turn."""
        given = self._drawn.read(length)
        if len(given) < length:
            self._drawn = BytesIO(self._draw(DRAWN_AT_ONCE))
            given = self._drawn.read(length)
        return given

    # What commands ask

    def find(self, model: type[M], value: object, by: Columns | None = None) -> M | None:
        """Give the row with this key, or None where there is none."""
        try:
            row: M | None = self.found[schema_of(model).indexes[by]][value]
        except KeyError:
            raise NotLoaded(model.__name__, by) from None
        return row

    def get(self, model: type[M], value: object, by: Columns | None = None) -> M:
        """Give the row with this key; NotFound where there is none."""
        row = self.find(model, value, by)
        if row is None:
            raise unseen()
        return row

    def all(self, model: type[M], value: object, by: Columns) -> list[M]:
        """Give all rows with this list key, in the order of their primary keys."""
        try:
            rows: list[M] = self.found[schema_of(model).indexes[by]][value]
        except KeyError:
            raise NotLoaded(model.__name__, by) from None
        return rows.copy()

    def insert(self, model: Callable[P, M], *args: P.args, **values: P.kwargs) -> M:
        """Add a row; every column is given by name, and checked by mypy as if the model were called."""
        assert not args
        schema = schema_of(model)
        row: M = schema.row(**values)
        for index in schema.uniques:
            known, key = self.found[index], index.value(row)
            assert known.get(key) is None, f"{schema.name} has this {index.columns} already"
            known[key] = row
        for index in schema.lists:
            listed = self.found[index].get(index.value(row))
            if listed is not None:
                listed.append(row)
        self.inserted[schema][id(row)] = row
        self._undo.append((_uninsert, schema, row))
        return row

    def change(self, row: Stored, **values: object) -> None:
        """Give a row new values; columns of its keys never change."""
        schema: Schema = row.schema  # type: ignore[assignment]  # rows of the journal carry it
        assert schema.fixed.isdisjoint(values), "keys do not change"
        identity, changed = id(row), self.changed[schema]
        inserted = identity in self.inserted[schema]
        held = inserted or identity in changed
        self._undo.append((_unchange, schema, row, {name: getattr(row, name) for name in values}, held))
        for name, value in values.items():
            setattr(row, name, value)
        if not inserted:
            changed[identity] = row
            self._touched[schema].update(values)

    def add(self, model: type[Stored], key: tuple[Any, ...], *deltas: int) -> None:
        """Add to a row that need not be loaded, nor exist: one upsert with summed deltas per batch."""
        assert not model.kept, "what is kept in memory would not notice"
        sums = self._sums[schema_of(model)]
        held = sums.get(key)
        sums[key] = deltas if held is None else tuple(map(int.__add__, held, deltas))
        self._undo.append((_unadd, sums, key, held))

    def expect(self, positions: frozenset[int] | None) -> None:
        """Take note of what the caller expects: that the subject of its command was changed last at one of these positions."""
        self.expected = positions

    def met(self, changed_at: int) -> None:
        """Go on only where the subject is as the caller expects: each command that changes something asks once it may be seen.

        Raises PreconditionFailed.
        """
        if self.expected is not None and changed_at not in self.expected:
            raise PreconditionFailed(f"It was changed at position {changed_at}.")
        self.expected = None

    def tell(self, kind: str, *parties: MemberId, acting: MemberId | None = None, **facts: Any) -> None:
        """Say what happened: exactly once per command. The rows it inserted and changed are told by themselves.

        `parties` are the members whose events this is one of; `acting` is the member that did it, null where staff did.
        """
        assert self.event is None, "a command tells one event"
        self.event = NewEvent(kind, tuple(dict.fromkeys(parties)), acting, facts)

    # What the batch asks

    def has(self, need: Need) -> bool:
        """Tell whether this key has been asked of the store already."""
        return need.value in self.found[schema_of(need.model).indexes[need.by]]

    def put(self, schema: Schema, by: Columns, values: list[Any], records: list[Record]) -> None:
        """Take what the store found for these values of a key. What the batch itself has made or changed stays as it is."""
        index = schema.indexes[by]
        found, known = self.found[index], self.found[schema.primary]
        many, value = index.many, index.value
        for asked in values:
            found[asked] = [] if many else found.get(asked)
        for record in records:
            row = schema.row(*record)
            identity = schema.identity(row)
            row = known[identity] = known.get(identity) or row
            if many:
                found[value(row)].append(row)
            else:
                found[value(row)] = row
        if many:
            for row in self.inserted[schema].values():
                if value(row) in values:
                    found[value(row)].append(row)
            for asked in values:
                found[asked].sort(key=schema.identity)

    def mark(self) -> int:
        """Give the present place in the record of what was done."""
        return len(self._undo)

    def told_since(self, mark: int) -> list[tuple[str, dict[str, object]]]:
        """Tell the rows inserted and changed since then, as events hold them: (table, values); null columns of new rows are left out."""
        new: dict[int, tuple[Schema, Any]] = {}
        changed: dict[int, tuple[Schema, Any, set[str]]] = {}
        for step, subject, row, *rest in self._undo[mark:]:
            if step is _unadd or not subject.told:
                continue
            if step is _uninsert:
                new[id(row)] = subject, row
            elif id(row) not in new:
                changed.setdefault(id(row), (subject, row, set()))[2].update(rest[0])
        told = [(schema.name, schema.tell_new(row)) for schema, row in new.values()]
        for schema, row, names in changed.values():
            columns = (*schema.key, *(name for name in schema.told_columns if name in names))
            if len(columns) > len(schema.key):
                told.append((schema.name, schema.tell(row, columns)))
        return told

    def keep(self) -> None:
        """Let what was done since the last time stand."""
        self._undo.clear()

    def take_back(self, mark: int = 0) -> None:
        """Undo what was done since a mark, or since the last `keep`."""
        self.event = None
        while len(self._undo) > mark:
            step, *arguments = self._undo.pop()
            step(self, *arguments)

    def inserts(self) -> list[Ask]:
        """Say what must be inserted so far, in an order in which every reference finds its target; from now on it is what a store found."""
        asks: list[Ask] = [
            Insert(schema, list(rows.values()))
            for schema, rows in sorted(self.inserted.items(), key=_in_table_order)
            if rows
        ]
        self.inserted.clear()
        return asks

    def asks(self) -> list[Ask]:
        """Say what must be written at the end, in an order in which every reference finds its target."""
        asks = self.inserts()
        asks.extend(
            Change(
                schema,
                tuple(sorted(self._touched[schema])),
                sorted(rows.values(), key=schema.identity),
            )
            for schema, rows in sorted(self.changed.items(), key=_in_table_order)
            if rows
        )
        asks.extend(
            Add(schema, dict(sorted(sums.items())))
            for schema, sums in sorted(self._sums.items(), key=_in_table_order)
            if sums
        )
        return asks


class Kept:
    """Rows that a store's last batch left in memory, so that the next one need not load them.

    They are the database's as long as nobody else has moved the head, which each batch looks at under its lock.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._head: tuple[int, datetime] | None = None
        self._found: dict[Index, dict[Any, Any]] = {}

    def hand_to(self, work: UnitOfWork) -> None:
        """Give a batch what the last one left, where its head is the one that the last one left."""
        if self._head == (work.head.position, work.head.recorded_at):
            work.found.update(self._found)

    def take_from(self, work: UnitOfWork) -> None:
        """Keep what a batch found, inserted and changed, of the tables whose rows are asked for again and again."""
        self._head = work.head.position, work.head.recorded_at
        self._found = {index: rows for index, rows in work.found.items() if index.schema.model.kept and not index.many}
        if sum(map(len, self._found.values())) > KEPT_LIMIT:
            self._found = {}

    def forget(self) -> None:
        """Keep nothing."""
        self._head = None
        self._found = {}

    @contextmanager
    def unless_it_fails(self) -> Iterator[None]:
        """Let a batch happen; where it fails, what it left is not the database's."""
        try:
            yield
        except BaseException:
            self.forget()
            raise


# What takes a step back: each is kept with its arguments when the step is done


def _uninsert(work: UnitOfWork, schema: Schema, row: Any) -> None:
    del work.inserted[schema][id(row)]
    for index in schema.uniques:
        # Not None: that nobody else has this key was never asked of the store.
        del work.found[index][index.value(row)]
    for index in schema.lists:
        listed = work.found[index].get(index.value(row))
        if listed is not None:
            listed.remove(row)


def _unchange(work: UnitOfWork, schema: Schema, row: Any, values: dict[str, object], held: bool) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    if not held:
        del work.changed[schema][id(row)]


def _unadd(_: UnitOfWork, sums: dict[Any, Any], key: Any, held: Any) -> None:
    if held is None:
        del sums[key]
    else:
        sums[key] = held


def _in_table_order(item: tuple[Schema, Any]) -> int:
    """Order tables so that those others refer to come first."""
    return _table_order()[item[0].name]


def _table_order() -> dict[str, int]:
    if not _ORDER:
        _ORDER.update({table.name: n for n, table in enumerate(Stored.metadata.sorted_tables)})
    return _ORDER


_ORDER: dict[str, int] = {}
