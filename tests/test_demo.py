"""The demonstration does the main job from beginning to end, and fails loudly where a figure is not what it must be."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer
from commandline import ROOT, CommandLine, process

from exchange.cli import demonstration
from exchange.demo.history import history
from exchange.imports.kinds import KINDS
from exchange.regulator.integrity import INVARIANTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "demo"


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    """Run the demonstration once, in a process and a folder of its own."""
    began = time.monotonic()
    with process("demo", "--folder", folder, stderr=subprocess.STDOUT) as running:
        out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out
    assert time.monotonic() - began < 60
    return out


@pytest.fixture
def line(said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line on what the demonstration left."""
    return CommandLine(monkeypatch, capsys, f"sqlite:///{folder}/exchange.db")


def test_it_tells_the_headline_before_and_after(said: str) -> None:
    volumes = re.findall(r"Cumulative volume 累计交易额 +│ (CNY [0-9,.]+)", said)
    members = re.findall(r"Active members 数商会员 +│ ([0-9]+) ", said)

    assert volumes == ["CNY 897,000,000.00", "CNY 897,000,000.00", "CNY 897,212,000.00"]
    assert members == ["416", "416", "418"]
    assert f"{len(INVARIANTS)} of {len(INVARIANTS)} invariants hold." in said
    assert "What to try next" in said.split("invariants hold.")[1]


def test_what_it_says_to_try_works(line: CommandLine, folder: Path, said: str) -> None:
    tried = re.findall(r"\.venv/bin/exchange (.+?)(?:   #.*)?$", said.split("What to try next")[1], re.MULTILINE)
    line.act_as((folder / "keys.txt").read_text(encoding="utf-8").split()[1])
    answers = [line.done(*command.split()) for command in tried]

    assert [command.split()[0] for command in tried] == ["summary", "summary", "verify", "import"]
    assert orjson.loads(answers[0])["members"]["active"] == 416
    assert "1480 rows: 0 added, 1480 there already, 0 refused." in answers[-1]


def test_the_published_headline_is_exact(line: CommandLine) -> None:
    shape = orjson.loads(line.done("summary", "--as-of", "2023-12-31", "--json"))

    assert shape["cumulative_volume"]["contracted"]["net"] == {"amount": "89700000000", "currency": "CNY"}
    assert shape["members"] == {"active": 416, "ever_admitted": 437}
    assert shape["growth"]["yoy"] == "0.4286"


def test_the_four_years_grow_as_published(line: CommandLine) -> None:
    volumes = [
        int(
            orjson.loads(line.done("summary", "--as-of", f"{year}-12-31", "--json"))["cumulative_volume"]["contracted"][
                "net"
            ]["amount"]
        )
        for year in (2020, 2021, 2022, 2023)
    ]

    assert volumes == [6_200_000_000, 21_700_000_000, 49_700_000_000, 89_700_000_000]


def test_the_picture_in_the_readme_is_the_one_that_it_gives(line: CommandLine, tmp_path: Path) -> None:
    line.done("summary", "--as-of", "2023-12-31", "--svg", tmp_path / "headline.svg")

    assert (tmp_path / "headline.svg").read_bytes() == (ROOT / "docs" / "headline.svg").read_bytes()


def test_months_are_closed_to_the_end_and_no_reversal_waits(line: CommandLine, folder: Path) -> None:
    line.act_as((folder / "keys.txt").read_text(encoding="utf-8").split()[1])

    assert "2024-01 is the next" in line.refused(6, "close", "2023-12")
    assert "trd_" not in line.done("reversals", "list")


@pytest.mark.usefixtures("said")
def test_its_files_are_the_history_and_its_keys_are_nobody_elses(folder: Path) -> None:
    made = history()

    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == {
        f"{kind}.csv": getattr(made, kind) for kind in KINDS
    }
    assert (folder / "keys.txt").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in folder.iterdir() if not path.name.startswith("exchange.db")} == {
        "keys.txt",
        *(f"{kind}.csv" for kind in KINDS),
    }


# Starting from scratch


def test_it_removes_its_own_files_and_nobody_elses(tmp_path: Path) -> None:
    for name in ("keys.txt", "exchange.db", "trades.csv", "mine.csv"):
        (tmp_path / name).write_text("of old", encoding="utf-8")

    demonstration._empty(tmp_path)

    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        "keys.txt": "",
        "mine.csv": "of old",
    }


def test_it_leaves_a_folder_alone_that_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = CommandLine(monkeypatch, capsys, "sqlite:///unused.db")
    (tmp_path / "trades.csv").write_text("somebody's own", encoding="utf-8")

    assert "is not an earlier demonstration's" in line.refused(6, "demo", "--folder", tmp_path)
    assert (tmp_path / "trades.csv").read_text(encoding="utf-8") == "somebody's own"
    assert "File exists" in line.refused(3, "demo", "--folder", tmp_path / "trades.csv")


# Failing loudly


def test_a_figure_that_is_wrong_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    demonstration.check(416, 416, "The number of members")
    with pytest.raises(typer.Exit) as ended:
        demonstration.check(415, 416, "The number of members")

    assert ended.value.exit_code == 1
    assert capsys.readouterr().out == "The number of members is 415, and must be 416.\n"


def test_an_invariant_that_does_not_hold_ends_it(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = os.environ["EXCHANGE_DATABASE_URL"]

    async def nothing(*_: object) -> Any:
        os.environ["EXCHANGE_DATABASE_URL"] = url
        return {"first": "", "second": ""}

    async def broken() -> bool:
        return False

    @contextmanager
    def no_server() -> Iterator[str]:
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(demonstration, "_open_office", nothing)
    monkeypatch.setattr(demonstration, "_import", nothing)
    monkeypatch.setattr(demonstration, "_server", no_server)
    monkeypatch.setattr(demonstration, "_trade_live", lambda *_: None)
    monkeypatch.setattr(demonstration, "run_verify", broken)
    ended = line("demo", "--folder", tmp_path / "demo")

    assert ended.code == 1
    assert "What to try next" not in ended.out


@pytest.mark.parametrize("trouble", [500, httpx.ConnectError("refused")])
def test_a_request_that_fails_ends_it(trouble: int | httpx.ConnectError, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if isinstance(trouble, httpx.ConnectError):
            raise trouble
        return httpx.Response(trouble, text="refused [/bold]")

    with (
        httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(typer.Exit) as ended,
    ):
        demonstration._post(client, "/trades", {})

    assert ended.value.exit_code == 1
    assert "refused" in capsys.readouterr().out


def test_a_server_that_does_not_start_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXCHANGE_DATABASE_URL", f"sqlite:///{tmp_path}/missing.db")

    with pytest.raises(typer.Exit), demonstration._server():
        pass
