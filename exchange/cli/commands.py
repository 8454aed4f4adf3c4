"""The commands, one function each: read the arguments, have it done, tell."""

import re
import secrets
import signal
import socket
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Column, Table

from exchange import clock, logs, revisions
from exchange.access.callers import SECRET_LENGTH, secret_hash, written_secret
from exchange.access.commands import CreateKey, RevokeKey
from exchange.access.queries import KeyLine, list_keys, operators_exist
from exchange.access.tables import Role, Scope
from exchange.cli.backups import backup, restore
from exchange.cli.catalogue import errors
from exchange.cli.exporting import export_app
from exchange.cli.granting import grant
from exchange.cli.operating import doctor, settings
from exchange.cli.personal import erase
from exchange.cli.picture import picture
from exchange.cli.progress import Tell, rows_shown
from exchange.cli.reading import headline, read_standings, read_summary, run_verify
from exchange.cli.running import EXIT_CODES, EXIT_CODES_HELP, FOUND_WANTING, INTERRUPTED, console, desk, wait
from exchange.cli.running import errors as told_aside
from exchange.clock import instant_text
from exchange.database import Database
from exchange.identifiers import KeyId, Prefix, TradeId, read_id, written_id
from exchange.imports.kinds import KINDS, Kind
from exchange.imports.reading import read_day
from exchange.imports.running import Report, in_words
from exchange.imports.running import run as run_import
from exchange.imports.sources import Encoding
from exchange.journal.callers import Caller
from exchange.problems import Fault, Invalid, Problem, Unauthenticated, Unavailable
from exchange.settings import MOST_WORKERS, LogFormat, LogLevel, Settings
from exchange.tenancy import read_for
from exchange.trades.commands import ApproveReversal
from exchange.trades.queries import open_reversals
from exchange.volume.commands import CloseMonth

app = typer.Typer(
    name="exchange",
    help=f"The ledger of a data exchange.\n\n{EXIT_CODES_HELP}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
database_app = typer.Typer(help="The database's schema, and who may do what in it.", no_args_is_help=True)
PAGE: Final = 500
PIPED_WIDTH: Final = 240
"""So wide is a table for who reads it line by line."""
keys_app = typer.Typer(help="API keys.", no_args_is_help=True)
import_app = typer.Typer(
    help="Old records from CSV, NDJSON and Excel files; the acting operator's key is in EXCHANGE_KEY.",
    no_args_is_help=True,
)
reversals_app = typer.Typer(help="Reversals that wait for a second person.", no_args_is_help=True)
app.add_typer(database_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(reversals_app, name="reversals")
app.command()(backup)
app.command()(restore)
database_app.command()(grant)
app.command()(erase)


FILE_HELP: Final = (
    "By its ending: .csv (UTF-8, else GB18030), .ndjson (one JSON object a line, with the English names), "
    "or .xlsx (the first sheet)."
)


class ArgumentWrong(Invalid):
    """An argument cannot be read."""

    remedy = "Look at --help for examples."


@database_app.command("upgrade")
def upgrade() -> None:
    """Bring the database to the newest schema; an empty one is made.

    Example: EXCHANGE_DATABASE_URL=sqlite:///exchange.db exchange db upgrade
    """

    async def work() -> None:
        async with desk(current=False) as place:
            await revisions.upgrade(place.database)
            console.print(f"{place.database} is at {revisions.newest()}.")

    wait(work())


@database_app.command("current")
def current() -> None:
    """Say which schema the database has, and which one this program needs.

    Example: exchange db current
    """

    async def work() -> None:
        async with desk(current=False) as place:
            # To open a file that is not there would make it.
            there = place.database.path is None or place.database.path.exists()
            found = await revisions.current(place.database) if there else None
            console.print(f"{place.database} is at {found or 'no revision'}; {revisions.newest()} is needed.")

    wait(work())


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65_535)] = 8000,
    *,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that serve together; by EXCHANGE_WORKERS, else 1.", min=1, max=MOST_WORKERS),
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="json or console; by EXCHANGE_LOG_FORMAT, else as stderr is.")
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="debug, info, warning or error.")] = None,
    access_log: Annotated[bool | None, typer.Option(help="A line in the log for each request.")] = None,
) -> None:
    """Serve the API, with its docs at /docs, until stopped: who asked before is answered, then it ends.

    Examples:
      exchange serve --port 8080

      exchange serve --workers 2 --log-format json --no-access-log
    """
    logging = {"log_format": log_format, "log_level": log_level, "access_log": access_log}
    given = {name: value for name, value in logging.items() if value is not None}
    chosen = Settings.read(**given, **({} if workers is None else {"workers": workers}))

    from exchange.api.replica import replica_of
    from exchange.cli.serving import listener
    from exchange.cli.supervising import ServedByOne, listeners, supervise

    alone, database = chosen.workers == 1, Database(chosen.database_url.get_secret_value())
    if not alone and database.path is not None:
        raise ServedByOne("--workers is above 1.")
    replica_of(chosen, database)

    async def look() -> None:
        async with desk():
            pass

    wait(look())
    logs.configure(chosen.log_level, chosen.log_format)
    _leave_when_stopped()
    with ExitStack() as stack:
        opened = (listener(host, port),) if alone else listeners(host, port, chosen.workers)
        for one in opened:
            stack.enter_context(one)
        where = f"[{host}]" if ":" in host else host
        console.print(f"Serving at http://{where}:{opened[0].getsockname()[1]} — docs at /docs — stop with Ctrl-C")
        done = (
            _serve_alone(chosen, opened[0])
            if alone
            else supervise(opened, given, has_cursor_secret=chosen.cursor_secret is not None)
        )
    raise typer.Exit(0 if done else EXIT_CODES[Unavailable])


def _serve_alone(chosen: Settings, opened: socket.socket) -> bool:
    from exchange.app import create_app
    from exchange.cli.serving import Server

    Server(create_app(chosen), chosen).run(sockets=[opened])
    # A server that ran has left by the signal that stopped it: this one did not start.
    return False


@app.command(hidden=True)
def worker(number: int, listening: int, channel: int, shared: Path, given: str) -> None:
    """Serve for a supervisor, on sockets that it hands over, beside others with whom a folder is shared.

    Example, as the supervisor does it: exchange worker 1 5 6 /tmp/exchange-of-these {}
    """
    from exchange.cli.working import work

    _leave_when_stopped()
    served = work(Settings.read(**orjson.loads(given)), number, listening, channel, shared)
    raise typer.Exit(0 if served else EXIT_CODES[Unavailable])


def _leave_when_stopped() -> None:
    # Once stopped, uvicorn sends itself the signal again: it ends here, as a success.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _leave)


def _leave(*_: object) -> None:
    raise SystemExit(0)


@keys_app.command("create")
def create_key(
    role: Annotated[Role, typer.Option(help="What the key is for.")],
    person: Annotated[str, typer.Option(help="Who uses it: keys belong to persons.")],
    member: Annotated[str | None, typer.Option(help="The company's uscc, for a member's key.")] = None,
    name: Annotated[str | None, typer.Option(help="What its holder calls it.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it is restricted to; may be given again.")] = None,
    expires: Annotated[str | None, typer.Option(help="The last day on which it opens anything, as 2030-12-31.")] = None,
) -> None:
    """Make a key and show it, this once, alone on stdout; its id, by which it can be revoked, goes to stderr.

    The first operator's key needs no key; every other needs an operator's in EXCHANGE_KEY.

    Examples:
      exchange keys create --role operator --person 李四

      exchange keys create --role member --member 91430100MA4L00001A --person 张三

      exchange keys create --role regulator --person 钱十 --name replica --scope read --expires 2030-12-31
    """
    expires_on = None if expires is None else read_day(expires, "expires")
    secret = written_secret(secrets.token_bytes(SECRET_LENGTH))
    digest = secret_hash(secret)
    assert digest is not None
    command = CreateKey(role, person, digest, member, name, tuple(scope) if scope else None, expires_on)

    async def work() -> str:
        async with desk() as place:
            first = not await place.database.read(operators_exist)
            told = await place.do(command, Caller.SYSTEM if first else await place.caller())
        return str(told["id"])

    typer.echo(f"{wait(work())} is made.", err=True)
    typer.echo(secret)


@keys_app.command("list")
def show_keys() -> None:
    """List the keys: all to an operator, to a member those of its company; by EXCHANGE_KEY.

    Example: exchange keys list
    """

    async def work() -> list[KeyLine]:
        async with desk() as place:
            caller = await place.caller()
            caller.admit_to(CreateKey)
            lines: list[KeyLine] = []
            while page := await read_for(
                place.database, caller.uscc, list_keys, lines[-1].key.id if lines else None, PAGE
            ):
                lines += page
            return lines

    today = clock.business_day(clock.now())
    heads = ("key", "name", "role", "company", "person", "scopes", "expires on", "state", "last used")
    # Nothing is cut off: an id is there to be copied.
    table = Table(*(Column(head, overflow="fold", no_wrap=head == "key") for head in heads))
    for line in wait(work()):
        key, terms = line.key, line.terms
        ids = written_id(Prefix.KEY, key.id), written_id(Prefix.PERSON, key.person_id)
        name, scopes, end = (terms.name, terms.scopes, terms.expires_on) if terms else (None, None, None)
        used = line.used_at and instant_text(line.used_at)
        shown = (name, key.role, key.uscc, ids[1], ", ".join(scopes or ("all",)), end, line.state(today), used)
        table.add_row(ids[0], *(str(value or "") for value in shown))
    (console if console.file.isatty() else Console(width=PIPED_WIDTH)).print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The key's id, as key_000000000042.")]) -> None:
    """Revoke a key: from now on it opens nothing.

    Example: exchange keys revoke key_000000000042
    """
    number = _id(Prefix.KEY, key_id)

    async def work() -> None:
        async with desk() as place:
            await place.do(RevokeKey(KeyId(number)), await place.caller())

    wait(work())
    console.print(f"{key_id} is revoked.")


@app.command()
def close(month: Annotated[str, typer.Argument(help="The month, as 2023-12.")]) -> None:
    """Close a month: what is filed for it from now on is late. Months are closed one after the other.

    Example: exchange close 2023-12
    """
    if not re.fullmatch(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])", month):
        raise ArgumentWrong("That is no month.", Fault("/month", "must be as 2023-12"))

    async def work() -> None:
        async with desk() as place:
            told = await place.do(CloseMonth(date.fromisoformat(f"{month}-01")), await place.caller())
            console.print(f"{told['month']} is closed, at position {told['position']}.")

    wait(work())


def _importer(kind: Kind) -> None:
    """Add the command that imports one kind of file."""

    def command(
        file: Annotated[Path, typer.Argument(help=FILE_HELP)],
        *,
        encoding: Annotated[Encoding | None, typer.Option(help="Of a CSV file; found where left out.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look whether each row can be read.")] = False,
    ) -> None:
        report = import_file(kind, file, dry_run=dry_run, encoding=encoding)
        console.print(f"{report}.")
        for line in report.first_refusals:
            console.print(f"  {line}", style="yellow")
        if report.refused_file is not None:
            console.print(f"Refused rows with their reasons are in {report.refused_file}: mend and import them.")
            raise typer.Exit(FOUND_WANTING)

    heads, optional = (
        ", ".join(f"{english} ({chinese})" for english, chinese in names.items())
        for names in (kind.heads, kind.optional)
    )
    command.__doc__ = (
        f"Import {kind.name}. The same row twice adds nothing; refused rows are written beside the file.\n\n"
        f"Example: exchange import {kind.name} {kind.name}.csv\n\nColumns, in English or Chinese: {heads}."
        + (f"\n\nColumns that may be left out: {optional}." if optional else "")
    )
    import_app.command(kind.name)(command)


for _kind in KINDS.values():
    _importer(_kind)


def import_file(kind: Kind, file: Path, *, dry_run: bool = False, encoding: Encoding | None = None) -> Report:
    """Import a file as the operator of EXCHANGE_KEY, showing how far it is."""
    reached = Report(dry_run=dry_run)

    async def work(tell: Tell) -> Report:
        def told(report: Report) -> None:
            nonlocal reached
            reached = report
            tell(report.rows, report.expected)

        async with desk() as place:
            caller = await place.caller()
            if dry_run:
                return await run_import(kind, file, None, caller, told, encoding=encoding)
            async with place.journal() as journal:
                return await run_import(kind, file, journal, caller, told, encoding=encoding)

    try:
        with rows_shown(f"import {kind.name}") as tell:
            return wait(work(tell))
    except KeyboardInterrupt:
        told_aside.print(f"exchange: Interrupted after {reached}. Import the file again: it goes on from there.")
        raise typer.Exit(INTERRUPTED) from None


@reversals_app.command("list")
def list_reversals() -> None:
    """List the trades whose reversal waits for another person.

    Example: exchange reversals list
    """

    async def work() -> None:
        async with desk() as place:
            await place.caller()
            waiting = await place.database.read(open_reversals)
        table = Table("trade", "proposed on", "reason")
        for one in waiting:
            table.add_row(one.trade, one.proposed_on.isoformat(), one.reason)
        console.print(table)

    wait(work())


@reversals_app.command("approve")
def approve_reversals(
    trades: Annotated[list[str] | None, typer.Argument(help="Trades, as trd_000000000042.")] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why: each decision says it.")],
    everything: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
) -> None:
    """Approve reversals that another person proposed.

    Examples:
      exchange reversals approve trd_000000000042 --reason "The contract is void."

      exchange reversals approve --all --reason "Filed twice, as the two hashes show."
    """
    if bool(trades) == everything:
        raise ArgumentWrong("Name trades, or say --all.")
    refused = wait(_approve(trades, reason))
    if refused:
        raise typer.Exit(FOUND_WANTING)


async def _approve(trades: list[str] | None, reason: str) -> int:
    refused = approved = 0
    async with desk() as place:
        caller = await place.caller()
        waiting = trades or [one.trade for one in await place.database.read(open_reversals)]
        numbers = [(trade, _id(Prefix.TRADE, trade)) for trade in waiting]
        for trade, number in numbers:
            try:
                await place.do(ApproveReversal(TradeId(number), reason), caller)
                approved += 1
            except (Unavailable, Unauthenticated):
                raise
            except Problem as problem:
                refused += 1
                console.print(f"{trade}: {in_words(problem)}", style="yellow")
    console.print(f"{approved} reversals approved, {refused} refused.")
    return refused


def _id(prefix: Prefix, text: str) -> int:
    number = read_id(prefix, text)
    if number is None:
        raise ArgumentWrong(f"That is no id of the form {prefix}_000000000042.")
    return number


@app.command("summary")
def show_summary(
    as_of: Annotated[str | None, typer.Option(help="Business date, as 2023-12-31; today where left out.")] = None,
    known_at: Annotated[str | None, typer.Option(help="Journal position, or instant as 2023-12-31T16:00:00Z.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="In the API's shape.")] = False,
    svg: Annotated[
        Path | None, typer.Option(help="Also draw it, with the months up to that day, over what this file holds.")
    ] = None,
) -> None:
    """Show the headline: members, cumulative volume, growth; for any past day, as known at any past moment.

    Examples:
      exchange summary --as-of 2023-12-31 --json

      exchange summary --as-of 2023-12-31 --svg headline.svg

      exchange summary --known-at 9120
    """
    day = None if as_of is None else read_day(as_of, "as-of")
    from exchange.api.summary import known_at as read_moment

    found = wait(read_summary(day, read_moment(known_at)))
    if svg is not None:
        svg.write_text(picture(found, wait(read_standings(found))), encoding="utf-8")
        told_aside.print(f"It is drawn in {svg}.")
    if as_json:
        typer.echo(orjson.dumps(found.shape(), option=orjson.OPT_INDENT_2).decode())
    else:
        console.print(headline(found))


@app.command()
def verify(
    *,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also rebuild every table from the events alone, and compare.")
    ] = False,
) -> None:
    """Check every invariant on the stored rows; exit status 1 where one does not hold.

    Examples:
      exchange verify

      exchange verify --replay
    """
    if not wait(run_verify(replayed=replay)):
        raise typer.Exit(FOUND_WANTING)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document.

    Example: exchange openapi > openapi/exchange.json
    """
    from exchange.app import openapi_json

    typer.echo(openapi_json(), nl=False)


app.command()(errors)
app.command()(settings)
app.command()(doctor)


@app.command()
def demo(folder: Annotated[Path, typer.Option(help="Where its files and database stay.")] = Path("demo")) -> None:
    """Do the main job from beginning to end: four years of history imported and closed, two companies trading live, all verified.

    Example: exchange demo
    """
    from exchange.cli.demonstration import run_demo

    run_demo(folder)
