"""The batch without input and output: a generator that asks for rows, decides job by job, and says what to write.

A store drives it: it begins a transaction, locks the head, answers each list of loads with one list of records per load, executes the
lists of writes in their order, commits. So the same decisions run on PostgreSQL, on SQLite and on plain dictionaries.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from exchange.clock import instant_text
from exchange.journal.asks import Ask, Load
from exchange.journal.callers import Caller
from exchange.journal.commands import Answer, Command, Job, Result
from exchange.journal.events import NONCE_LENGTH, SALT_LENGTH, Chance, canonical, leaf_hash, leaf_of, party_commitment
from exchange.journal.schema import Record, schema_of
from exchange.journal.tables import HEAD_ID, Batch, Event, Head, Idempotency, PartyCounter, PartyEvent
from exchange.journal.work import Kept, Need, Needs, NotLoaded, UnitOfWork
from exchange.problems import Invalid, Problem, Unavailable

T = TypeVar("T")

Outcome = Answer | Problem | Exception
"""What becomes of a job: accepted, refused, or, by a defect, failed."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of jobs, decided one after the other on a snapshot, and how far the journal had come there."""

    position: int
    outcomes: list[Outcome]


Steps = Generator[list[Ask], list[list[Record]], list[Outcome]]

CLOCK_TOLERANCE: Final = timedelta(seconds=60)
TICK: Final = timedelta(microseconds=1)
AT_ONCE: Final = 50
"""So many commands of a large batch are decided before what they insert is written: a store writes while the next are decided.

So few that what they insert, some 3.5 KB for a trade, fits into a socket's buffer at once: the rest of it would leave when all are decided.
"""
MAX_ROUNDS: Final = 8
"""How often a command may be decided anew because a neighbour changed what it needs."""

log = logging.getLogger(__name__)


class ClockBehind(Unavailable):
    """The clock of this machine stands behind what is recorded already."""

    remedy = "Set the clock (NTP); writes are taken again as soon as it agrees."


class KeyReused(Invalid):
    """This idempotency key was used for another request."""

    remedy = "Send the first request again to see its answer, or choose a new key."


def drive(steps: Generator[list[Ask], list[list[Record]], T], do: Callable[[Ask], list[Record]]) -> T:
    """Drive a batch to its end, where nobody has to be waited for: `do` answers each ask."""
    try:
        asks = next(steps)
        while True:
            asks = steps.send([do(ask) for ask in asks])
    except StopIteration as done:
        outcome: T = done.value
        return outcome


def transact(jobs: Sequence[Job], now: Callable[[], datetime], chance: Chance, kept: Kept) -> Steps:
    """Decide these jobs in order; return one outcome each. What the last batch kept is used, and what this one leaves is kept."""
    first, work, outcomes = yield from _decided(jobs, now, chance, kept, writing=True)
    if work.head.position >= first:
        work.change(work.head, recorded_at=work.now)
        work.insert(
            Batch,
            first=first,
            last=work.head.position,
            recorded_at=work.now,
            contracted_gross=work.head.contracted_gross,
            contracted_reversed=work.head.contracted_reversed,
        )
        yield work.asks()
    kept.take_from(work)
    return outcomes


def rehearse(jobs: Sequence[Job], now: Callable[[], datetime], chance: Chance) -> Generator[list[Ask], Any, Rehearsal]:
    """Decide these jobs in order as if they were to happen, and write nothing."""
    first, _, outcomes = yield from _decided(jobs, now, chance, Kept(), writing=False)
    return Rehearsal(first - 1, outcomes)


def _decided(
    jobs: Sequence[Job], now: Callable[[], datetime], chance: Chance, kept: Kept, *, writing: bool
) -> Generator[list[Ask], list[list[Record]], tuple[int, UnitOfWork, list[Outcome]]]:
    """Decide jobs in order; give the first position that they could take, the work they came to, and one outcome each.

    Where it is `writing`, what many commands insert is written on the way; the rest is in the work.
    """
    head_schema = schema_of(Head)
    [[record]] = yield [Load(head_schema, head_schema.key, [HEAD_ID])]
    work = UnitOfWork(head_schema.row(*record), instant_after(record, now()), chance)
    kept.hand_to(work)
    failures = yield from _gather([(job.caller, _needs(job, work)) for job in jobs], work)
    first = work.head.position + 1
    written = work.head.position
    outcomes = []
    for job, failure in zip(jobs, failures, strict=True):
        outcome = failure or (yield from _decide(job, work))
        outcomes.append(outcome)
        if writing and work.head.position - written >= AT_ONCE:
            yield work.inserts()
            written = work.head.position
    return first, work, outcomes


def instant_after(head: Record, clock: datetime) -> datetime:
    """Give the instant of a batch: the clock, but always after the head's last; ClockBehind where the two differ by too much."""
    last: datetime = head[schema_of(Head).columns.index("recorded_at")]
    if last - clock > CLOCK_TOLERANCE:
        raise ClockBehind(f"The last batch was recorded at {instant_text(last)}, the clock says {instant_text(clock)}.")
    return max(clock, last + TICK)


def _needs(job: Job, work: UnitOfWork) -> Needs:
    """Ask for all that a job needs, its caller and its commands in step: one round of the job is one round of each."""
    live = [job.caller.needs(work), *(command.needs(work) for command in job.commands)]
    yield [
        Need(Idempotency, job.idempotency),
        *(need for needs in live for need in next(needs, ())),
    ]
    while live:
        rounds = [(needs, next(needs, None)) for needs in live]
        live = [needs for needs, asked in rounds if asked is not None]
        yield [need for _, asked in rounds if asked is not None for need in asked]


def _gather(
    asking: Sequence[tuple[Caller, Needs]], work: UnitOfWork
) -> Generator[list[Ask], list[list[Record]], list[Exception | None]]:
    """Run everyone's needs in step: one SELECT per table, key and round, whoever asks. Who fails in them fails alone."""
    failures: list[Exception | None] = [None] * len(asking)
    live = list(enumerate(asking))
    while live:
        wanted: defaultdict[tuple[Any, Any], dict[Any, None]] = defaultdict(dict)
        still = []
        for n, (caller, needs) in live:
            work.caller = caller
            try:
                missing = _next_missing(needs, work)
            except Exception as defect:
                log.exception("A command's needs failed")
                failures[n] = defect
                continue
            if missing:
                still.append((n, (caller, needs)))
                for need in missing:
                    schema = schema_of(need.model)
                    wanted[schema, need.by or schema.key][need.value] = None
        if wanted:
            loads = [Load(schema, by, list(values)) for (schema, by), values in wanted.items()]
            answers = yield list(loads)
            for load, records in zip(loads, answers, strict=True):
                work.put(*load, records)
        live = still
    return failures


def _next_missing(needs: Needs, work: UnitOfWork) -> list[Need]:
    """Go on to the first round that asks for what is not at hand; nothing where there is none."""
    for asked in needs:
        if missing := [need for need in asked if not work.has(need)]:
            return missing
    return []


def _decide(job: Job, work: UnitOfWork) -> Generator[list[Ask], list[list[Record]], Outcome]:
    """Decide one job; what is refused, or fails, is taken back."""
    try:
        outcome: Outcome = yield from _answer(job, work)
    except Problem as problem:
        work.take_back()
        return problem
    except Exception as defect:
        log.exception("A command failed", extra={"request_id": job.request_id})
        work.take_back()
        return defect
    work.keep()
    return outcome


def _answer(job: Job, work: UnitOfWork) -> Generator[list[Ask], list[list[Record]], Answer]:
    """Answer as the first time, or do it now. Raises the problem that refuses it."""
    work.caller = job.caller
    for command in job.commands:
        job.caller.admit(work, command)
    before = work.find(Idempotency, job.idempotency)
    if before is not None:
        if before.request_sha256 != job.request_sha256:
            raise KeyReused("The key was used before, and what was asked then differs from what is asked now.")
        return Answer(before.status, before.answer, before.position, replayed=True)
    results: list[Result] = []
    for index, command in enumerate(job.commands):
        try:
            result = yield from _do(command, job, work)
        except Problem as problem:
            problem.index = index
            raise
        results.append(result)
    body = canonical({"data": results} if job.many else results[0]).decode()
    holder, key = job.idempotency
    work.insert(
        Idempotency,
        holder=holder,
        key=key,
        request_sha256=job.request_sha256,
        status=job.status,
        answer=body,
        position=work.position,
    )
    return Answer(job.status, body, work.position)


def _do(command: Command, job: Job, work: UnitOfWork) -> Generator[list[Ask], list[list[Record]], Result]:
    """Let one command happen. What a neighbour, or a command before it in its job, made necessary is loaded, and it is decided anew."""
    mark = work.mark()
    for _ in range(MAX_ROUNDS):
        work.expect(job.expected)
        try:
            return _happen(command, job, work)
        except NotLoaded:
            work.take_back(mark)
            (failure,) = yield from _gather([(job.caller, command.needs(work))], work)
            if failure is not None:
                raise failure from None
    raise RuntimeError(f"{command!r:.200} asks for what it never needs")


def _happen(command: Command, job: Job, work: UnitOfWork) -> Result:
    """Decide one command: one position, one event."""
    mark = work.mark()
    work.change(work.head, position=work.head.position + 1)
    result: Result = command.decide(work)
    event, work.event = work.event, None
    assert event is not None, f"{command} told nothing"
    assert work.expected is None, f"{command} does not look whether its subject is as expected"
    event = job.caller.told(work, command, event)
    rows = work.told_since(mark)
    commitments = [_counted(work, member_id) for member_id in event.parties]
    leaf = leaf_of(
        event,
        position=work.position,
        recorded_at=work.recorded_at,
        caller=job.caller,
        request_id=job.request_id,
        salt=work.chance(SALT_LENGTH),
        commitments=commitments,
        rows=rows,
    )
    subject = result.get("id")
    work.insert(
        Event,
        position=work.position,
        kind=event.kind,
        subject=None if subject is None else str(subject),
        person_id=job.caller.person_id,
        leaf=leaf.decode(),
        leaf_sha256=leaf_hash(leaf),
    )
    return result | {"position": work.position, "recorded_at": work.recorded_at}


def _counted(work: UnitOfWork, member_id: Any) -> str:
    """Number this event among the member's own, and give the commitment to it."""
    counter = work.get(PartyCounter, member_id)
    work.change(counter, events=counter.events + 1)
    nonce = work.chance(NONCE_LENGTH)
    work.insert(PartyEvent, member_id=member_id, number=counter.events, position=work.position, nonce=nonce)
    return party_commitment(nonce, member_id, counter.events)
