"""The catalogue of everything that can be refused, with its status, exit code and remedy."""

import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Annotated, Final

import orjson
import typer

import exchange
from exchange.cli.running import DEFECT as DEFECT_EXIT
from exchange.cli.running import console, exit_code
from exchange.problems import Problem, problem_types

INTRODUCTION: Final = """\
# What can go wrong

Every refusal is of one of these types. Over HTTP it is `application/problem+json` (RFC 9457): `type` is `/problems/` and the name, an address
that explains it, without a key; `detail` says what was wrong this time, `errors` names each field and its rule. On the command line it is one
line on stderr, and the exit code. A request that is refused leaves nothing behind. What got 503 or `defect` may be sent again with the same
`Idempotency-Key`; all else needs the remedy first.

The few without a remedy are kinds, of which the others are; those of `exchange.cli` are seen on the command line alone.
This page is `exchange errors --markdown`; `exchange errors --json` is for programs.

"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A type of problem: its name, HTTP status, exit code of the command line, and the module of which it is."""

    type: str
    title: str
    status: int
    exit_code: int
    remedy: str
    module: str


def catalogue() -> Iterator[Entry]:
    """List every type of problem by status and name, and last what is the program's own fault."""
    from exchange.api.problems import DEFECT, DEFECT_TYPE

    for module in pkgutil.walk_packages(exchange.__path__, "exchange."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    own = [kind for kind in problem_types().values() if kind.__module__.startswith("exchange.")]
    yield from sorted(map(_entry, own), key=lambda entry: (entry.status, entry.type))
    title, remedy = str(DEFECT["title"]), str(DEFECT["remedy"])
    yield Entry(DEFECT_TYPE, title, 500, DEFECT_EXIT, remedy, "")


def _entry(kind: type[Problem]) -> Entry:
    from exchange.api.problems import status_of

    return Entry(kind.type_name(), kind.title(), status_of(kind), exit_code(kind), kind.remedy, kind.__module__)


def markdown() -> str:
    """Write docs/errors.md."""
    lines = ["| type | what it is | what helps | status | exit code | module |", "|---|---|---|---|---|---|"]
    for one in catalogue():
        module = f"`{one.module}`" if one.module else ""
        lines.append(f"| `{one.type}` | {one.title} | {one.remedy} | {one.status} | {one.exit_code} | {module} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


def errors(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/errors.md.")] = False,
) -> None:
    """List every type of problem: what it is, and what helps.

    Examples:
      exchange errors

      exchange errors --json
    """
    if as_markdown:
        typer.echo(markdown(), nl=False)
    elif as_json:
        typer.echo(orjson.dumps([asdict(one) for one in catalogue()], option=orjson.OPT_INDENT_2).decode())
    else:
        for one in catalogue():
            console.print(f"{one.type} ({one.status}, exit code {one.exit_code}): {one.title} {one.remedy}".rstrip())
