"""The journal's queue: nothing is lost, each caller is served in its order, and one that sends much keeps nobody else waiting."""

import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.journal.queue import BATCH_LIMIT, CALLER_LIMIT, RETRY_LIMIT_S, SMALL, Overloaded, Queue

LARGEST = 1_200
Item = tuple[str, int, int]
"""Caller, number, size."""

callers = st.sampled_from("abcdefgh")
sizes = st.one_of(st.just(1), st.integers(1, 5), st.integers(1, LARGEST))
arrivals = st.tuples(callers, sizes, st.integers(1, 400))
"""So many jobs of a size of one caller."""
steps = st.lists(st.one_of(arrivals, st.none()), max_size=40)
"""What arrives, and where a batch is taken."""


def filled(*crowd: tuple[str, int, int], limit: int = 10_000) -> Queue[Item]:
    queue: Queue[Item] = Queue(limit)
    for caller, size, times in crowd:
        for number in range(times):
            queue.put(caller, size, (caller, number, size))
    return queue


def commands(batch: list[Item]) -> Counter[str]:
    """Count what each caller has in a batch."""
    counted: Counter[str] = Counter()
    for caller, _, size in batch:
        counted[caller] += size
    return counted


@given(steps=steps)
def test_nothing_is_lost_or_overtakes_another_of_its_caller_and_the_queue_is_bounded(
    steps: list[tuple[str, int, int] | None],
) -> None:
    queue: Queue[Item] = Queue(2_000)
    waiting: defaultdict[str, list[Item]] = defaultdict(list)
    number = 0

    def take() -> None:
        batch = queue.take()
        assert bool(batch) == any(waiting.values())
        assert len(batch) == 1 or sum(size for _, _, size in batch) <= BATCH_LIMIT
        for item in batch:
            assert waiting[item[0]].pop(0) == item

    for step in steps:
        if step is None:
            take()
            continue
        caller, size, times = step
        for _ in range(times):
            number += 1
            lone = not queue.waiting
            try:
                queue.put(caller, size, (caller, number, size))
            except Overloaded:
                assert queue.waiting + size > queue.bound
            else:
                waiting[caller].append((caller, number, size))
                assert lone or queue.waiting <= 2 * queue.bound
        assert queue.waiting == sum(size for items in waiting.values() for _, _, size in items)
    while queue.waiting:
        take()
    assert not any(waiting.values())
    assert queue.take() == []


@given(crowd=st.lists(arrivals, min_size=2, max_size=12))
def test_while_others_wait_nobody_is_served_more_than_its_turn_ahead_of_them(crowd: list[tuple[str, int, int]]) -> None:
    queue = filled(*crowd, limit=10**9)
    here = sorted({caller for caller, _, _ in crowd})
    served: Counter[str] = Counter()

    while len(left := queue._lines) == len(here) > 1:
        batch = commands(queue.take())
        served += batch
        if len(left) == len(here):
            # A turn beyond what anybody else had, and what it had saved for a job as large as the largest.
            assert max(served.values()) - min(served[caller] for caller in here) <= CALLER_LIMIT + LARGEST


@given(crowd=st.lists(st.tuples(callers, st.just(1), st.integers(1, 800)), min_size=2, max_size=12))
def test_of_single_commands_a_batch_holds_of_each_caller_its_share(crowd: list[tuple[str, int, int]]) -> None:
    queue = filled(*crowd, limit=10**9)
    lone, last = BATCH_LIMIT, 0
    while waiting := queue.waiting:
        before = {caller: line.waiting for caller, line in queue._lines.items()}
        alone = len(before) == 1
        shares = Counter({caller: min(lone if alone else CALLER_LIMIT, held) for caller, held in before.items()})

        batch = commands(queue.take())

        assert batch <= shares
        assert batch.total() == min(shares.total(), max(SMALL, math.ceil((waiting + last) / 2)))
        last = batch.total()
        lone = min(BATCH_LIMIT, 2 * lone) if alone else CALLER_LIMIT


@given(callers=st.integers(1, 300), begun=st.integers(1, 300))
def test_of_those_who_come_again_when_they_are_answered_each_batch_holds_half(callers: int, begun: int) -> None:
    queue = filled(*((f"member {n}", 1, 1) for n in range(min(callers, begun))))
    served: list[list[Item]] = [queue.take()]
    for n in range(min(callers, begun), callers):
        queue.put(f"member {n}", 1, (f"member {n}", 0, 1))
    for _ in range(2 * -(-callers // SMALL)):
        served.append(queue.take())
        for caller, number, size in served[-2]:
            queue.put(caller, size, (caller, number + 1, size))

    half = callers // 2
    assert {len(batch) for batch in served[-4:]} <= ({half, callers - half} if half >= SMALL else {*range(callers + 1)})
    rounds = [number for batch in served[-2:] for _, number, _ in batch]
    assert max(rounds) - min(rounds) <= 1


def test_few_are_not_divided() -> None:
    queue = filled(("a", 1, SMALL + 1))

    assert [len(queue.take()) for _ in range(3)] == [SMALL, 1, 0]


def test_after_others_have_been_there_who_waits_alone_comes_back_to_whole_batches_step_by_step() -> None:
    queue = filled(("flood", 1, 6_000), ("another", 1, 1))

    sizes = [len(queue.take()) for _ in range(7)]
    queue.put("another", 1, ("another", 1, 1))
    sizes += [len(queue.take()) for _ in range(2)]

    assert sizes == [51, 50, 100, 200, 400, 800, 1_000, 51, 50]


def test_a_batch_holds_something_of_everybody_however_much_one_has_sent() -> None:
    queue = filled(("flood", 1, 5_000), *((f"member {n}", 1, 3) for n in range(20)))

    assert commands(queue.take()) == {"flood": BATCH_LIMIT // 21} | {f"member {n}": 3 for n in range(20)}


def test_of_more_callers_than_a_batch_holds_each_gets_one_turn_before_any_gets_another() -> None:
    queue = filled(*((f"member {n}", 1, 2) for n in range(1_500)))

    first, second, third = queue.take(), queue.take(), queue.take()

    assert (len(first), len(second), len(third)) == (BATCH_LIMIT, BATCH_LIMIT, BATCH_LIMIT)
    assert set(commands([*first, *second[:500]]).values()) == {1}
    assert set(commands([*first, *second, *third]).values()) == {2}


def test_who_waits_alone_gets_the_whole_batch_and_a_job_of_more_goes_alone() -> None:
    queue = filled(("a", 1, 10), ("a", 1_500, 1), ("a", 1, 1_200))

    assert [len(queue.take()) for _ in range(4)] == [10, 1, 1_000, 200]


def test_a_large_job_waits_for_as_many_turns_as_it_is_large_and_then_goes_as_a_whole() -> None:
    queue = filled(("large", 950, 1), ("small", 1, 2_000))

    batches = [commands(queue.take()) for _ in range(19)]

    assert batches[:18] == [{"small": CALLER_LIMIT}] * 18
    assert batches[18] == {"large": 950, "small": 50}


def test_what_does_not_fit_any_more_comes_first_in_the_next_batch() -> None:
    queue = filled(("a", 600, 1), ("b", 600, 1), ("c", 1, 1_000))
    for _ in range(11):
        assert commands(queue.take()) == {"c": CALLER_LIMIT}

    assert commands(queue.take()) == {"a": 600}
    assert commands(queue.take()) == {"b": 600, "c": CALLER_LIMIT}


# Who is taken


def test_one_that_has_filled_the_queue_is_refused_and_others_are_still_taken() -> None:
    queue = filled(("flood", 1, 100), limit=100)

    with pytest.raises(Overloaded, match="100 commands wait already"):
        queue.require_room("flood")
    for number in range(20):
        queue.put("another", 1, ("another", number, 1))


def test_beyond_the_bound_each_is_taken_up_to_its_share_of_it() -> None:
    queue = filled(("flood", 1, 100), ("second", 1, 50), limit=100)

    with pytest.raises(Overloaded):
        queue.require_room("second")
    queue.require_room("third", 33)
    with pytest.raises(Overloaded):
        queue.require_room("third", 34)


def test_what_there_is_room_for_is_taken_and_not_one_more() -> None:
    for crowd in ([], [("a", 1, 30)], [("b", 1, 60)], [("b", 1, 90), ("a", 1, 20)], [("b", 1, 100), ("c", 1, 30)]):
        queue = filled(*crowd, limit=100)
        room = queue.room("a")

        queue.put("a", room, ("a", 0, room))
        with pytest.raises(Overloaded):
            queue.put("a", 1, ("a", 1, 1))


def test_of_twice_the_bound_nobody_is_taken() -> None:
    queue = filled(("flood", 1, 10), *((f"{n}", 1, 1) for n in range(9)), limit=10)
    before = queue.full
    queue.put("last", 1, ("last", 0, 1))

    assert (before, queue.full) == (False, True)
    with pytest.raises(Overloaded):
        queue.require_room("newcomer")


# How many may wait


def test_as_many_may_wait_as_are_served_in_half_a_second_but_always_one_batch_and_never_more_than_the_limit() -> None:
    queue: Queue[Item] = Queue(5_000)
    bounds = []
    for seconds in (0.25, 0.05, 50, 0):
        for _ in range(100):
            queue.served(1_000, seconds)
        bounds.append(queue.bound)

    assert bounds == [2_000, 5_000, BATCH_LIMIT, 5_000]


def test_a_slow_batch_counts_at_once_and_is_forgotten_with_time() -> None:
    queue: Queue[Item] = Queue(10_000)
    for _ in range(50):
        queue.served(100, 0.02)
    queue.served(100, 0.2)
    slow = queue.bound
    for _ in range(50):
        queue.served(100, 0.02)

    assert slow < 1_500
    assert queue.bound > 2_450


def test_who_is_refused_learns_when_what_waits_will_have_been_served() -> None:
    queue = filled(("a", 1, 1_000), limit=1_000)
    told = [queue.overloaded().retry_after_s]
    for seconds in (0.1, 4, 1_000):
        for _ in range(200):
            queue.served(1_000, seconds)
        told.append(queue.overloaded().retry_after_s)

    assert told == [1, 1, 4, RETRY_LIMIT_S]
