"""Imports: each row once, whatever happens to file or process; and what is wrong is said where it stands."""

import asyncio
import gc
import io
import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import orjson
import pytest
from commandline import (
    Cells,
    CommandLine,
    member_row,
    process,
    product_row,
    read_rows,
    trade_row,
    write_rows,
)
from exchanges import a_sha256, a_uscc
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet
from rich.console import Console

from exchange import clock
from exchange.cli.commands import import_app
from exchange.cli.progress import CountColumn, RateColumn, progress_bar, rows_shown
from exchange.cli.running import desk, wait
from exchange.database import SQLITE_PRAGMAS, Database
from exchange.imports import running, sheets
from exchange.imports.kinds import KINDS
from exchange.imports.reading import Row, rows_of
from exchange.imports.sheets import PART_LIMIT
from exchange.imports.sources import REFUSAL, ROW_LIMIT, FileWrong
from exchange.journal.commands import Command, Job
from exchange.journal.journal import Defect, Journal
from exchange.journal.opening import open_store
from exchange.journal.queries import present
from exchange.journal.queue import Overloaded
from exchange.listings.tables import DataGrade, Sector
from exchange.problems import Problem

MEMBERS = [member_row(1), member_row(2), member_row(3)]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str) -> CommandLine:
    """An operator's command line on a fresh exchange, on each database in turn."""
    return _operators(CommandLine(monkeypatch, capsys, database_url))


@pytest.fixture
def sqlite_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str) -> CommandLine:
    """An operator's command line on a fresh SQLite file."""
    return _operators(CommandLine(monkeypatch, capsys, sqlite_url))


def _operators(line: CommandLine) -> CommandLine:
    line.a_key()
    return line


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of a kind; each call writes the same file anew."""

    def write(kind: str, rows: list[Cells], **options: Any) -> Path:
        return write_rows(tmp_path / f"{kind}.csv", kind, rows, **options)

    return write


Files = Callable[..., Path]


def told(added: int, there_already: int, refused: int) -> str:
    rows = added + there_already + refused
    return f"{rows} rows: {added} added, {there_already} there already, {refused} refused."


def position() -> int:
    """Give where the journal stands: how many commands have been accepted, and one."""

    async def look() -> int:
        database = Database(os.environ["EXCHANGE_DATABASE_URL"])
        moment = await database.read(present)
        await database.close()
        return moment.position

    return asyncio.run(look())


def a_market(line: CommandLine, file: Files) -> None:
    """Record three members, and a product of the first."""
    assert told(3, 0, 0) in line.done("import", "members", file("members", MEMBERS))
    assert told(1, 0, 0) in line.done("import", "products", file("products", [product_row(1)]))


def refused_rows(line: CommandLine, kind: str, path: Path) -> list[str]:
    """Import a file of which rows are refused; give why."""
    said = line("import", kind, path)
    assert (said.code, said.err) == (1, "")
    refused = path.with_name(f"{path.name}.refused.csv")
    assert str(refused) in said.out.replace("\n", "")
    return [row[REFUSAL] for row in read_rows(refused)]


# Once and once only


def test_every_kind_of_file_sent_twice_adds_nothing(line: CommandLine, file: Files) -> None:
    files = {
        "members": file("members", [*MEMBERS, member_row(4, withdrawn_on="2021-01-01", roles="service_org")]),
        "products": file(
            "products",
            [
                product_row(1),
                product_row(1, version=2, listed_on="2020-06-01", expires_on="2029-12-31"),
                product_row(
                    2,
                    grade="important",
                    personal_information="yes",
                    legal_basis="anonymised",
                    assessor_uscc=a_uscc(4),
                    security_assessment_sha256=a_sha256("assessment"),
                    sample_sha256=a_sha256("sample"),
                    ip_registration="SZCQ-1",
                    price_model="fixed",
                    price_fen=106_000,
                    delisted_on="2020-07-01",
                ),
            ],
        ),
        "trades": file(
            "trades",
            [
                trade_row(1, buyer_ref="PO-1", seller_ref="SO-1", delivery_terms="接口", acceptance_window_days=7),
                trade_row(2, outcome="cancelled", effective_on="", ended_on="2020-04-02", reason="双方协商取消"),
                trade_row(3, outcome="terminated", ended_on="2020-04-07", reason="双方协商终止"),
                trade_row(4, outcome="reversed", ended_on="2020-04-07", reason="登记有误"),
                trade_row(5, outcome="proposed", effective_on=""),
                trade_row(6, outcome="confirmed", effective_on=""),
                trade_row(
                    7,
                    venue="off_exchange_filed",
                    evidence_sha256=f"{a_sha256(1)}; {a_sha256(2)}",
                    received_on="2020-06-01",
                ),
                trade_row(8, buyer=1, seller=2, mode="listed"),
            ],
        ),
    }
    first = [line.done("import", kind, path) for kind, path in files.items()]
    after = position()
    second = [line.done("import", kind, path) for kind, path in files.items()]

    for said, again, rows in zip(first, second, (4, 3, 8), strict=True):
        assert told(rows, 0, 0) in said
        assert told(0, rows, 0) in again
    # One command each, one more for the reversal's proposal, and the operator's key.
    assert position() == after == 1 + 1 + 4 + 3 + 8 + 1
    contracted = orjson.loads(line.done("summary", "--json"))["cumulative_volume"]["contracted"]
    assert (contracted["gross"]["amount"], contracted["net"]["amount"]) == ("530000", "424000")
    assert "invariants hold" in line.done("verify")


def test_the_same_rows_under_chinese_heads_are_there_already(line: CommandLine, file: Files) -> None:
    a_market(line, file)
    path = file("trades", [trade_row(1)])
    line.done("import", "trades", path)
    english, *rows = path.read_text(encoding="utf-8").splitlines()
    heads = KINDS["trades"].heads
    # As spreadsheets write it: with a byte order mark, and carriage returns. One column keeps its English name.
    chinese = ",".join(name if name == "reason" else heads[name] for name in english.split(","))
    path.write_bytes("\r\n".join(["\ufeff" + chinese, *rows, ""]).encode())

    assert told(0, 1, 0) in line.done("import", "trades", path)


def test_neither_the_order_of_columns_nor_that_of_rows_matters(sqlite_line: CommandLine, file: Files) -> None:
    sqlite_line.done("import", "members", file("members", MEMBERS))
    turned = file("members", MEMBERS[::-1], columns=[*reversed(KINDS["members"].heads), REFUSAL])

    assert told(0, 3, 0) in sqlite_line.done("import", "members", turned)


def test_whoever_imports_a_row_again_finds_it_there(line: CommandLine, file: Files) -> None:
    second = line.a_key("王五")
    line.done("import", "members", file("members", MEMBERS))
    line.act_as(second)

    assert told(0, 3, 0) in line.done("import", "members", file("members", MEMBERS))


def test_other_content_under_a_known_key_is_refused(line: CommandLine, file: Files) -> None:
    line.done("import", "members", file("members", MEMBERS))
    path = file("members", [member_row(1, contact="0731-1"), MEMBERS[1]])

    [why] = refused_rows(line, "members", path)

    assert why.startswith("It was recorded before with other content.")
    assert told(0, 1, 1) in line("import", "members", path).out


def test_a_row_twice_in_one_file_is_one(sqlite_line: CommandLine, file: Files) -> None:
    assert told(1, 1, 0) in sqlite_line.done("import", "members", file("members", [MEMBERS[0], MEMBERS[0]]))


def test_only_operators_import(line: CommandLine, file: Files) -> None:
    path = file("members", MEMBERS)
    line.act_as(line.a_key("陈", "auditor"))
    whys = refused_rows(line, "members", path)
    line.act_as(None)

    assert len(whys) == 3
    assert "does not do this" in whys[0]
    assert "EXCHANGE_KEY is not set" in line.refused(4, "import", "members", path)


# Reversed trades


def test_a_reversed_trade_stays_there_when_its_reversal_is_approved(line: CommandLine, file: Files) -> None:
    second = line.a_key("王五")
    a_market(line, file)
    path = file("trades", [trade_row(1, outcome="reversed", ended_on="2020-05-01", reason="登记有误")])
    line.done("import", "trades", path)
    counted = orjson.loads(line.done("summary", "--json"))["trades"]["counted"]
    line.act_as(second)
    line.done("reversals", "approve", "--all", "--reason", "as it should be")
    left = orjson.loads(line.done("summary", "--json"))["trades"]["counted"]

    assert (counted, left) == (1, 0)
    assert told(0, 1, 0) in line.done("import", "trades", path)


def test_a_reversal_that_was_cut_off_is_proposed_by_the_next_import(
    sqlite_line: CommandLine, file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_market(sqlite_line, file)
    path = file("trades", [trade_row(1, outcome="reversed", reason="登记有误")])
    do_all = Journal.do_all

    async def cut_off(self: Journal, jobs: list[Job]) -> Any:
        if any(job.key.endswith("/reversal") for job in jobs):
            return [Overloaded("Too many.") for _ in jobs]
        return await do_all(self, jobs)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "do_all", cut_off)
        said = sqlite_line("import", "trades", path)
    none = sqlite_line.done("reversals", "list")

    assert said.code == 7
    assert "trd_" not in none
    assert told(1, 0, 0) in sqlite_line.done("import", "trades", path)
    assert "登记有误" in sqlite_line.done("reversals", "list")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reason": ""}, "reason must not be blank"),
        ({"reason": "=1+1"}, "reason must not begin with"),
        ({"ended_on": "1 May"}, "ended_on must be a date"),
    ],
)
def test_a_reversed_trade_is_not_recorded_where_its_reversal_cannot_be_proposed(
    sqlite_line: CommandLine, file: Files, changed: dict[str, object], words: str
) -> None:
    a_market(sqlite_line, file)
    before = position()
    path = file("trades", [trade_row(1, **({"outcome": "reversed", "reason": "登记有误"} | changed))])  # type: ignore[arg-type]

    [why] = refused_rows(sqlite_line, "trades", path)

    assert words in why
    assert position() == before


# Refused rows


def test_refused_rows_are_written_beside_the_file_to_be_mended_and_sent_again(line: CommandLine, file: Files) -> None:
    a_market(line, file)
    rows = [trade_row(1), trade_row(2, buyer=9), trade_row(3, net_fen="1,000"), trade_row(4, buyer=1)]
    path = file("trades", rows)
    refused = path.with_name("trades.csv.refused.csv")
    said = line("import", "trades", path)
    written = read_rows(refused)
    mended = [{**row, "buyer_uscc": a_uscc(3), "net_fen": "100000"} for row in written]
    write_rows(refused, "trades", mended, [*KINDS["trades"].heads, REFUSAL])
    again = line.done("import", "trades", refused)

    assert told(1, 0, 3) in said.out
    assert re.search(r"line 3: No company with this code .*\n", said.out)
    assert "line 4: " in said.out
    assert [row["contract_number"] for row in written] == ["HT-00002", "HT-00003", "HT-00004"]
    assert list(written[0]) == [*KINDS["trades"].heads, REFUSAL]
    assert "net_fen must be a whole number" in written[1][REFUSAL]
    assert "same company" in written[2][REFUSAL]
    assert told(3, 0, 0) in again
    assert not list(path.parent.glob("*.part"))
    assert not refused.with_name(f"{refused.name}.refused.csv").exists()


def test_the_file_of_refused_rows_goes_when_none_is_refused(sqlite_line: CommandLine, file: Files) -> None:
    path = file("members", [member_row(1, region_code="1")])
    refused_rows(sqlite_line, "members", path)
    file("members", [member_row(1)])

    assert told(1, 0, 0) in sqlite_line.done("import", "members", path)
    assert [other.name for other in path.parent.glob("members*")] == ["members.csv"]


def test_refused_rows_keep_the_heads_that_they_came_with(sqlite_line: CommandLine, file: Files) -> None:
    path = file("members", [member_row(1, region_code="1")])
    heads = list(KINDS["members"].heads.values())
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([",".join(heads), *lines[1:]]), encoding="utf-8")

    refused_rows(sqlite_line, "members", path)

    assert list(read_rows(path.with_name("members.csv.refused.csv"))[0]) == [*heads, REFUSAL]


def test_no_more_than_the_first_refusals_are_shown(sqlite_line: CommandLine, file: Files) -> None:
    path = file("members", [member_row(n, region_code="1") for n in range(20)])

    said = sqlite_line("import", "members", path)

    assert told(0, 0, 20) in said.out
    assert len(re.findall(r"^ {2}line [0-9]+: ", said.out, re.MULTILINE)) == running.SHOWN
    assert len(read_rows(path.with_name("members.csv.refused.csv"))) == 20


def test_a_folder_that_takes_no_file_of_refused_rows_is_told_in_a_line(
    sqlite_line: CommandLine, file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file("members", MEMBERS)
    before = position()
    path.with_name("members.csv.refused.csv.part").mkdir()

    told_off = sqlite_line.refused(3, "import", "members", path)

    assert "members.csv.refused.csv.part: Is a directory" in told_off
    assert position() == before


# Dry runs


def test_a_dry_run_looks_at_every_row_and_changes_nothing(line: CommandLine, file: Files) -> None:
    before = position()
    fine = file("members", MEMBERS)
    earlier = fine.with_name("members.csv.refused.csv")
    earlier.write_text("of an earlier import", encoding="utf-8")
    said = line.done("import", "members", fine, "--dry-run")
    kept = earlier.read_text(encoding="utf-8")
    wrong = line("import", "members", file("members", [MEMBERS[0], member_row(2, roles="king")]), "--dry-run")

    assert "3 rows: 3 can be read, 0 there already, 0 refused." in said
    assert kept == "of an earlier import"
    assert wrong.code == 1
    assert "2 rows: 1 can be read, 0 there already, 1 refused." in wrong.out
    assert "line 3: " in wrong.out
    assert len(read_rows(earlier)) == 1
    assert position() == before


# Cells


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        ("members", {"uscc": "91430100MA4L00001A"}, "uscc must be 18 characters"),
        ("members", {"uscc": " " + a_uscc(1)}, "uscc must be 18 characters"),
        ("members", {"legal_name": ""}, "legal_name must not be blank"),
        ("members", {"legal_name": "=cmd()"}, "legal_name must not begin with"),
        ("members", {"legal_name": "two\nlines"}, "legal_name must have no control"),
        ("members", {"roles": "provider,consumer"}, "roles must name"),
        ("members", {"roles": "provider;"}, "roles must name"),
        ("members", {"roles": ""}, "roles must name"),
        ("members", {"evidence_sha256": "abc"}, "evidence/0 must be a SHA-256"),
        ("members", {"applied_on": "02/01/2020"}, "applied_on must be a date"),
        ("members", {"applied_on": "2020-02-30"}, "no such day"),
        ("members", {"applied_on": "20200102"}, "applied_on must be a date"),
        ("members", {"applied_on": "２０２０-01-02"}, "applied_on must be a date"),
        ("members", {"applied_on": ""}, "applied_on must not be blank"),
        ("members", {"withdrawn_on": "never"}, "withdrawn_on must be a date"),
        ("products", {"sector": "stars"}, "sector must be one of " + ", ".join(Sector)),
        ("products", {"legal_basis": "habit"}, "legal_basis must be one of"),
        ("products", {"grade": "core"}, "Core data is never listed"),
        ("products", {"grade": ""}, "grade must not be blank"),
        ("products", {"personal_information": "maybe"}, "personal_information must be yes or no"),
        ("products", {"personal_information": "是"}, "legal_basis must be given"),
        ("products", {"record_count": "1e3"}, "record_count must be a whole number"),
        ("products", {"record_count": "٣"}, "record_count must be a whole number"),
        ("products", {"record_count": "-1"}, "record_count must be a whole number"),
        ("products", {"record_count": "01"}, "record_count must be a whole number"),
        ("products", {"record_count": "1" * 19}, "record_count must be a whole number"),
        ("products", {"price_fen": "100"}, "price must be left out when negotiable"),
        ("products", {"price_fen": "1.00"}, "price_fen must be a whole number"),
        ("products", {"rights": "use:tomorrow"}, "rights/0 must be"),
        ("products", {"version": "2"}, "version must be the next number"),
        ("trades", {"outcome": "won"}, "outcome must be one of"),
        ("trades", {"outcome": "filed"}, "outcome must be one of"),
        ("trades", {"gross_fen": "106001"}, "gross must be the sum"),
        ("trades", {"mode": "listed"}, "fixed price"),
        ("trades", {"acceptance_window_days": "x"}, "acceptance_window_days must be a whole number"),
        ("trades", {"reason": "two\nlines"}, "reason must have no control"),
        ("trades", {"outcome": "cancelled"}, "effective_on must be given for what was contracted"),
    ],
)
def test_a_cell_that_is_wrong_refuses_its_row_in_words(
    sqlite_line: CommandLine, file: Files, kind: str, changed: dict[str, Any], words: str
) -> None:
    a_market(sqlite_line, file)
    before = position()
    rows: dict[str, Cells] = {
        "members": member_row(7, **changed),
        "products": product_row(2, **changed),
        "trades": trade_row(1, **changed),
    }

    [why] = refused_rows(sqlite_line, kind, file(kind, [rows[kind]]))

    assert words in why
    assert position() == before


def test_yes_and_no_are_said_in_both_languages(sqlite_line: CommandLine, file: Files) -> None:
    a_market(sqlite_line, file)
    rows = [
        product_row(2, personal_information="是", legal_basis="consent"),
        product_row(3, personal_information="否", grade=DataGrade.GENERAL),
    ]

    assert told(2, 0, 0) in sqlite_line.done("import", "products", file("products", rows))


def test_help_names_every_column_in_both_languages(sqlite_line: CommandLine) -> None:
    assert {command.name for command in import_app.registered_commands} == set(KINDS)
    for kind in KINDS.values():
        said = "".join(sqlite_line.done("import", kind.name, "--help").split())
        for english, chinese in kind.heads.items():
            assert f"{english}({chinese})" in said


def test_natural_keys_are_told_apart_wherever_their_parts_end() -> None:
    assert len({KINDS["trades"].key(_trade_cells(*parts)) for parts in (("A-1", "2"), ("A-", "12"))}) == 2


def _trade_cells(number: str, sha256: str) -> Row:
    return Row(1, dict.fromkeys(KINDS["trades"].heads, "") | {"contract_number": number, "contract_sha256": sha256})


# Columns that a file may lack


def with_optional(kind: str) -> list[str]:
    return list(KINDS[kind].columns.heads)


def test_a_blank_column_that_may_be_left_out_changes_nothing(line: CommandLine, file: Files) -> None:
    a_market(line, file)
    line.done("import", "trades", file("trades", [trade_row(1)]))

    for kind, row in (("members", MEMBERS[0]), ("products", product_row(1)), ("trades", trade_row(1))):
        for turn in ("", 1):
            again = file(kind, [{**row, KINDS[kind].turn: turn}], columns=with_optional(kind))
            assert told(0, 1, 0) in line.done("import", kind, again)


def test_changes_after_admission_count_from_their_days(line: CommandLine, file: Files) -> None:
    changes = "2020-03-01 suspended;2020-04-01 active; 2020-05-01 region 440305; 2020-05-01 no group"
    rows = [member_row(1), member_row(2, changes=changes, withdrawn_on="2020-06-01")]
    line.done("import", "members", file("members", rows, columns=with_optional("members")))
    line.done("import", "products", file("products", [product_row(1, listed_on="2020-02-03")]))
    days = ("2020-02-03", "2020-03-01", "2020-03-31", "2020-04-01", "2020-06-01")
    active = [orjson.loads(line.done("summary", "--json", "--as-of", day))["members"]["active"] for day in days]
    [why] = refused_rows(
        line, "trades", file("trades", [trade_row(1, proposed_on="2020-03-02", effective_on="2020-03-05")])
    )

    assert active == [2, 1, 1, 2, 1]
    assert "The buyer is not an active member on 2020-03-05" in why
    assert told(1, 0, 0) in line.done("import", "trades", file("trades", [trade_row(1)]))
    assert "invariants hold" in line.done("verify")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("2020-03-01 expelled", "changes must each be a date and one of: suspended, active, name …"),
        ("2020-03-01 region", "changes must each be"),
        ("2020-03-01", "changes must each be"),
        ("yesterday suspended", "changes must be a date"),
        ("2020-03-01 active", "changes must be suspended and active by turns"),
        ("2020-03-01 suspended; 2020-03-02 suspended", "changes must be suspended and active by turns"),
        ("2020-03-02 suspended; 2020-03-01 active", "changes must lie between admitted_on and withdrawn_on"),
        ("2020-01-03 suspended", "changes must lie between admitted_on and withdrawn_on"),
        ("2020-03-01 name =1+1", "changes/legal_name must not begin with"),
        ("2020-03-01 region 430", "changes/region_code must be"),
        ("2020-03-01 group 430", "changes/group_parent_uscc must be"),
        ("2999-01-01 suspended", "changes must lie between 2014-12-31 and"),
    ],
)
def test_a_change_that_cannot_be_refuses_the_member(
    sqlite_line: CommandLine, file: Files, changes: str, words: str
) -> None:
    before = position()
    path = file("members", [member_row(1, changes=changes)], columns=with_optional("members"))

    [why] = refused_rows(sqlite_line, "members", path)

    assert words in why
    assert position() == before


def test_a_company_comes_back_as_a_second_membership(line: CommandLine, file: Files) -> None:
    back = member_row(1, membership=2, applied_on="2022-01-01", admitted_on="2022-01-01")
    rows = [member_row(1, withdrawn_on="2021-01-01"), back]
    path = file("members", rows, columns=with_optional("members"))

    assert told(2, 0, 0) in line.done("import", "members", path)
    assert told(0, 2, 0) in line.done("import", "members", path)
    assert orjson.loads(line.done("summary", "--json"))["members"] == {"active": 1, "ever_admitted": 1}


def test_a_version_is_suspended_resumed_and_listed_again(line: CommandLine, file: Files) -> None:
    line.done("import", "members", file("members", MEMBERS))
    suspended = "2020-04-01 suspended; 2020-05-01 listed"
    rows = [
        product_row(1, changes=suspended, delisted_on="2020-06-01"),
        product_row(1, listing=2, listed_on="2020-07-01", price_model="fixed", price_fen=106_000),
        product_row(2, listed_on="", price_model="", vat_rate_bp="", visibility=""),
        product_row(2, version=2, listed_on="2020-03-01"),
    ]
    path = file("products", rows, columns=with_optional("products"))
    assert told(4, 0, 0) in line.done("import", "products", path)
    assert told(0, 4, 0) in line.done("import", "products", path)
    days = ("2020-03-31", "2020-04-01", "2020-05-01", "2020-06-01", "2020-07-01")
    listed = [orjson.loads(line.done("summary", "--json", "--as-of", day))["listings"]["listed"] for day in days]
    sold = {"mode": "listed", "proposed_on": "2020-07-01", "effective_on": "2020-07-02"}
    never = trade_row(2, seller=2, buyer=1)

    assert listed == [2, 1, 2, 1, 2]
    assert told(1, 0, 0) in line.done("import", "trades", file("trades", [trade_row(1, **sold)]))  # type: ignore[arg-type]
    assert "never listed" in refused_rows(line, "trades", file("trades", [never]))[0]
    assert "invariants hold" in line.done("verify")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"changes": "2020-04-01 resumed"}, "changes must each be a date and one of: suspended, listed"),
        ({"changes": "2020-04-01 listed"}, "changes must be suspended and listed by turns"),
        ({"changes": "2020-02-01 suspended"}, "changes must lie between listed_on and delisted_on"),
        ({"changes": "2999-02-01 suspended"}, "changes must lie between 2014-12-31 and"),
        ({"delisted_on": "2020-02-01"}, "delisted_on must lie between listed_on"),
        ({"listed_on": ""}, "listed_on must not be blank"),
        (
            {"listed_on": "", "price_model": "", "vat_rate_bp": "", "visibility": "", "delisted_on": "2020-07-01"},
            "listed_on must be given",
        ),
        (
            {"listed_on": "", "price_model": "", "vat_rate_bp": "", "visibility": "", "listing": 2},
            "listed_on must be given with an offer",
        ),
        ({"listing": 2}, "version must have been recorded before"),
        ({"listing": 2, "product_code": "P-2"}, "version must have been recorded before"),
        ({"listing": 0}, "listing must be 1, 2, 3"),
        ({"listing": "x"}, "listing must be a whole number"),
    ],
)
def test_a_listing_that_cannot_be_is_refused(
    sqlite_line: CommandLine, file: Files, changed: dict[str, Any], words: str
) -> None:
    a_market(sqlite_line, file)
    before = position()
    row = product_row(
        1, **({"product_code": "P-2"} | changed if "listing" not in changed else {"title": "别的", **changed})
    )

    [why] = refused_rows(sqlite_line, "products", file("products", [row], columns=with_optional("products")))

    assert words in why
    assert position() == before


def test_a_contract_that_was_cancelled_or_reversed_is_recorded_again(line: CommandLine, file: Files) -> None:
    second = line.a_key("王五")
    a_market(line, file)
    rows = [
        trade_row(1, outcome="cancelled", effective_on="", ended_on="2020-04-02", reason="双方协商取消"),
        trade_row(1, outcome="reversed", reversed_on="2020-05-01", reason="登记有误", record=2),
        trade_row(1, record=3),
    ]
    path = file("trades", rows, columns=with_optional("trades"))
    [why] = refused_rows(line, "trades", path)
    line.act_as(second)
    line.done("reversals", "approve", "--all", "--reason", "as it should be")

    assert "counts already" in why
    assert told(1, 2, 0) in line.done("import", "trades", path)
    days = ("2020-04-05", "2020-04-30", "2020-05-01")
    summaries = [orjson.loads(line.done("summary", "--json", "--as-of", day)) for day in days]
    volumes = [found["cumulative_volume"]["contracted"]["net"]["amount"] for found in summaries]
    assert volumes == ["212000", "212000", "106000"]
    assert "invariants hold" in line.done("verify")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reversed_on": "2020-04-04"}, "reversed_on must lie between effective_on and today"),
        ({"reversed_on": "2999-01-01"}, "reversed_on must lie between effective_on and today"),
        ({"reversed_on": "2020-05-01", "outcome": "contracted"}, "reversed_on must be given for what was reversed"),
        ({"reversed_on": "2020-05-01", "effective_on": ""}, "effective_on must be given for what was contracted"),
    ],
)
def test_a_day_of_reversal_that_cannot_be_refuses_the_trade(
    sqlite_line: CommandLine, file: Files, changed: dict[str, Any], words: str
) -> None:
    a_market(sqlite_line, file)
    before = position()
    row = trade_row(1, **({"outcome": "reversed", "reason": "登记有误"} | changed))

    [why] = refused_rows(sqlite_line, "trades", file("trades", [row], columns=with_optional("trades")))

    assert words in why
    assert position() == before


def test_a_reversal_whose_month_is_closed_meanwhile_counts_on_the_day_of_its_approval(
    line: CommandLine, file: Files
) -> None:
    second = line.a_key("王五")
    a_market(line, file)
    row = trade_row(1, outcome="reversed", reversed_on="2020-05-01", reason="登记有误")
    line.done("import", "trades", file("trades", [row], columns=with_optional("trades")))
    for month in ("2020-04", "2020-05"):
        line.done("close", month)
    line.act_as(second)
    line.done("reversals", "approve", "--all", "--reason", "as it should be")
    ends = [
        orjson.loads(line.done("summary", "--json", *day))["trades"]["counted"]
        for day in (["--as-of", "2020-06-01"], [])
    ]

    assert ends == [1, 0]


# Files that are broken

HEAD = ",".join(KINDS["members"].heads)


def csv_line(row: Cells) -> str:
    return ",".join(str(row.get(name, "")) for name in KINDS["members"].heads)


FIRST = csv_line(member_row(1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no head in its first line"),
        (b"\n", "has no head in its first line"),
        (b"\xef\xbb\xbf", "has no head in its first line"),
        (HEAD.encode("utf-16"), "is not UTF-8 at line 1"),
        (HEAD.encode("utf-16-le"), "has a NUL at line 1"),
        (HEAD.replace(",contact", "").encode(), "missing: contact"),
        (f"{HEAD},colour,".encode(), "unknown: column 15 ('colour'), 16 ('')"),
        (f"{HEAD},uscc".encode(), "has a column twice"),
        (f"{HEAD},统一社会信用代码".encode(), "has a column twice"),
        (f"{HEAD},refusal,refusal".encode(), "has a column twice"),
        (HEAD.replace(",", ";").encode(), "has another head"),
        (b'"' + HEAD.encode(), "is no CSV at line 1: unexpected end of data"),
        (b"a" * (ROW_LIMIT + 1), f"has a row of more than {ROW_LIMIT} bytes at line 1"),
        (HEAD.replace(",", "\r").encode(), "is no CSV at line 1"),
    ],
)
def test_a_broken_head_ends_an_import_before_it_began(
    sqlite_line: CommandLine, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "members.csv"
    path.write_bytes(content)
    before = position()

    assert words in sqlite_line.refused(3, "import", "members", path)
    assert position() == before
    assert [other.name for other in tmp_path.glob("members*")] == ["members.csv"]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (FIRST.encode("utf-16"), "is not UTF-8 at line 4"),
        (FIRST.encode("gbk"), "is not UTF-8 at line 4"),
        (b"a,\0b", "has a NUL at line 4"),
        (b"a,b", "has 2 cells instead of 14 at line 4"),
        (f"{FIRST},".encode(), "has 15 cells instead of 14 at line 4"),
        (b'a,"b"c', "is no CSV at line 4"),
        (b'a,"b', "is no CSV at line 5: unexpected end of data"),
        (b"a" * (ROW_LIMIT + 1), f"has a row of more than {ROW_LIMIT} bytes at line 4"),
        (b'"' + b"a\n" * ROW_LIMIT, f"has a row of more than {ROW_LIMIT} bytes at line {4 + ROW_LIMIT // 2 - 1}"),
    ],
)
def test_a_broken_line_ends_an_import_after_the_rows_before_it(
    sqlite_line: CommandLine, tmp_path: Path, broken: bytes, words: str
) -> None:
    path = tmp_path / "members.csv"
    # The blank line in between is none of anybody's; it counts as a line.
    rows = [HEAD, FIRST, ""]
    path.write_bytes("\n".join([*rows, ""]).encode() + broken + b"\n" + csv_line(member_row(2)).encode())

    said = sqlite_line("import", "members", path)
    path.write_text("\n".join([*rows, csv_line(member_row(2))]), encoding="utf-8")

    assert said.code == 3
    assert words in said.err
    assert "Before it were 1 rows: 1 added, 0 there already, 0 refused." in said.err
    assert said.err.count("\n") == 1
    assert told(1, 1, 0) in sqlite_line.done("import", "members", path)


def test_a_broken_line_in_the_first_row_is_said_to_have_none_before_it(
    sqlite_line: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "members.csv"
    path.write_text(f"{HEAD}\na,b\n", encoding="utf-8")

    assert "Before it were 0 rows" in sqlite_line.refused(3, "import", "members", path)


def test_what_is_no_file_to_read_is_told_in_a_line(sqlite_line: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "No such file" in sqlite_line.refused(3, "import", "members", tmp_path / "missing.csv")
    assert "is no plain file" in sqlite_line.refused(3, "import", "members", tmp_path)
    assert "is no plain file" in sqlite_line.refused(3, "import", "members", tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_told_in_a_line(
    sqlite_line: CommandLine, file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file("members", MEMBERS)

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)

    assert "cannot be opened: Permission denied" in sqlite_line.refused(3, "import", "members", path)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_at_all_are_more_than_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes((HEAD.encode() + b"\n" if head else b"") + tail)
    with suppress(FileWrong), rows_of(path, KINDS["members"].columns) as opened:
        for row in opened.rows:
            assert list(row.cells) == list(KINDS["members"].heads)


# Sorts of file

ENDINGS = (".csv", ".ndjson", ".xlsx")


def write_as(path: Path, kind: str, rows: Iterable[Cells], heads: Sequence[str] = ()) -> Path:
    """Write the same rows as the sort of file that the ending says."""
    names = list(KINDS[kind].heads)
    if path.suffix == ".ndjson":
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    elif path.suffix == ".xlsx":
        book = Workbook(write_only=True)
        sheet = book.create_sheet("any name")
        sheet.append(list(heads or names))
        for row in rows:
            sheet.append([row.get(name) for name in names])
        book.save(path)
    else:
        write_rows(path, kind, rows)
    return path


@pytest.mark.parametrize("other", ENDINGS)
def test_the_same_rows_in_any_sort_of_file_are_there_already(
    line: CommandLine, tmp_path: Path, file: Files, other: str
) -> None:
    a_market(line, file)
    sheet_days = other == ".xlsx"
    filed = trade_row(1, venue="off_exchange_filed", evidence_sha256=f"{a_sha256(1)};{a_sha256(2)}", reason=None)
    days = {name: date.fromisoformat(str(filed[name])) for name in ("proposed_on", "effective_on")}
    rows: list[Cells] = [{**filed, **days} if sheet_days else filed, trade_row(2, quantity=2.0 if sheet_days else 2)]
    plain = file("trades", [filed, trade_row(2, quantity=2)])

    assert told(2, 0, 0) in line.done("import", "trades", write_as(tmp_path / f"other{other}", "trades", rows))
    assert told(0, 2, 0) in line.done("import", "trades", plain)


def test_a_workbook_may_have_chinese_heads_and_what_is_blank_in_it_is_none_of_anybodys(
    sqlite_line: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "members.XLSX"
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.append([*KINDS["members"].heads.values(), None, ""])
    for row in (MEMBERS[0], {}, MEMBERS[1]):
        sheet.append([row.get(name) for name in KINDS["members"].heads])
    sheet.cell(9, 20).number_format = "0.00"
    book.create_sheet("another").append(["anything"])
    book.save(path)

    assert told(2, 0, 0) in sqlite_line.done("import", "members", path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"legal_name": "=1+1"}, "legal_name must be a value: formulas are not taken in"),
        ({"legal_name": "#N/A"}, "legal_name must be a value: the cell shows an error"),
        ({"short_name": datetime(2020, 1, 1)}, "short_name must not be a date"),  # noqa: DTZ001 - as sheets have it
        ({"admitted_on": datetime(2020, 2, 3, 12)}, "admitted_on must be a date without a time of day"),  # noqa: DTZ001
        ({"admitted_on": clock_time(12)}, "admitted_on must not be a time of day"),
        ({"admitted_on": timedelta(hours=30)}, "admitted_on must not be a time of day or a duration"),
        ({"admitted_on": 43_864}, "admitted_on must be a date, as"),
        ({"region_code": 430104.5}, "region_code must be a six-digit code"),
        ({"region_code": 0.125}, "region_code must be exact"),
        ({"region_code": 1e-7}, "region_code must be exact"),
        ({"uscc": 9.143010000000001e17}, "uscc must be exact"),
        ({"contact": True, "roles": False}, "roles must name"),
    ],
)
def test_a_cell_of_a_workbook_that_is_not_plain_and_exact_refuses_its_row(
    sqlite_line: CommandLine, tmp_path: Path, changed: Cells, words: str
) -> None:
    path = write_as(tmp_path / "members.xlsx", "members", [member_row(1), member_row(2, **changed)])

    [why] = refused_rows(sqlite_line, "members", path)

    assert words in why
    assert "row 3: " in sqlite_line("import", "members", path).out


@pytest.mark.parametrize(
    ("amount", "due"), [(106_000.0, None), (106_000.5, "must be a whole number"), (106_000.005, "must be exact")]
)
def test_an_amount_in_a_workbook_is_exact_or_refused(
    sqlite_line: CommandLine, tmp_path: Path, file: Files, amount: float, due: str | None
) -> None:
    a_market(sqlite_line, file)
    path = write_as(tmp_path / "trades.xlsx", "trades", [trade_row(1, gross_fen=amount)])

    if due is None:
        assert told(1, 0, 0) in sqlite_line.done("import", "trades", path)
    else:
        [why] = refused_rows(sqlite_line, "trades", path)
        assert f"gross_fen {due}" in why


def test_yes_and_no_may_be_true_and_false(sqlite_line: CommandLine, tmp_path: Path, file: Files) -> None:
    a_market(sqlite_line, file)
    yes, no = (product_row(n, personal_information=value) for n, value in ((2, True), (3, False)))

    for ending in (".xlsx", ".ndjson"):
        path = write_as(tmp_path / f"products{ending}", "products", [{**yes, "legal_basis": "consent"}, no])
        added = 2 if ending == ".xlsx" else 0
        assert told(added, 2 - added, 0) in sqlite_line.done("import", "products", path)


def broken_workbooks() -> dict[str, bytes]:
    book = Workbook(write_only=True)
    book.create_sheet().append(["a"])
    saved = io.BytesIO()
    book.save(saved)
    whole = saved.getvalue()

    def without(part: str, instead: bytes | None = None) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                if name != part:
                    new.writestr(name, old.read(name))
            if instead is not None:
                new.writestr(part, instead)
        return made.getvalue()

    sheet = "xl/worksheets/sheet1.xml"
    return {
        "is no whole .xlsx workbook": whole[: len(whole) // 2],
        "is no whole .xlsx workbook.": b"PK\x03\x04",
        "is no whole .xlsx workbook. ": without("xl/workbook.xml"),
        "is no whole .xlsx workbook.  ": without(sheet, b"<worksheet><sheetData><row r='1'><c r='A1'><v>1</row>"),
        "has no head in its first row": without(sheet, b"<worksheet><sheetData/></worksheet>"),
        "holds more than": without("xl/sharedStrings.xml", bytes(PART_LIMIT + 1)),
        "has another head; unknown: column 1 ('a'); missing: uscc": whole,
    }


@pytest.mark.parametrize(("words", "content"), broken_workbooks().items())
def test_a_broken_workbook_ends_an_import_before_it_began(
    sqlite_line: CommandLine, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "members.xlsx"
    path.write_bytes(content)

    assert words.strip() in sqlite_line.refused(3, "import", "members", path)


@pytest.mark.parametrize(
    ("third", "words"),
    [
        (["x"] * 15, "has more cells than its head at row 3"),
        ([None] * 14 + ["=1+1"], "has more cells than its head at row 3"),
        (["x" * 30_000] * 3, f"has a row of more than {ROW_LIMIT} characters at row 3"),
    ],
)
def test_a_broken_row_of_a_workbook_ends_an_import_after_the_rows_before_it(
    sqlite_line: CommandLine, tmp_path: Path, third: list[str | None], words: str
) -> None:
    path = tmp_path / "members.xlsx"
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (list(KINDS["members"].heads), [member_row(1).get(name) for name in KINDS["members"].heads], third):
        sheet.append(row)
    book.save(path)

    said = sqlite_line.refused(3, "import", "members", path)

    assert words in said
    assert "Before it were 1 rows: 1 added" in said


def test_a_sheet_that_says_to_have_more_rows_than_there_can_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sheets.LAST_ROW == 1_048_576
    monkeypatch.setattr(sheets, "LAST_ROW", 2_000)  # empty rows are counted one by one
    path = tmp_path / "members.xlsx"
    write_as(path, "members", [])
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].replace(
        b"</sheetData>", b'<row r="99999999"><c><v>1</v></c></row></sheetData>'
    )
    with zipfile.ZipFile(path, "w") as new:
        for name, content in (parts | {"xl/worksheets/sheet1.xml": sheet}).items():
            new.writestr(name, content)

    with (
        pytest.raises(FileWrong, match="has more than 2000 rows"),
        rows_of(path, KINDS["members"].columns) as opened,
    ):
        list(opened.rows)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("106000.0", None),
        ("1.06E5", None),
        ("1E999", "must be exact"),
        ("NaN", "is no whole .xlsx workbook"),
    ],
)
def test_a_number_is_read_as_it_stands_in_the_workbook(tmp_path: Path, number: str, words: str | None) -> None:
    path = write_as(tmp_path / "trades.xlsx", "trades", [trade_row(1, gross_fen=106_000)])
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content.replace(b"<v>106000</v>", f"<v>{number}</v>".encode()))

    def amount() -> int:
        with rows_of(path, KINDS["trades"].columns) as opened:
            [row] = opened.rows
            row.check()
            return row.whole("gross_fen")

    if words is None:
        assert amount() == 106_000
    else:
        with pytest.raises(Problem) as refused:
            amount()
        assert words in running.in_words(refused.value)


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=8))
def test_no_change_of_bytes_makes_a_workbook_more_than_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, instead: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xlsx"
    write_as(path, "members", [member_row(1)])
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(instead)] = instead
    path.write_bytes(content)
    with suppress(FileWrong), rows_of(path, KINDS["members"].columns) as opened:
        for row in opened.rows:
            assert set(row.cells) >= set(KINDS["members"].heads)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (b"{", "It is not JSON"),
        (b"[]", "It is something else"),
        (b'{"uscc": "a", "uscc": "b"}', "An object has the same name twice"),
        (b'{"uscc": 1.5}', "A number is not whole"),
        (b'{"uscc": NaN}', "A number is not whole"),
        (b'{"colour": "red"}', "1 of its names are unknown"),
        (b'{"uscc": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "It is nested too deeply"),
        (b"\xff", "is not UTF-8 at line 3"),
        (b'{"uscc": "' + b"a" * ROW_LIMIT + b'"}', "has a row of more than"),
    ],
)
def test_a_line_that_is_no_object_ends_an_import_after_the_rows_before_it(
    sqlite_line: CommandLine, tmp_path: Path, second: bytes, words: str
) -> None:
    path = write_as(tmp_path / "members.ndjson", "members", [member_row(1)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n" + second + b"\n")

    said = sqlite_line.refused(3, "import", "members", path)

    assert words in said
    assert "at line 3" in said
    assert "Before it were 1 rows: 1 added" in said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"roles": ["provider"]}, "roles must be a text, a whole number"),
        ({"address": "half \ud83d"}, "address must be a text"),
        ({"address": None}, "address must not be blank"),
        ({"contact": -1}, "contact must not begin with"),
    ],
)
def test_a_json_value_that_is_no_cell_refuses_its_row(
    sqlite_line: CommandLine, tmp_path: Path, changed: Cells, words: str
) -> None:
    path = tmp_path / "members.ndjson"
    path.write_text(json.dumps({**member_row(1), **changed, REFUSAL: "of an earlier import"}), encoding="utf-8")

    [why] = refused_rows(sqlite_line, "members", path)

    assert words in why


def test_refused_rows_of_any_sort_of_file_are_mended_in_a_csv_file(sqlite_line: CommandLine, tmp_path: Path) -> None:
    for number, ending in enumerate(ENDINGS, 1):
        path = write_as(tmp_path / f"members{ending}", "members", [member_row(number, contact="'=1+1")])
        refused_rows(sqlite_line, "members", path)
        refused = path.with_name(f"{path.name}.refused.csv")
        [row] = read_rows(refused)
        columns = [*row]
        assert row["contact"] == "''=1+1"
        write_rows(refused, "members", [{**row, "contact": "0731"}], columns)

        assert told(1, 0, 0) in sqlite_line.done("import", "members", refused)


def test_a_formula_that_is_refused_is_disarmed_in_the_file_of_refused_rows(
    sqlite_line: CommandLine, file: Files
) -> None:
    path = file("members", [member_row(1, legal_name="=cmd|'/C calc'!A0", contact="＠x")])

    refused_rows(sqlite_line, "members", path)
    [row] = read_rows(path.with_name("members.csv.refused.csv"))

    assert (row["legal_name"], row["contact"]) == ("'=cmd|'/C calc'!A0", "'＠x")
    [again] = refused_rows(sqlite_line, "members", path.with_name("members.csv.refused.csv"))
    assert "legal_name must not begin with" in again


def test_what_is_neither_csv_nor_ndjson_nor_a_workbook_is_refused(sqlite_line: CommandLine, tmp_path: Path) -> None:
    for name in ("members.xls", "members"):
        (tmp_path / name).touch()
        assert "does not end in .csv, .ndjson, .xlsx" in sqlite_line.refused(3, "import", "members", tmp_path / name)


# Encodings


@pytest.mark.parametrize("chinese", [True, False])
def test_gb18030_is_found_by_itself(line: CommandLine, file: Files, *, chinese: bool) -> None:
    path = file("members", MEMBERS)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    if chinese:
        head = ",".join(KINDS["members"].heads.values())
    path.write_bytes("\r\n".join([head, *rows]).encode("gb18030"))

    assert told(3, 0, 0) in line.done("import", "members", path)
    assert told(0, 3, 0) in line.done("import", "members", file("members", MEMBERS))


def test_a_file_that_is_partly_utf_8_is_never_taken_for_gb18030(sqlite_line: CommandLine, file: Files) -> None:
    path = file("members", [])
    gb = csv_line(member_row(2)).encode("gb18030")
    path.write_bytes(path.read_bytes() + FIRST.encode() + b"\n" + gb + b"\n")

    assert "is not UTF-8 at line 3" in sqlite_line.refused(3, "import", "members", path)


def test_an_encoding_that_is_named_is_the_one_that_is_read(sqlite_line: CommandLine, file: Files) -> None:
    path = file("members", [])
    path.write_bytes(path.read_bytes() + FIRST.encode("gb18030") + b"\n\xff\n")

    assert "is not UTF-8 at line 2" in sqlite_line.refused(3, "import", "members", path, "--encoding", "utf-8")
    said = sqlite_line.refused(3, "import", "members", path, "--encoding", "gb18030")
    assert "is not GB18030 at line 3" in said
    assert "1 added" in said


def test_only_csv_has_an_encoding_to_name(sqlite_line: CommandLine, tmp_path: Path) -> None:
    for ending in (".ndjson", ".xlsx"):
        path = write_as(tmp_path / f"members{ending}", "members", MEMBERS)
        assert "is no CSV file" in sqlite_line.refused(3, "import", "members", path, "--encoding", "utf-8")


# Large files


def many_members(count: int) -> Iterator[Cells]:
    return (member_row(number) for number in range(1, count + 1))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_large_file_is_never_in_memory_as_a_whole(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SLICE", 100)
    tiny, small, large = (
        write_as(tmp_path / f"{count}{ending}", "members", many_members(count)) for count in (10, 300, 3_000)
    )

    def peak(path: Path) -> int:
        gc.collect()
        tracemalloc.start()
        wait(running.run(KINDS["members"], path, None, None, lambda _: None))  # type: ignore[arg-type]  # none acts
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(tiny)

    assert large.stat().st_size > 5 * small.stat().st_size
    assert peak(large) < 2 * peak(small)


def test_progress_is_told_slice_by_slice(sqlite_line: CommandLine, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "members.csv", "members", many_members(2_500))
    seen: list[int] = []

    report = wait(
        running.run(KINDS["members"], path, None, None, lambda report: seen.append(report.rows))  # type: ignore[arg-type]  # none acts
    )

    assert seen == [1_000, 2_000, 2_500]
    assert report.rows == 2_500


def test_an_import_that_is_killed_and_sent_again_loses_and_doubles_nothing(
    sqlite_line: CommandLine, tmp_path: Path
) -> None:
    count = 5_000
    path = write_rows(tmp_path / "members.csv", "members", many_members(count))
    before = position()
    with process("import", "members", path) as killed:
        reader = sqlite3.connect(tmp_path / "exchange.db")
        deadline = time.monotonic() + 60
        while reader.execute("SELECT position FROM head").fetchone()[0] == before:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        reader.close()
    reached = position()
    again = sqlite_line.done("import", "members", path)

    assert before < reached < before + count
    assert told(before + count - reached, reached - before, 0) in again
    assert position() == before + count
    assert orjson.loads(sqlite_line.done("summary", "--json"))["members"] == {"active": count, "ever_admitted": count}
    assert "invariants hold" in sqlite_line.done("verify")
    assert not list(tmp_path.glob("*.part"))


def test_an_import_that_is_interrupted_ends_after_what_it_has_sent(sqlite_line: CommandLine, tmp_path: Path) -> None:
    count = 6_000
    path = write_rows(tmp_path / "members.csv", "members", many_members(count))
    earlier = tmp_path / "members.csv.refused.csv"
    earlier.write_text("of an earlier import", encoding="utf-8")
    before = position()
    with process("import", "members", path, stderr=subprocess.PIPE) as interrupted:
        reader = sqlite3.connect(tmp_path / "exchange.db")
        deadline = time.monotonic() + 60
        while reader.execute("SELECT position FROM head").fetchone()[0] == before:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        reader.close()
        interrupted.send_signal(signal.SIGINT)
        _, said = interrupted.communicate(timeout=60)
    reached = position()

    assert before < reached < before + count
    assert interrupted.returncode == 130
    rows = told(reached - before, 0, 0).rstrip(".")
    # Where it takes long, what was imported was told before.
    last = said.splitlines()[-1]
    assert last == f"exchange: Interrupted after {rows}. Import the file again: it goes on from there."
    assert earlier.read_text(encoding="utf-8") == "of an earlier import"
    assert told(before + count - reached, reached - before, 0) in sqlite_line.done("import", "members", path)


def test_an_import_stops_where_the_database_cannot_be_written(
    sqlite_line: CommandLine, file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file("members", MEMBERS)
    with monkeypatch.context() as patched:
        patched.setattr("exchange.database.SQLITE_PRAGMAS", (*SQLITE_PRAGMAS, "query_only = ON"))
        refused = sqlite_line.refused(7, "import", "members", path)

    assert "cannot be written" in refused
    assert told(3, 0, 0) in sqlite_line.done("import", "members", path)


@pytest.mark.parametrize(("kind", "ended"), [(Overloaded, 7), (Defect, 70)])
def test_an_import_that_cannot_go_on_says_how_far_it_came_and_goes_on_from_there(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], ended: int
) -> None:
    path = write_rows(tmp_path / "members.csv", "members", many_members(1_500))
    do_all = Journal.do_all

    async def fail_later(self: Journal, jobs: list[Job]) -> Any:
        outcomes = await do_all(self, jobs)
        return outcomes if len(jobs) != 500 else [*outcomes[:-1], kind("Not now.")]

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "do_all", fail_later)
        stopped = sqlite_line("import", "members", path)

    assert stopped.code == ended
    far = f"Not now. Before it were {told(1_000, 0, 0)[:-1]}; the same file again goes on from there."
    assert (far in stopped.err) == (kind is Overloaded)
    assert told(0, 1_500, 0) in sqlite_line.done("import", "members", path)


def test_a_file_with_a_head_alone_adds_nothing(sqlite_line: CommandLine, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "members.csv", "members", [])

    assert "0 rows: 0 added, 0 there already, 0 refused" in sqlite_line.done("import", "members", path)


def test_the_next_rows_are_made_ready_while_the_journal_commits(sqlite_line: CommandLine, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "members.csv", "members", many_members(2_500))
    ready: list[Row] = []
    another = asyncio.Event()

    def make(row: Row) -> Command:
        ready.append(row)
        another.set()
        return KINDS["members"].command(row)

    class Slow(Journal):
        async def do_all(self, jobs: Iterable[Job], *, taken: bool = False) -> Any:
            made = [*jobs]
            wanted = min(2_500, len(ready) + 1_000) if made else 0
            async with asyncio.timeout(60):
                while len(ready) < wanted:
                    another.clear()
                    await another.wait()
            return await super().do_all(made, taken=taken)

    async def work() -> running.Report:
        async with desk() as place:
            store = open_store(place.database, clock.now, secrets.token_bytes)
            async with Slow(store, running.SLICE) as journal:
                kind = replace(KINDS["members"], command=make)
                return await running.run(kind, path, journal, await place.caller(), lambda _: None)

    assert wait(work()).added == 2_500


# How far it is


def test_where_nobody_looks_a_line_now_and_then_says_how_far_how_fast_and_how_long_still(
    sqlite_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "members.csv", "members", many_members(3_500))
    quiet = sqlite_line("import", "members", path, "--dry-run").err
    monkeypatch.setattr("exchange.cli.progress.LINE_EVERY_S", 0.0)

    first, *others = sqlite_line("import", "members", path).err.splitlines()
    exported = sqlite_line("export", "members", tmp_path / "exported.ndjson").err

    assert quiet == ""
    assert first == "import members: 1,000 of 3,500 rows, 29 %"
    assert len(others) == 3
    assert re.fullmatch(r"import members: 2,000 of 3,500 rows, 57 %, [0-9,]+/s, 0:00:[0-9]{2} left", others[0])
    assert re.match(r"import members: 3,500 of 3,500 rows, 100 %, ", others[2])
    assert "export members: 3,500 of 3,500 rows, 100 %" in exported


def test_on_a_terminal_a_bar_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("exchange.cli.progress.errors", Console(file=screen, force_terminal=True, width=120))

    with rows_shown("import members"):
        pass
    assert screen.getvalue() == ""

    with rows_shown("import members") as tell:
        for rows in (1_000, 2_000, 3_500):
            tell(rows, 3_400)
            time.sleep(0.01)

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"import members .*3,500/3,500 [0-9,]+/s 0:00:00 0:00:00", shown)


def test_how_many_rows_there_are_is_not_said_where_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("exchange.cli.progress.LINE_EVERY_S", 0.0)

    with rows_shown("import members") as tell:
        tell(1_000, 0)
    assert capsys.readouterr().err == "import members: 1,000 rows\n"

    bar = progress_bar(Console(file=io.StringIO()))
    bar.add_task("import members", total=None)
    [task] = bar.tasks
    assert str(CountColumn().render(task)) == "0"
    assert str(RateColumn().render(task)) == ""
