"""The command line as a test calls it: in this process, or as one of its own; and rows of files to import."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exchanges import a_sha256, a_uscc

from exchange.cli import main
from exchange.imports.kinds import KINDS
from exchange.money import Money, split_gross

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands on one database, as whoever holds the key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.use(url)
        self.act_as(None)

    def use(self, url: str) -> None:
        """Turn to a database."""
        self._monkeypatch.setenv("EXCHANGE_DATABASE_URL", url)

    def act_as(self, key: str | None) -> None:
        """Take a key, or lay it down."""
        if key is None:
            self._monkeypatch.delenv("EXCHANGE_KEY", raising=False)
        else:
            self._monkeypatch.setenv("EXCHANGE_KEY", key)

    def __call__(self, *arguments: str | Path) -> Said:
        self._monkeypatch.setattr(sys, "argv", ["exchange", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    def done(self, *arguments: str | Path) -> str:
        """Run a command that must succeed; give what it said."""
        said = self(*arguments)
        assert said.code == 0, said
        return said.out

    def refused(self, code: int, *arguments: str | Path) -> str:
        """Run a command that must be refused with this code and one line; give the line."""
        said = self(*arguments)
        assert (said.code, said.err.count("\n")) == (code, 1), said
        assert "Traceback" not in said.out
        assert said.err.startswith("exchange: ")
        return said.err

    def a_key(self, person: str = "李四", role: str = "operator") -> str:
        """Make a key, and hold it where none is held."""
        key = self.done("keys", "create", "--role", role, "--person", person).strip()
        if "EXCHANGE_KEY" not in os.environ:
            self.act_as(key)
        return key


def process(*arguments: str | Path, **given: Any) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "exchange", *map(str, arguments)], cwd=ROOT, text=True, stdout=subprocess.PIPE, **given
    )


Cells = Mapping[str, object]


def member_row(number: int, **changed: object) -> Cells:
    given: dict[str, object] = {
        "uscc": a_uscc(number),
        "legal_name": f"湖南数据{number:05}有限公司",
        "short_name": f"数据{number:05}",
        "legal_representative": "张三",
        "address": "长沙市岳麓区",
        "region_code": "430104",
        "industry_code": "I6510",
        "roles": "provider;consumer",
        "contact": "0731-80000000",
        "applied_on": "2020-01-02",
        "admitted_on": "2020-02-03",
    }
    return given | changed


def product_row(owner: int, **changed: object) -> Cells:
    given: dict[str, object] = {
        "owner_uscc": a_uscc(owner),
        "product_code": "P-1",
        "kind": "dataset",
        "version": 1,
        "title": "企业信用数据",
        "abstract": "企业信用记录",
        "sector": "finance",
        "scenarios": "风控",
        "source_type": "first_party",
        "personal_information": "no",
        "grade": "general",
        "coverage": "湖南省",
        "record_count": 1_000,
        "update_frequency": "daily",
        "delivery_modes": "api;download",
        "rights": "hold;use:2030-12-31",
        "price_model": "negotiable",
        "vat_rate_bp": 600,
        "visibility": "public",
        "listed_on": "2020-03-01",
    }
    return given | changed


def trade_row(number: int, seller: int = 1, buyer: int = 2, gross: int = 106_000, **changed: object) -> Cells:
    price = split_gross(Money(gross), 600)
    given: dict[str, object] = {
        "seller_uscc": a_uscc(seller),
        "buyer_uscc": a_uscc(buyer),
        "contract_number": f"HT-{number:05}",
        "contract_sha256": a_sha256(number),
        "product_code": "P-1",
        "product_version": 1,
        "mode": "negotiated",
        "venue": "on_exchange",
        "purpose": "模型训练",
        "quantity": 1,
        "net_fen": price.net,
        "vat_fen": price.vat,
        "gross_fen": price.gross,
        "proposed_on": "2020-04-01",
        "effective_on": "2020-04-05",
        "outcome": "contracted",
    }
    return given | changed


def write_rows(path: Path, kind: str, rows: Iterable[Cells], columns: Sequence[str] = ()) -> Path:
    """Write a file of this kind, with its English heads or those given."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns or list(KINDS[kind].heads), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
