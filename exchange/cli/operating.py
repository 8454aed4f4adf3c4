"""What operators ask of a set-up: which settings are in force, and whether all is well."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import orjson
import typer
from pydantic import SecretStr

from exchange.cli.running import FOUND_WANTING, console, wait
from exchange.database import Database
from exchange.problems import Invalid
from exchange.settings import FILE_SUFFIX, Settings, variable

REDACTED: Final = "***"
UNREADABLE: Final = "(cannot be read)"


@dataclass(frozen=True, slots=True)
class Present:
    """A setting as it is in force."""

    variable: str
    value: str | None
    """In words; secrets are not shown."""
    source: str
    """`default`, or the variable that it comes from, with the file that one names."""


def present(chosen: Settings) -> Iterator[Present]:
    """List all settings as they are in force."""
    for name in Settings.model_fields:
        named = variable(name)
        by_file = named + FILE_SUFFIX
        source = named if named in os.environ else "default"
        file = os.environ.get(by_file)
        yield Present(named, _shown(name, getattr(chosen, name)), f"{by_file} ({file})" if file else source)


def _shown(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return _without_password(value) if name.endswith("database_url") else REDACTED
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_password(url: SecretStr) -> str:
    try:
        return str(Database(url.get_secret_value()))
    except Invalid:
        # What cannot be read may still hold a password.
        return UNREADABLE


def markdown() -> str:
    """Write the table of settings for the documentation."""
    lines = ["| variable | meaning | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = _shown(name, field.default)
        lines.append(f"| `{variable(name)}` | {field.description} | {'none' if value is None else f'`{value}`'} |")
    return "\n".join(lines) + "\n"


def settings(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="The table of docs/settings.md: all defaults.")
    ] = False,
) -> None:
    """Show the settings in force, and where each comes from; secrets are not shown.

    Examples:
      exchange settings

      exchange settings --json
    """
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    found = list(present(Settings.read()))
    if as_json:
        typer.echo(orjson.dumps([asdict(one) for one in found], option=orjson.OPT_INDENT_2).decode())
        return
    width = max(len(one.variable) for one in found)
    for one in found:
        console.print(f"{one.variable:{width}}  {'none' if one.value is None else one.value}  ({one.source})")


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take what is doubtful for wrong.")] = False,
) -> None:
    """Look at this set-up and say what is wrong and what helps, one line per check; exit status 1 where something is wrong.

    ✓ good, ✗ wrong, ! doubtful, – not looked at.

    Examples:
      exchange doctor

      exchange doctor --strict
    """
    from exchange.cli.doctor import MARKS, Verdict, examine

    found = wait(examine())
    if as_json:
        told = [{"check": name, **asdict(one)} for name, one in found]
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, one in found:
            console.print(f"{MARKS[one.verdict]} {name}: {one.said} {one.remedy}".rstrip())
    failing = {Verdict.WRONG, Verdict.DOUBTFUL} if strict else {Verdict.WRONG}
    if any(one.verdict in failing for _, one in found):
        raise typer.Exit(FOUND_WANTING)
