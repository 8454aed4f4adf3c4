"""`exchange import trades` of a CSV file, as a process of its own on a database of its own, with its memory over time."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import Cluster

from benchmarks import ROOT, big_import
from benchmarks.load import Measured
from benchmarks.market import Market, prepare, verify
from benchmarks.processes import Failed, Program, cpu_s
from benchmarks.sampling import sampled

SEEDED: Final = "import_seeded"
TARGET: Final = "import_target"
SAMPLE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Import:
    """A file of so many trades, and a database with their parties, which is copied for each import of it."""

    place: Cluster
    postmaster: int
    file: Path
    rows: int
    key: str

    @classmethod
    def of(cls, place: Cluster, postmaster: int, folder: Path, rows: int) -> "Import":
        """Write the files, and import members and products."""
        place.create_database(SEEDED)
        url = place.url(SEEDED)
        prepare(url)
        key = _exchange(url, "", "keys", "create", "--role", "operator", "--person", "李四").strip()
        for kind, made in (("members", big_import.members()), ("products", big_import.products())):
            _exchange(url, key, "import", kind, big_import.write(folder, kind, made))
        file = big_import.write(folder, "trades", big_import.trades(rows))
        return cls(place, postmaster, file, rows, key)

    def run(self) -> Measured:
        """Import the file into a new copy and check all invariants of it. Raises Failed."""
        self.place.create_database(TARGET, SEEDED)
        try:
            url = self.place.url(TARGET)
            postgres = cpu_s(self.postmaster)
            began = time.monotonic()
            running = Program.start(
                [sys.executable, "-m", "exchange", "import", "trades", self.file], **_environment(url, self.key)
            )
            with sampled(running.process.pid, SAMPLE_S) as memory:
                running.end()
            found = Measured(self.rows, time.monotonic() - began)
            found.server_cpu_us = running.cpu_s / self.rows * 1e6
            found.postgres_cpu_us = (cpu_s(self.postmaster) - postgres) / self.rows * 1e6
            found.more = {"rss_mib": memory.rss_mib, "growth": memory.growth, "peak_mib": max(memory.rss_mib)}
            market = Market(url, self.file, self.file, accepted=self.rows)
            verify(market, "import")
        finally:
            self.place.drop_database(TARGET)
        return found


def _environment(url: str, key: str) -> dict[str, str]:
    return {"EXCHANGE_DATABASE_URL": url, "EXCHANGE_KEY": key, "PYTHONPATH": str(ROOT)}


def _exchange(url: str, key: str, *arguments: str | Path) -> str:
    environment = os.environ | _environment(url, key)
    if not key:
        del environment["EXCHANGE_KEY"]
    command = [sys.executable, "-m", "exchange", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{command} failed: {done.stderr}")
    return done.stdout
