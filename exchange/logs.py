"""How the server logs: one line per event on stderr, as JSON or for a terminal; everything that uses `logging` passes through here.

Nothing secret or personal is written, whatever failed: a problem says its words, a database its code and message without the row, and any other error
only its type, for its text may quote what it was given. Where it happened is always said.
"""

import logging
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from typing import Final

import asyncpg
import orjson
import structlog
from sqlalchemy.exc import DBAPIError
from structlog.typing import EventDict, Processor, WrappedLogger

from exchange.problems import Problem
from exchange.settings import LogFormat, LogLevel

FIELDS: Final = (
    *("request_id", "operation", "method", "path", "id", "status", "problem", "duration_ms", "key_id", "role"),
    *("version", "database", "commands"),
    *("worker", "pid", "code", "pause_s"),
)
"""What a line may carry beside its event: `logging`'s `extra` by these names, and nothing else."""

OWN: Final = "exchange"
DATA_EXCEPTION: Final = "22"
"""The class of PostgreSQL's SQLSTATEs for values that it does not take."""


def configure(level: LogLevel, form: LogFormat | None) -> None:
    """Log from now on to stderr; other libraries' lines only from warnings on. Without a form, a terminal is written to as one.

    What is logged with each request goes to structlog at once, which takes a fraction of the time that `logging` takes; both write the same.
    """
    renderer: Processor
    if (form or ("console" if sys.stderr.isatty() else "json")) == "json":
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.ExtraAdder(allow=FIELDS),
                structlog.stdlib.add_logger_name,
                *common,
                _tell_exception,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    chosen = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(chosen, logging.WARNING))
    logging.getLogger(OWN).setLevel(chosen)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(chosen),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def fast(name: str) -> structlog.typing.FilteringBoundLogger | None:
    """Give a logger that bears a line for each request; None where nobody configured a log."""
    if not structlog.is_configured():
        return None
    made: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(logger=name)
    return made


def _json(event: EventDict, **_: object) -> str:
    return orjson.dumps(event).decode()


def _tell_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    found = event.pop("exc_info", None)
    if found and found[1] is not None:
        event["exception"] = "\n".join(lines_of(found[1]))
    return event


def lines_of(error: BaseException) -> Iterator[str]:
    """Tell how it came to an error, the first cause first: what it was, and where."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from lines_of(before)
    words = words_of(error)
    yield f"{type(error).__module__}.{type(error).__qualname__}" + (f": {words}" if words else "")
    for frame, number in traceback.walk_tb(error.__traceback__):
        yield f"  {frame.f_code.co_filename}:{number} {frame.f_code.co_name}"


def words_of(error: BaseException | None) -> str:
    """Give an error's words where it is known that they quote no value; else nothing."""
    if isinstance(error, DBAPIError):
        # What asyncpg says stands behind the adapter's own error.
        return words_of(error.orig) or words_of(getattr(error.orig, "__cause__", None))
    if isinstance(error, asyncpg.PostgresError):
        # Its text goes on with DETAIL, which quotes the row; what is wrong with a value is said with the value.
        said = f"{error.args[0]} " if error.args and not str(error.sqlstate).startswith(DATA_EXCEPTION) else ""
        return f"{said}(SQLSTATE {error.sqlstate})"
    if isinstance(error, OSError):
        return error.strerror or ""
    return " ".join(str(error).split()) if isinstance(error, (Problem, sqlite3.Error)) else ""
