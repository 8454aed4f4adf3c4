"""What the service counts and measures, for Prometheus.

Labels come from closed lists, never from input: operations, methods, statuses, types of problems.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response

from exchange import __version__
from exchange.journal.batch import Outcome
from exchange.journal.commands import Answer, Job
from exchange.problems import Problem

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMMANDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

log = logging.getLogger(__name__)

# When each series began would double them all, and Prometheus sees a restart by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One application's figures, in a registry of its own. It watches the journal."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.registry = all_of = CollectorRegistry()
        ProcessCollector(registry=all_of)
        Info("exchange_build", "The version that runs", registry=all_of).info({"version": __version__})
        by_route = ["operation", "method"]
        self._requests = Counter("exchange_requests", "Requests answered", [*by_route, "status"], registry=all_of)
        self._durations = Histogram(
            "exchange_request_seconds",
            "From a request's head to its answer's end",
            by_route,
            buckets=SECONDS,
            registry=all_of,
        )
        self.in_flight = Gauge("exchange_requests_in_flight", "Requests that wait for their answer", registry=all_of)
        self._problems = Counter(
            "exchange_problems", "Requests answered with a problem, by its type", ["problem"], registry=all_of
        )
        self._queue = Gauge("exchange_journal_queue_commands", "Commands that wait for the journal", registry=all_of)
        self._sizes = Histogram(
            "exchange_journal_batch_commands", "Commands in a batch", buckets=COMMANDS, registry=all_of
        )
        self._commits = Histogram(
            "exchange_journal_commit_seconds",
            "Loading, deciding, writing and committing a batch",
            buckets=SECONDS,
            registry=all_of,
        )
        self._commands = Counter(
            "exchange_journal_commands", "Commands that the journal decided, by outcome", ["outcome"], registry=all_of
        )
        self._refusals = Counter(
            "exchange_journal_refusals", "Commands that the journal refused, by type", ["problem"], registry=all_of
        )
        self._lost = Counter(
            "exchange_journal_connections_lost", "How often the journal had to connect anew", registry=all_of
        )
        self._head = Gauge(
            "exchange_journal_head_position", "The last position that this process wrote or read", registry=all_of
        )

        self.of_all: Callable[[], Awaitable[bytes]] | None = None
        """Writes the figures of all processes that serve together; None where this one serves alone."""
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """Those that have begun: to find them by their labels takes longer than to count."""

    # Requests

    def request_done(self, operation: str, method: str, status: int, seconds: float, problem: str | None) -> None:
        """Take note of a request."""
        counted = self._series.get((operation, method, status))
        if counted is None:
            counted = self._requests.labels(operation, method, status), self._durations.labels(operation, method)
            self._series[operation, method, status] = counted
        counted[0].inc()
        counted[1].observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    # The journal

    def queue_is(self, waiting: Callable[[], int]) -> None:
        """Learn how to ask for the length of the queue."""
        self._queue.set_function(waiting)

    def head_is(self, position: int) -> None:
        """Take note of where the journal stands."""
        self._head.set(position)

    def batch_done(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Take note of a batch."""
        size = sum(len(job.commands) for job in jobs)
        log.debug("batch", extra={"commands": size, "duration_ms": round(seconds * 1_000, 3)})
        self._sizes.observe(size)
        self._commits.observe(seconds)
        position = 0
        for job, outcome in zip(jobs, outcomes, strict=True):
            count = len(job.commands)
            if isinstance(outcome, Answer):
                self._commands.labels("replayed" if outcome.replayed else "accepted").inc(count)
                position = max(position, outcome.position)
            elif isinstance(outcome, Problem):
                self._commands.labels("refused").inc(count)
                self._refusals.labels(outcome.type_name()).inc(count)
            else:
                self._commands.labels("failed").inc(count)
        if position:
            self.head_is(position)

    def connection_lost(self) -> None:
        """Take note that the journal's connection was lost."""
        self._lost.inc()


def metrics(request: Request) -> Metrics:
    """Give the figures of the application that was asked."""
    found: Metrics = request.app.state.metrics
    return found


async def show(request: Request) -> Response:
    """Write all figures as Prometheus reads them."""
    own = metrics(request)
    text = generate_latest(own.registry) if own.of_all is None else await own.of_all()
    return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
