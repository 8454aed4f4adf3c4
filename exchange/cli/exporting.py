"""The commands that write files in the form in which they are imported."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from sqlmodel import Session

from exchange.access.scopes import require
from exchange.access.tables import READERS, Scope
from exchange.cli.files import finished, refuse_there
from exchange.cli.progress import rows_shown
from exchange.cli.running import desk, errors, wait
from exchange.exports.kinds import EXPORTS, PAGE
from exchange.exports.writing import rows_to
from exchange.imports.kinds import KINDS
from exchange.imports.sources import FileKind, file_kind
from exchange.members.commands import ReleasePersonalData
from exchange.problems import Forbidden

export_app = typer.Typer(
    help="What is stored, as files that can be imported; the key of an operator, auditor or regulator is in EXCHANGE_KEY.",
    no_args_is_help=True,
)
STDOUT = Path("-")


class NotAReader(Forbidden):
    """Only who sees every member's affairs exports them."""

    remedy = "Use the key of an operator, auditor or regulator."


@dataclass(slots=True)
class Told:
    """What an export came to."""

    rows: int = 0
    left_out: list[str] = field(default_factory=list)


def _exporter(name: str) -> None:
    """Add the command that exports one kind of file."""

    def command(
        file: Annotated[Path, typer.Argument(help="By its ending: .csv, .ndjson or .xlsx; - writes CSV to stdout.")],
        *,
        force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
        personal_data: Annotated[
            str | None,
            typer.Option(help="Write personal data too; say why: it is kept in the log. For operators only."),
        ] = None,
    ) -> None:
        told = export_file(name, file, force=force, personal_data=personal_data)
        errors.print(f"{told.rows} rows are written.")
        for line in told.left_out:
            errors.print(f"  Not in the file: {line}.", style="yellow")

    command.__doc__ = (
        f"Export {name} as they are now, with the columns of `exchange import {name}`.\n\n"
        f"Example: exchange export {name} {name}.csv"
    )
    export_app.command(name)(command)


for _name in EXPORTS:
    _exporter(_name)


def export_file(name: str, file: Path, *, force: bool, personal_data: str | None) -> Told:
    """Export a kind of file with a progress bar."""
    kind = FileKind.CSV if file == STDOUT else file_kind(file)
    refuse_there(file, force=force)
    told = Told()

    def write(session: Session, opened: BinaryIO) -> None:
        export, columns = EXPORTS[name], KINDS[name].columns
        total = export.count(session)
        with rows_to(kind, opened, list(columns.heads), total) as write_row, rows_shown(f"export {name}") as tell:
            for cells in export.rows(session, personal_data is not None):
                write_row(cells)
                told.rows += 1
                if not told.rows % PAGE:
                    tell(told.rows, total)
            tell(told.rows, total)
        told.left_out = export.left_out(session)

    async def work() -> None:
        async with desk() as place:
            caller = await place.caller()
            if caller.role not in READERS:
                raise NotAReader("Your role sees its own company's affairs alone.")
            require(caller.scopes, Scope.READ)
            if personal_data is not None:
                await place.do(ReleasePersonalData(personal_data), caller)
            with _opened(file, force=force) as opened:
                await place.database.read(write, opened)

    wait(work())
    return told


@contextmanager
def _opened(file: Path, *, force: bool) -> Iterator[BinaryIO]:
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with finished(file, force=force) as unfinished, unfinished.open("wb") as opened:
            yield opened
            opened.flush()
