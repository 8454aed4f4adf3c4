"""How fast, and in how much memory, `exchange import trades` takes a large file, on a new SQLite file at full durability.

    .venv/bin/python benchmarks/big_import.py [--rows 100000] [--url postgresql://…] [--keep FOLDER]

The trades are negotiated ones of 2023, spread over 200 sellers with a product each and 200 buyers; each row has its own contract. A database given
by `--url` must be empty. After the import the same file is sent again, every invariant is checked, and the number of trades is compared.
"""

import argparse
import csv
import hashlib
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from stdnum.cn import uscc as uscc_standard  # noqa: E402

from exchange.imports.kinds import KINDS  # noqa: E402

SIDES = 200
FIRST_DAY = date(2023, 1, 1)
VAT_RATE = 6


def a_uscc(number: int) -> str:
    base = f"91430104MA4{number:06}"
    return base + str(uscc_standard.calc_check_digit(base))


def sha256(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def members() -> Iterator[dict[str, object]]:
    for number in range(2 * SIDES):
        yield {
            "uscc": a_uscc(number),
            "legal_name": f"湖南数据{number:04}有限公司",
            "short_name": f"数据{number:04}",
            "legal_representative": "张三",
            "address": "长沙市岳麓区",
            "region_code": "430104",
            "industry_code": "I6510",
            "roles": "provider;consumer",
            "contact": "0731-80000000",
            "applied_on": "2022-11-01",
            "admitted_on": "2022-12-01",
        }


def products() -> Iterator[dict[str, object]]:
    for number in range(SIDES):
        yield {
            "owner_uscc": a_uscc(number),
            "product_code": "P-1",
            "kind": "dataset",
            "version": 1,
            "title": f"数据集{number:04}",
            "abstract": "一个数据集",
            "sector": "finance",
            "scenarios": "风控",
            "source_type": "first_party",
            "personal_information": "no",
            "grade": "general",
            "coverage": "湖南省",
            "record_count": 1_000,
            "update_frequency": "daily",
            "delivery_modes": "api",
            "rights": "use",
            "price_model": "negotiable",
            "vat_rate_bp": 100 * VAT_RATE,
            "visibility": "public",
            "listed_on": "2022-12-15",
        }


def trades(rows: int) -> Iterator[dict[str, object]]:
    dice = random.Random(7)
    for number in range(rows):
        net = 100 * dice.randrange(1_000, 100_000_000)
        vat = net * VAT_RATE // 100
        day = FIRST_DAY + timedelta(days=number * 365 // rows)
        yield {
            "seller_uscc": a_uscc(dice.randrange(SIDES)),
            "buyer_uscc": a_uscc(SIDES + dice.randrange(SIDES)),
            "contract_number": f"HT-{number:07}",
            "contract_sha256": sha256(number),
            "product_code": "P-1",
            "product_version": 1,
            "mode": "negotiated",
            "venue": "on_exchange",
            "purpose": "模型训练",
            "quantity": 1,
            "net_fen": net,
            "vat_fen": vat,
            "gross_fen": net + vat,
            "proposed_on": day,
            "effective_on": day,
            "outcome": "contracted",
        }


def write(folder: Path, name: str, rows: Iterable[dict[str, object]]) -> Path:
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, KINDS[name].heads, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def exchange(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "exchange", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def timed(arguments: Sequence[str | Path], rows: int, what: str) -> None:
    began = time.monotonic()
    said = exchange(*arguments).strip().splitlines()[-1]
    took = time.monotonic() - began
    print(f"{what}: {said} {took:.1f} s, {rows / took:,.0f} rows/s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--url", help="an empty database; a new SQLite file where left out")
    options.add_argument("--keep", type=Path, help="where files and database stay; a folder that goes where left out")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["EXCHANGE_DATABASE_URL"] = chosen.url or f"sqlite:///{folder.resolve() / 'big.db'}"
        exchange("db", "upgrade")
        os.environ["EXCHANGE_KEY"] = exchange("keys", "create", "--role", "operator", "--person", "李四").strip()
        exchange("import", "members", write(folder, "members", members()))
        exchange("import", "products", write(folder, "products", products()))
        file = write(folder, "trades", trades(chosen.rows))
        print(f"{chosen.rows:,} trades, {file.stat().st_size / 1e6:,.0f} MB")
        timed(("import", "trades", file), chosen.rows, "first time")
        # The largest of all children so far, and by far that is the import.
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"peak memory: {peak_mb:,.0f} MB")
        timed(("import", "trades", file), chosen.rows, "second time")
        said = exchange("verify").strip().splitlines()[-1]
        counted = re.search(r'"counted": ([0-9]+)', exchange("summary", "--json"))
        assert counted
        assert int(counted[1]) == chosen.rows, counted[0]
        print(f"{int(counted[1]):,} trades count; {said}")


if __name__ == "__main__":
    main()
