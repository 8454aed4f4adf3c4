"""Nothing posted is ever rewritten: not by the role that serves, not by those that read, and not by a slip of who may do everything."""

import asyncio
import base64
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cluster import Cluster
from commandline import CommandLine
from conftest import TEMPLATE
from doors import OPERATIONS, WRITES, opened
from exchanges import Exchange
from filled import live
from sqlalchemy.engine import make_url
from tampering import granted

from exchange.cli import granting
from exchange.cli.granting import Login, Part, service_may
from exchange.columns import Sort, Stored
from exchange.database import connect_sqlite
from exchange.identifiers import TradeId
from exchange.regulator import integrity
from exchange.trades.commands import CorrectTrade
from exchange.trades.states import TradeState

PREFIX = "guarded"
ROLES = granting.named(PREFIX)
POSTED = sorted(str(model.__tablename__) for model in Stored.__subclasses__() if model.sort is Sort.POSTED)
OTHERS = sorted(str(model.__tablename__) for model in Stored.__subclasses__() if model.sort is Sort.CURRENT)
MADE_AT = {"assessment": "id", "product_version": "id", "batch": "first"}
"""Which column says at which position a row was made, where it is not `position`."""
BESIDE = {
    "closed_month": {"month": "DATE '1990-01-01'"},
    "idempotency": {"key": "'another'"},
    "party_event": {"number": "1000000"},
    "product_version": {"number": "1000000"},
    "transfer": {"position": "position", "number": "1000000"},
}
"""What a copy of a row must have besides, to meet with no other."""
NOT_BY_KEY = {"batch", "event"}
"""Every position of the past is in them, so that a copy meets its key before its guard."""
PAST = "nothing is added to the past|a batch follows the last one"
REFUSED = ("23", "42501")
"""Integrity, and privilege: how PostgreSQL marks what it refuses on purpose."""
REWRITES = {
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
    "truncate with all that refers to it": "TRUNCATE {table} CASCADE",
    "upsert": "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {column} = excluded.{column}",
}
REMODELLINGS = {
    "disable its guard": "ALTER TABLE {table} DISABLE TRIGGER {table}_is_posted",
    "disable all guards": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "drop its guard": "DROP TRIGGER {table}_is_posted ON {table}",
    "rename its guard": "ALTER TRIGGER {table}_is_posted ON {table} RENAME TO harmless",
    "add a trigger": "CREATE TRIGGER a BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change('')",
    "add a rule": "CREATE RULE a AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "rewrite by a rule": "CREATE OR REPLACE RULE a AS ON UPDATE TO {table} DO INSTEAD DELETE FROM {table}",
    "drop": "DROP TABLE {table} CASCADE",
    "rename": "ALTER TABLE {table} RENAME TO other",
    "drop a column": "ALTER TABLE {table} DROP COLUMN {column}",
    "take": "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "give policies": "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "inherit": "CREATE TABLE a () INHERITS ({table})",
}
SESSIONS = [
    "SET session_replication_role = replica",
    "SELECT set_config('session_replication_role', 'replica', false)",
    f"SET ROLE {ROLES[Part.OWNER]}",
    f"SET SESSION AUTHORIZATION {ROLES[Part.OWNER]}",
    f"GRANT {ROLES[Part.OWNER]} TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "ALTER FUNCTION refuse_change() RENAME TO harmless",
    "DROP FUNCTION refuse_past_position() CASCADE",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE batch (last bigint)",
    "CREATE SCHEMA mine",
    "DROP SCHEMA public CASCADE",
    "CREATE EVENT TRIGGER a ON ddl_command_end EXECUTE FUNCTION refuse_change()",
    "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
    "UPDATE alembic_version SET version_num = '0000'",
    "UPDATE head SET position = position - 1",
    "INSERT INTO head SELECT * FROM head ON CONFLICT (id) DO UPDATE SET position = 1",
    "DELETE FROM head",
    "DELETE FROM trade",
    "UPDATE trade SET gross = gross + 1 WHERE state = 'contracted'",
    "UPDATE trade SET purpose = 'another' WHERE state = 'contracted'",
]


def lived(url: str) -> None:
    """Let a little of everything happen, so that every posted table holds something."""
    with Exchange.at(url) as exchange:
        live(exchange)
        exchange.a_listing()
        trade = exchange.a_trade(TradeState.CONTRACTED)
        exchange.do(CorrectTrade(TradeId(trade.id), "purpose", "Training two models", "A slip"), exchange.operator())


def url_of(url: str, part: Part) -> str:
    return make_url(url).set(username=ROLES[part]).render_as_string()


def grant(url: str) -> list[str]:
    """Make the roles, all of which may connect, and grant; give the SQL that it took."""
    parts = (Part.OWNER, Part.APP, Part.READER)
    return granted(url, ROLES, [Login(ROLES[part], granting.verifier("p" * 16, b"s" * 16)) for part in parts])


@pytest.fixture(scope="module")
def guarded(postgres: Cluster) -> Iterator[str]:
    """An exchange that has lived, with its roles."""
    postgres.create_database("guarded", TEMPLATE)
    url = postgres.url("guarded")
    lived(url)
    grant(url)
    yield url
    postgres.drop_database("guarded")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


class Session:
    """A connection of a role's."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.runner = runner
        self.connection: asyncpg.Connection[Any] = runner.run(asyncpg.connect(url))

    def all(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.runner.run(self.connection.fetch(query))]

    def refused(self, statement: str, words: str = ".") -> None:
        """Run what must be refused on purpose: not for how it is written."""
        with pytest.raises(asyncpg.PostgresError, match=words) as caught:
            self.runner.run(self.connection.execute(statement))
        assert str(caught.value.sqlstate).startswith(REFUSED), (statement, caught.value)


@pytest.fixture(scope="module")
def sessions(runner: asyncio.Runner, guarded: str) -> Iterator[dict[str, Session]]:
    """A connection for each role, and one of a superuser's, `root`. A member's role is taken by the one that serves."""
    made = {part.value: Session(runner, url_of(guarded, part)) for part in (Part.OWNER, Part.APP, Part.READER)}
    made["member"] = Session(runner, url_of(guarded, Part.APP))
    runner.run(made["member"].connection.execute(f"SET ROLE {ROLES[Part.MEMBER]}"))
    made["root"] = Session(runner, guarded)
    yield made
    for session in made.values():
        runner.run(session.connection.close())


def snapshot(root: Session) -> list[tuple[Any, ...]]:
    """Give what all tables hold, and all that guards them."""
    found = [
        root.all(f"SELECT '{table}', count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{table}\" t")[0]
        for table in (*POSTED, *OTHERS, "alembic_version")
    ]
    guards = "SELECT tgrelid::regclass::text, tgname, tgenabled::text, tgtype, md5(pg_get_functiondef(tgfoid)) FROM pg_trigger"
    tables = "SELECT relname, pg_get_userbyid(relowner), relacl::text, relhasrules FROM pg_class WHERE relkind = 'r'"
    return [*found, *root.all(f"{guards} WHERE NOT tgisinternal ORDER BY 1, 2"), *root.all(f"{tables} ORDER BY 1")]


def filled_in(statement: str, table: str) -> str:
    columns = Stored.metadata.tables[table]
    key = ", ".join(f'"{column.name}"' for column in columns.primary_key)
    return statement.format(table=table, column=next(iter(columns.c)).name, key=key)


def names_of(table: str) -> list[str]:
    return [column.name for column in Stored.metadata.tables[table].columns]


def copy_of_the_past(table: str) -> str:
    """Write a query for a row that would be added at the very beginning."""
    new = {MADE_AT.get(table, "position"): "0" if table in NOT_BY_KEY else "1", **BESIDE.get(table, {})}
    return f"SELECT {', '.join(new.get(name, name) for name in names_of(table))} FROM {table} LIMIT 1"


def added_to_the_past(table: str) -> str:
    return f"INSERT INTO {table} ({', '.join(names_of(table))}) {copy_of_the_past(table)}"


@pytest.mark.postgres
@pytest.mark.parametrize("table", POSTED)
def test_the_role_that_serves_can_rewrite_nothing_that_is_posted(sessions: dict[str, Session], table: str) -> None:
    app, root = sessions["app"], sessions["root"]
    before = snapshot(root)
    assert root.all(f"SELECT count(*) > 0 FROM {table}") == [(True,)]

    for attack in (REWRITES | REMODELLINGS).values():
        app.refused(filled_in(attack, table))
    # No error, but a warning that nothing was granted.
    app.runner.run(app.connection.execute(f"GRANT ALL ON {table} TO CURRENT_USER"))
    app.refused(added_to_the_past(table), "." if table == "event" else PAST)
    [row] = root.all(copy_of_the_past(table))
    # There is no COPY for whom row-level security is, even where it limits nothing; the guard is there for all others.
    with pytest.raises(asyncpg.FeatureNotSupportedError, match="row-level security"):
        app.runner.run(app.connection.copy_records_to_table(table, records=[row], columns=names_of(table)))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="." if table == "event" else PAST):
        root.runner.run(root.connection.copy_records_to_table(table, records=[row], columns=names_of(table)))

    assert snapshot(root) == before


@pytest.mark.postgres
@pytest.mark.parametrize("attack", SESSIONS)
def test_the_role_that_serves_can_become_no_other(sessions: dict[str, Session], attack: str) -> None:
    before = snapshot(sessions["root"])

    sessions["app"].refused(attack)

    assert snapshot(sessions["root"]) == before
    assert sessions["app"].all("SHOW session_replication_role") == [("origin",)]


@pytest.mark.postgres
@pytest.mark.parametrize("table", POSTED)
def test_also_the_owner_is_refused_while_the_guards_are_there(sessions: dict[str, Session], table: str) -> None:
    for verb in ("update", "delete", "truncate with all that refers to it"):
        sessions["owner"].refused(filled_in(REWRITES[verb], table), "posted rows stay|trades are never deleted")


@pytest.mark.postgres
@pytest.mark.parametrize("table", POSTED)
def test_a_superuser_who_says_that_it_is_a_replica_is_refused_as_well(guarded: str, table: str) -> None:
    with asyncio.Runner() as runner:
        root = Session(runner, guarded)
        runner.run(root.connection.execute("SET session_replication_role = replica"))
        for verb in ("update", "delete", "truncate with all that refers to it"):
            root.refused(filled_in(REWRITES[verb], table), "posted rows stay|trades are never deleted")
        root.refused(added_to_the_past(table), "." if table == "event" else PAST)
        root.refused("UPDATE trade SET gross = gross + 1 WHERE state = 'contracted'", "says what it says")
        runner.run(root.connection.close())


@pytest.mark.postgres
def test_the_guard_of_events_stands_behind_their_key_and_their_check(guarded: str, runner: asyncio.Runner) -> None:
    root = Session(runner, guarded)
    runner.run(root.connection.execute("BEGIN; ALTER TABLE event DROP CONSTRAINT ck_event_position_positive"))
    root.refused(added_to_the_past("event"), PAST)
    runner.run(root.connection.close())


@pytest.mark.postgres
def test_a_batch_leaves_no_gap(sessions: dict[str, Session]) -> None:
    later = "SELECT last + 2, last + 3, recorded_at + interval '1 s', 0, 0 FROM batch ORDER BY last DESC LIMIT 1"

    sessions["app"].refused(f"INSERT INTO batch {later}", "a batch follows the last one")


@pytest.mark.postgres
@pytest.mark.parametrize("who", ["reader", "member"])
def test_those_who_read_write_nothing(sessions: dict[str, Session], who: str) -> None:
    before = snapshot(sessions["root"])

    for table in (*POSTED, *OTHERS, "alembic_version"):
        for statement in (
            "INSERT INTO {table} DEFAULT VALUES",
            "DELETE FROM {table}",
            "TRUNCATE {table}",
        ):
            sessions[who].refused(statement.format(table=f'"{table}"'), "permission denied")
    for table in (*POSTED, *OTHERS):
        sessions[who].refused(filled_in(REWRITES["update"], table), "permission denied")

    assert snapshot(sessions["root"]) == before


@pytest.mark.postgres
def test_a_regulators_role_reads_nothing_secret_and_nothing_personal(sessions: dict[str, Session]) -> None:
    reader = sessions["reader"]

    assert reader.all("SELECT count(*) > 0 FROM event") == [(True,)]
    assert reader.all("SELECT count(id) > 0, count(name_commitment) > 0 FROM person") == [(True, True)]
    for secret in (
        *("api_key.secret_sha256", "person.name", "person.salt", "personal_datum.value", "personal_datum.salt"),
        *("idempotency.answer", "party_event.nonce", "member_term.term"),
    ):
        table, column = secret.split(".")
        reader.refused(f"SELECT {column} FROM {table}", "permission denied")
    reader.refused("SELECT * FROM person", "permission denied")
    reader.refused(f"SET ROLE {ROLES[Part.APP]}")


@pytest.mark.postgres
def test_the_service_has_a_members_rights_only_once_it_says_so(sessions: dict[str, Session]) -> None:
    asked = f"SELECT pg_has_role('{ROLES[Part.MEMBER]}', 'USAGE'), pg_has_role('{ROLES[Part.MEMBER]}', 'MEMBER')"

    assert sessions["app"].all(asked) == [(False, True)]


@pytest.mark.postgres
def test_whatever_the_service_does_it_does_as_the_role_that_serves(postgres_url: str) -> None:
    grant(postgres_url)

    with opened(url_of(postgres_url, Part.APP)) as door:
        for make in WRITES.values():
            wish = make(door)
            answer = door.ask(wish.method, wish.path, wish.by, wish.body)
            assert answer.status_code == wish.status, answer.text
        for operation, (method, path, *_) in OPERATIONS.items():
            if method == "GET" and "{" not in path:
                answer = door.ask("GET", path, door.operator)
                assert answer.status_code < 500, (operation, answer.text)
        assert [finding for finding in door.place.read(integrity.check) if finding.offending] == []


@pytest.mark.postgres
def test_a_backup_is_taken_by_the_role_that_serves_and_restored_by_the_owner(
    line: CommandLine, postgres: Cluster, postgres_url: str, tmp_path: Path
) -> None:
    grant(postgres_url)
    line.use(url_of(postgres_url, Part.APP))
    line.a_key()
    line.done("backup", tmp_path / "kept")
    postgres.create_database("restored_by_owner")
    try:
        restored = postgres.url("restored_by_owner")
        grant(restored)
        line.use(url_of(restored, Part.OWNER))
        line.done("restore", tmp_path / "kept")
        line.done("db", "grant", "--prefix", PREFIX)
        line.use(url_of(restored, Part.APP))
        line.done("keys", "create", "--role", "regulator", "--person", "王五")
    finally:
        postgres.drop_database("restored_by_owner")


# The command


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_url: str) -> CommandLine:
    return CommandLine(monkeypatch, capsys, postgres_url)


def asked(url: str, query: str) -> list[tuple[Any, ...]]:
    with asyncio.Runner() as runner:
        session = Session(runner, url)
        found = session.all(query)
        runner.run(session.connection.close())
        return found


def done(url: str, script: str) -> None:
    with asyncio.Runner() as runner:
        session = Session(runner, url)
        runner.run(session.connection.execute(script))
        runner.run(session.connection.close())


@pytest.fixture
def prefix(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """A prefix of a test's own, whose roles are dropped again: roles are the whole cluster's."""
    name = f"own_{make_url(postgres_url).database}"
    yield name
    there = asked(postgres_url, f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{name}%'")
    done(
        postgres_url,
        "".join(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role};" for [role] in there),
    )


@pytest.mark.postgres
def test_grants_are_made_once_and_said(line: CommandLine, postgres_url: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("0123456789abcdef-MARK\n")
    how = ("db", "grant", "--prefix", prefix)

    planned = line.done(*how, "--app-password-file", file, "--dry-run")
    there = asked(postgres_url, f"SELECT count(*) FROM pg_roles WHERE rolname LIKE '{prefix}%'")
    made = line.done(*how, "--app-password-file", file)
    again = line.done(*how)

    assert there == [(0,)]
    assert planned == made
    assert again == ""
    assert "MARK" not in made
    assert f"ALTER ROLE \"{prefix}_app\" LOGIN PASSWORD '***';" in made
    assert f'GRANT INSERT, SELECT, UPDATE ON TABLE "trade" TO "{prefix}_app";' in made
    assert f'GRANT INSERT, SELECT ON TABLE "event" TO "{prefix}_app";' in made


@pytest.mark.postgres
def test_the_password_that_was_given_opens(line: CommandLine, postgres: Cluster, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("0123456789abcdef")
    line.done("db", "grant", "--prefix", prefix, "--app-password-file", file)

    [[kept]] = asked(postgres.url("postgres"), f"SELECT rolpassword FROM pg_authid WHERE rolname = '{prefix}_app'")
    done(postgres.url("postgres"), f"ALTER ROLE {prefix}_app PASSWORD '0123456789abcdef'")
    [[theirs]] = asked(postgres.url("postgres"), f"SELECT rolpassword FROM pg_authid WHERE rolname = '{prefix}_app'")

    salt = re.fullmatch(r"SCRAM-SHA-256\$4096:([^$]+)\$.*", theirs)
    assert salt is not None
    assert granting.verifier("0123456789abcdef", base64.b64decode(salt[1])) == theirs
    assert kept.startswith("SCRAM-SHA-256$4096:")


@pytest.mark.postgres
def test_what_was_changed_since_is_taken_back(line: CommandLine, postgres_url: str, prefix: str) -> None:
    line.done("db", "grant", "--prefix", prefix)
    app, member, owner, reader = (f"{prefix}_{name}" for name in ("app", "member", "owner", "reader"))
    done(
        postgres_url,
        f"GRANT UPDATE, DELETE ON event TO {app}; GRANT UPDATE (leaf) ON event TO {reader}; GRANT {owner} TO {app};"
        f"ALTER ROLE {app} INHERIT CREATEROLE; ALTER ROLE {member} LOGIN; GRANT SELECT ON event TO {app} WITH GRANT OPTION;"
        f"REVOKE {member} FROM {app}; GRANT INSERT ON event TO PUBLIC; REVOKE UPDATE ON head FROM {app};"
        "ALTER TABLE batch OWNER TO postgres; ALTER FUNCTION refuse_change() OWNER TO postgres; ALTER SCHEMA public OWNER TO postgres",
    )

    said = line.done("db", "grant", "--prefix", prefix)

    assert set(said.splitlines()) == {
        f'ALTER ROLE "{app}" NOCREATEROLE NOINHERIT;',
        f'ALTER ROLE "{member}" NOLOGIN;',
        f'REVOKE "{owner}" FROM "{app}";',
        f'GRANT "{member}" TO "{app}";',
        f'ALTER FUNCTION refuse_change() OWNER TO "{owner}";',
        f'ALTER SCHEMA public OWNER TO "{owner}";',
        f'ALTER TABLE batch OWNER TO "{owner}";',
        f'REVOKE DELETE, SELECT, UPDATE ON TABLE "event" FROM "{app}";',
        f'REVOKE UPDATE ("leaf") ON TABLE "event" FROM "{reader}";',
        'REVOKE INSERT ON TABLE "event" FROM PUBLIC;',
        f'GRANT SELECT ON TABLE "event" TO "{app}";',
        f'GRANT UPDATE ON TABLE "head" TO "{app}";',
    }
    assert line.done("db", "grant", "--prefix", prefix) == ""


@pytest.mark.postgres
def test_an_empty_database_is_made_ready_for_its_owner(line: CommandLine, postgres: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("0123456789abcdef")
    postgres.create_database("unmade")
    try:
        line.use(postgres.url("unmade"))
        line.done("db", "grant", "--prefix", "unmade", "--owner-password-file", file, "--app-password-file", file)
        line.use(postgres.url("unmade").replace("postgres@", "unmade_owner@"))
        line.done("db", "upgrade")
        said = line.done("db", "grant", "--prefix", "unmade")
        line.use(postgres.url("unmade").replace("postgres@", "unmade_app@"))
        line.a_key()
        denied = line.refused(6, "db", "grant", "--prefix", "other")
    finally:
        postgres.drop_database("unmade")
        roles = "unmade_owner, unmade_app, unmade_member, unmade_reader"
        done(postgres.url("postgres"), f"DROP ROLE {roles}")

    assert 'GRANT UPDATE ON TABLE "head" TO "unmade_app";' in said
    assert 'GRANT INSERT ON TABLE "event"' not in said, "what the owner makes may be filled at once"
    assert "permission denied" in denied


@pytest.mark.postgres
def test_who_may_make_roles_and_owns_the_database_needs_no_superuser(line: CommandLine, postgres: Cluster) -> None:
    done(postgres.url("postgres"), "CREATE ROLE manager LOGIN CREATEROLE CREATEDB")
    postgres.create_database("managed")
    try:
        done(postgres.url("managed"), "ALTER DATABASE managed OWNER TO manager")
        line.use(postgres.url("managed").replace("postgres@", "manager@"))
        line.done("db", "upgrade")
        said = line.done("db", "grant", "--prefix", "managed")
        assert line.done("db", "grant", "--prefix", "managed") == ""
    finally:
        postgres.drop_database("managed")
        done(postgres.url("postgres"), "DROP ROLE managed_owner, managed_app, managed_member, managed_reader, manager")

    assert 'GRANT "managed_owner" TO "manager";' in said


def test_grants_need_postgres(line: CommandLine, sqlite_url: str) -> None:
    line.use(sqlite_url)

    assert "SQLite has no roles" in line.refused(6, "db", "grant")


@pytest.mark.postgres
@pytest.mark.parametrize("prefix", ["", "Exchange", 'a"; DROP', "x" * 41])
def test_a_name_that_no_role_can_have_is_refused(line: CommandLine, prefix: str) -> None:
    assert "small letters" in line.refused(3, "db", "grant", f"--prefix={prefix}")


@pytest.mark.postgres
@pytest.mark.parametrize("password", ["tooshrt", "口令口令口令口令口令口令口令口令", "0123456789\tabcdef"])
def test_a_password_that_clients_may_read_differently_is_refused(
    line: CommandLine, tmp_path: Path, password: str
) -> None:
    file = tmp_path / "password"
    file.write_text(password, encoding="utf-8")

    said = line.refused(3, "db", "grant", "--app-password-file", file)

    assert "printable ASCII" in said
    assert password not in said


def test_the_service_never_deletes_and_changes_nothing_that_is_posted() -> None:
    rights = set(service_may(granting.models()))

    assert {privilege for _, privilege in rights} == {"SELECT", "INSERT", "UPDATE"}
    assert {table for table, privilege in rights if privilege == "UPDATE"} == set(OTHERS)


# SQLite


@pytest.fixture(scope="module")
def lived_file(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guards") / "lived.db"
    path.write_bytes(sqlite_template.read_bytes())
    lived(f"sqlite:///{path}")
    return path


@pytest.mark.parametrize("table", POSTED)
def test_nothing_posted_is_rewritten_in_a_file(lived_file: Path, table: str) -> None:
    with closing(connect_sqlite(lived_file)) as connection:
        before = connection.execute(f'SELECT * FROM "{table}"').fetchall()
        assert before
        for attack in (
            REWRITES["update"],
            REWRITES["delete"],
            "REPLACE INTO {table} SELECT * FROM {table}",
            "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
            "UPDATE OR REPLACE {table} SET {column} = {column}",
            REWRITES["upsert"].replace(" ON CONFLICT", " WHERE true ON CONFLICT"),
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(filled_in(attack, table))
        past = added_to_the_past(table).replace("DATE ", "")
        with pytest.raises(sqlite3.IntegrityError, match=PAST):
            connection.execute(past)
        assert connection.execute(f'SELECT * FROM "{table}"').fetchall() == before


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE head SET position = position - 1", "the head never goes back"),
        ("DELETE FROM head", "the head is kept"),
        ("REPLACE INTO head SELECT * FROM head", "the head is kept"),
        ("DELETE FROM trade", "trades are never deleted"),
        ("REPLACE INTO trade SELECT * FROM trade", "trades are never deleted"),
        ("UPDATE trade SET gross = gross + 1 WHERE state = 'contracted'", "says what it says"),
    ],
)
def test_head_and_trades_are_kept_in_a_file(lived_file: Path, statement: str, words: str) -> None:
    with closing(connect_sqlite(lived_file)) as connection, pytest.raises(sqlite3.IntegrityError, match=words):
        connection.execute(statement)
