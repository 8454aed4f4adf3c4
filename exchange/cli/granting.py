"""`exchange db grant`: who may do what in a PostgreSQL database. What is there is compared with what is wanted, and the difference is done.

Four roles: one owns the tables and migrates, one serves, one is for what a member may read, one is for a regulator's replica. What each may
do to a table follows from what the table says of itself (`columns.py`), so that a new one needs no line here.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
import typer

from exchange import revisions
from exchange.cli.running import console, desk, wait
from exchange.columns import Sort, Stored, Told
from exchange.database import Database
from exchange.problems import Conflict, Fault, Invalid

ROLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
ITERATIONS: Final = 4096
"""As PostgreSQL itself derives a key from a password."""
SALT_LENGTH: Final = 16
SHORTEST_PASSWORD: Final = 16
PUBLIC: Final = "PUBLIC"
VERSION_TABLE: Final = "alembic_version"
NEVER: Final = ("superuser", "createdb", "createrole", "replication", "bypassrls")
"""What none of these roles may be."""


class NoRoles(Conflict):
    """SQLite has no roles."""

    remedy = "Let the file belong to the user that the service runs as, mode 0600: `exchange doctor` looks."


class RoleNameWrong(Invalid):
    """That cannot begin a role's name."""

    remedy = "Use up to 40 small letters, digits and underscores, beginning with a letter."


class PasswordWrong(Invalid):
    """A password cannot be used."""

    remedy = "Make one: `openssl rand -hex 32`."


class GrantRefused(Conflict):
    """The database refuses what was asked."""

    remedy = "Connect as a superuser, or as the role that owns the tables where nothing but grants is missing: --dry-run says what is to be done."


class Part(StrEnum):
    """What a role is for."""

    OWNER = "owner"
    APP = "app"
    MEMBER = "member"
    READER = "reader"


class Grant(NamedTuple):
    """A privilege that a role has on something."""

    kind: str
    """`TABLE`, `SCHEMA` or `DATABASE`."""
    name: str
    role: str
    privilege: str
    column: str = ""
    """Where it is of a column alone."""
    passed_on: bool = False
    """Whether the role may give it to others."""


class Login(NamedTuple):
    """A role that may connect with a password."""

    role: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Present:
    """What is there, as the catalogues tell it."""

    database: str
    schema: str
    me: str
    superuser: bool
    """Whether we are one."""
    inherits: dict[str, bool]
    """The roles of ours that there are, and whether they have what their memberships give."""
    excessive: dict[str, list[str]]
    """By role, which attributes it must lose."""
    logging_in: frozenset[str]
    members: frozenset[tuple[str, str]]
    """Role and the member that it was granted to."""
    owned: list[tuple[str, str]]
    """What does not belong to the owner yet: its kind, and its name as SQL has it."""
    tables: frozenset[str]
    grants: frozenset[Grant]
    defaults: bool
    """Whether the service may use tables that the owner will make."""


LOOKED_AT: Final = {"party_event": ("member_id", "position")}
"""What the policies of row-level security look at, which whoever reads a table must be let do."""


def service_may(tables: Iterable[type[Stored]]) -> Iterator[tuple[str, str]]:
    """Say which privileges the service needs, by table: nothing is ever deleted, and what is posted is never changed."""
    yield VERSION_TABLE, "SELECT"
    for model in tables:
        name = str(model.__tablename__)
        yield name, "SELECT"
        yield name, "INSERT"
        if model.sort is Sort.CURRENT:
            yield name, "UPDATE"


def reader_may(tables: Iterable[type[Stored]]) -> Iterator[tuple[str, str]]:
    """Say what a regulator's role may select: tables, or columns of them. Never what no event holds: secrets, and what can be erased."""
    yield VERSION_TABLE, ""
    for model in tables:
        name = str(model.__tablename__)
        if name in LOOKED_AT:
            yield from ((name, column) for column in LOOKED_AT[name])
        if model.told is Told.NEVER:
            continue
        if not model.untold:
            yield name, ""
        else:
            yield from (
                (name, column.name)
                for column in Stored.metadata.tables[name].columns
                if column.name not in model.untold
            )


def models() -> list[type[Stored]]:
    """List the tables."""
    return sorted(Stored.__subclasses__(), key=lambda model: str(model.__tablename__))


def named(prefix: str) -> dict[Part, str]:
    """Name the roles. Raises RoleNameWrong."""
    if not ROLE_NAME.fullmatch(prefix):
        raise RoleNameWrong(f"{prefix!r} is none.", Fault("/prefix", "must be small letters, digits and underscores"))
    return {part: f"{prefix}_{part}" for part in Part}


def wanted(roles: dict[Part, str], there: Present) -> Iterator[Grant]:
    """Give all that the roles are to have, on what is there."""
    for part in (Part.APP, Part.READER):
        yield Grant("DATABASE", there.database, roles[part], "CONNECT")
    for part in (Part.APP, Part.MEMBER, Part.READER):
        yield Grant("SCHEMA", there.schema, roles[part], "USAGE")
    for table, privilege in service_may(models()):
        if table in there.tables:
            yield Grant("TABLE", table, roles[Part.APP], privilege)
            if privilege == "SELECT":
                yield Grant("TABLE", table, roles[Part.MEMBER], privilege)
    for table, column in reader_may(models()):
        if table in there.tables:
            yield Grant("TABLE", table, roles[Part.READER], "SELECT", column)


def statements(roles: dict[Part, str], there: Present, logins: Iterable[Login]) -> Iterator[str]:
    """Give the SQL, in order, that makes what is there into what is wanted; nothing where it is so already."""
    for part, role in roles.items():
        yield from _role(part, role, there)
    for login in logins:
        yield f"ALTER ROLE {_quoted(login.role)} LOGIN PASSWORD '{login.verifier}'"
    right = (roles[Part.MEMBER], roles[Part.APP])
    for granted, to in sorted(there.members - {right}):
        yield f"REVOKE {_quoted(granted)} FROM {_quoted(to)}"
    if right not in there.members:
        yield "GRANT {} TO {}".format(*map(_quoted, right))
    yield from _owning(_quoted(roles[Part.OWNER]), _quoted(roles[Part.APP]), there)
    due = frozenset(wanted(roles, there))
    yield from _said("REVOKE", "FROM", there.grants - due)
    yield from _said("GRANT", "TO", due - there.grants)


def _role(part: Part, role: str, there: Present) -> Iterator[str]:
    """Make a role, or mend it. The service's has a member's rights only once it says so: else the rules for a member were its own, too."""
    name = _quoted(role)
    if role not in there.inherits:
        yield f"CREATE ROLE {name} NOLOGIN" + (" NOINHERIT" if part is Part.APP else "")
        return
    wrong = [f"NO{one.upper()}" for one in there.excessive[role]]
    if part is Part.APP and there.inherits[role]:
        wrong.append("NOINHERIT")
    if part is Part.MEMBER and role in there.logging_in:
        wrong.append("NOLOGIN")
    if wrong:
        yield f"ALTER ROLE {name} {' '.join(wrong)}"


def _owning(owner: str, app: str, there: Present) -> Iterator[str]:
    if there.owned and not there.superuser:
        yield f"GRANT {owner} TO {_quoted(there.me)}"
    for kind, name in there.owned:
        yield f"ALTER {kind} {name} OWNER TO {owner}"
    if not there.defaults:
        yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {_quoted(there.schema)} GRANT SELECT, INSERT ON TABLES TO {app}"


def _said(verb: str, word: str, grants: Iterable[Grant]) -> Iterator[str]:
    for (kind, name, role), few in groupby(sorted(grants), key=lambda grant: grant[:3]):
        privileges = ", ".join(one.privilege + (f" ({_quoted(one.column)})" if one.column else "") for one in few)
        yield f"{verb} {privileges} ON {kind} {_quoted(name)} {word} {role if role == PUBLIC else _quoted(role)}"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def verifier(password: str, salt: bytes) -> str:
    """Give what PostgreSQL keeps of a password (RFC 5803), so that the password itself never reaches it, nor its log."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(ITERATIONS, *told)


def _password(file: Path) -> str:
    """Read a password: printable ASCII, which every client prepares alike. Raises PasswordWrong."""
    password = file.read_text(encoding="utf-8").strip()
    if len(password) < SHORTEST_PASSWORD or not (password.isascii() and password.isprintable()):
        raise PasswordWrong(f"That in {file} is shorter than {SHORTEST_PASSWORD}, or not of printable ASCII.")
    return password


# What is there

MINE: Final = "SELECT current_database(), current_schema(), current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
ROLES: Final = """
SELECT rolname, rolinherit, rolcanlogin, rolsuper AS rolsuperuser, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
FROM pg_roles WHERE rolname = ANY ($1)
"""
MEMBERS: Final = """
SELECT granted.rolname, holder.rolname FROM pg_auth_members held
JOIN pg_roles granted ON granted.oid = held.roleid JOIN pg_roles holder ON holder.oid = held.member
WHERE holder.rolname = ANY ($1)
"""
OWNED: Final = """
SELECT 'DATABASE', quote_ident(datname) FROM pg_database WHERE datname = current_database() AND pg_get_userbyid(datdba) <> $1
UNION ALL
SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace
WHERE nspname = current_schema() AND pg_get_userbyid(nspowner) NOT IN ($1, 'pg_database_owner')
UNION ALL
SELECT 'TABLE', quote_ident(relname) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname = ANY ($2) AND pg_get_userbyid(relowner) <> $1
UNION ALL
SELECT 'FUNCTION', proname || '(' || pg_get_function_identity_arguments(oid) || ')' FROM pg_proc
WHERE pronamespace = current_schema()::regnamespace AND oid IN (SELECT tgfoid FROM pg_trigger) AND pg_get_userbyid(proowner) <> $1
ORDER BY 1, 2
"""
TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
)
GRANTS: Final = """
WITH held(kind, name, acl, attribute, owner) AS (
  SELECT 'TABLE', relname, relacl, '', relowner FROM pg_class
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
  UNION ALL
  SELECT 'TABLE', relname, attacl, attname, relowner FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND attacl IS NOT NULL
  UNION ALL
  SELECT 'SCHEMA', nspname, nspacl, '', nspowner FROM pg_namespace WHERE nspname = current_schema()
  UNION ALL
  SELECT 'DATABASE', datname, coalesce(datacl, acldefault('d', datdba)), '', datdba FROM pg_database WHERE datname = current_database()
)
SELECT kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, attribute, is_grantable
FROM held, aclexplode(acl) WHERE grantee <> owner AND (grantee = 0 OR pg_get_userbyid(grantee) = ANY ($1))
"""
DEFAULTS: Final = """
SELECT count(*) = 2 FROM pg_default_acl, aclexplode(defaclacl)
WHERE pg_get_userbyid(defaclrole) = $1 AND defaclnamespace = current_schema()::regnamespace AND defaclobjtype = 'r'
AND pg_get_userbyid(grantee) = $2 AND privilege_type IN ('SELECT', 'INSERT')
"""


async def look(connection: "asyncpg.Connection[Any]", roles: dict[Part, str]) -> Present:
    """Read what is there."""
    [(database, schema, me, superuser)] = await connection.fetch(MINE)
    names = list(roles.values())
    found = await connection.fetch(ROLES, names)
    ours = [VERSION_TABLE, *Stored.metadata.tables]
    return Present(
        database=database,
        schema=schema,
        me=me,
        superuser=superuser,
        inherits={role["rolname"]: role["rolinherit"] for role in found},
        excessive={role["rolname"]: [one for one in NEVER if role[f"rol{one}"]] for role in found},
        logging_in=frozenset(role["rolname"] for role in found if role["rolcanlogin"]),
        members=frozenset(tuple(one) for one in await connection.fetch(MEMBERS, names)),
        owned=[tuple(one) for one in await connection.fetch(OWNED, roles[Part.OWNER], ours)],
        tables=frozenset(one["relname"] for one in await connection.fetch(TABLES)),
        grants=frozenset(Grant(*one) for one in await connection.fetch(GRANTS, names)),
        defaults=await connection.fetchval(DEFAULTS, roles[Part.OWNER], roles[Part.APP]),
    )


async def granted(database: Database, roles: dict[Part, str], logins: list[Login], *, dry_run: bool) -> list[str]:
    """Make what is there into what is wanted, in one transaction; give the SQL that it takes. Raises GrantRefused."""
    connection = await asyncpg.connect(database.dsn)
    try:
        async with connection.transaction():
            done = list(statements(roles, await look(connection, roles), logins))
            if not dry_run:
                await _run(connection, done)
    finally:
        await connection.close()
    return done


async def _run(connection: "asyncpg.Connection[Any]", script: list[str]) -> None:
    for statement in script:
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            raise GrantRefused(f"{_unsaid(statement)}: {error.args[0]}.") from error


def _unsaid(statement: str) -> str:
    """Leave out what PostgreSQL keeps of a password: who has it may try passwords at leisure."""
    return re.sub(r"'SCRAM[^']*'", "'***'", statement)


def grant(
    prefix: Annotated[str, typer.Option(help="What the roles' names begin with.")] = "exchange",
    *,
    owner_password_file: Annotated[
        Path | None, typer.Option(help="Let the role that migrates connect, with the password in this file.")
    ] = None,
    app_password_file: Annotated[
        Path | None, typer.Option(help="Let the role that serves connect, with the password in this file.")
    ] = None,
    reader_password_file: Annotated[
        Path | None, typer.Option(help="Let the role that only reads connect, with the password in this file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the SQL.")] = False,
) -> None:
    """Make the roles of a PostgreSQL database, and let each do what it must and no more. Prints the SQL that it ran; run again, none is left.

    exchange_owner owns all and migrates; exchange_app serves; exchange_member is what the service becomes to read for a member;
    exchange_reader selects what is neither secret nor personal. They cannot connect until a password's file is given, or ALTER ROLE … LOGIN is run.
    Run it as a superuser once, and as exchange_owner after each upgrade.

    Examples:
      EXCHANGE_DATABASE_URL=postgresql://postgres@db.internal/exchange exchange db grant --app-password-file app.password

      exchange db grant --dry-run
    """
    roles = named(prefix)
    files = {Part.OWNER: owner_password_file, Part.APP: app_password_file, Part.READER: reader_password_file}
    given = [(roles[part], file) for part, file in files.items() if file is not None]
    logins = [Login(role, verifier(_password(file), secrets.token_bytes(SALT_LENGTH))) for role, file in given]

    async def work() -> list[str]:
        async with desk(current=False) as place:
            if place.database.path is not None:
                raise NoRoles(f"{place.database} is a file.")
            if await revisions.current(place.database) is not None:
                await revisions.require_current(place.database)
            return await granted(place.database, roles, logins, dry_run=dry_run)

    for statement in wait(work()):
        console.print(f"{_unsaid(statement)};")
