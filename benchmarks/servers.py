"""Servers as processes of their own, with their log at hand for when they fail."""

import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks import ROOT
from benchmarks.processes import MIB, Failed

SERVE: Final = ("-m", "exchange", "serve", "--port", "0", "--log-format", "json")
WITHOUT_JOURNAL: Final = ("-m", "benchmarks.without_journal", *SERVE[2:])
LOG_LIMIT: Final = 16 * MIB
READY_WITHIN_S: Final = 60.0
OK: Final = 200
RATES: Final = {"EXCHANGE_RATE_PER_KEY": "1000000000", "EXCHANGE_RATE_PER_ADDRESS": "1000000000"}
"""The load comes from one address, and where a pair of members is hot from one key: it is counted as always, and never too much."""


@dataclass(slots=True)
class Served:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    address: str
    log: Path
    ready_s: float
    """From its start to the first good answer of `/readyz`."""

    def look(self) -> None:
        """See that it runs, and keep its log short. Raises Failed with the log's end."""
        if self.process.poll() is not None:
            raise Failed(f"The server ended with {self.process.returncode}:\n{_end_of(self.log)}")
        if self.log.stat().st_size > LOG_LIMIT:
            os.truncate(self.log, 0)  # it is written at its end, wherever that is


def takes_workers() -> bool:
    """Tell whether the server can be several processes."""
    said = subprocess.run(
        [sys.executable, *SERVE[:3], "--help"], cwd=ROOT, capture_output=True, text=True, check=True, env=_environment()
    ).stdout
    return "--workers" in said


@contextmanager
def served(url: str, *arguments: str, how: Sequence[str] = SERVE) -> Iterator[Served]:
    """Run a server on a free port, with its access log, as it always is. Raises Failed, with its log, where it does not get ready or fails."""
    with tempfile.TemporaryDirectory(prefix="exchange-bench-") as folder:
        log = Path(folder) / "log"
        began = time.monotonic()
        with (
            log.open("ab") as written,
            subprocess.Popen(
                [sys.executable, *how, *arguments],
                cwd=ROOT,
                env=_environment() | RATES | {"EXCHANGE_DATABASE_URL": url},
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            ) as process,
        ):
            try:
                address = _address(process, log)
                _wait_until_ready(process, address, log)
                made = Served(process, address, log, time.monotonic() - began)
                yield made
                made.look()
            except Failed:
                raise
            except Exception as error:
                raise Failed(f"{error}\nThe server's log ends with:\n{_end_of(log)}") from error
            finally:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()


def _environment() -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_")}
    return others | {"PYTHONPATH": str(ROOT)}


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[0-9.:]+", line):
            return found[0]
    raise Failed(f"The server did not start:\n{_end_of(log)}")


def _wait_until_ready(process: "subprocess.Popen[str]", address: str, log: Path) -> None:
    place = urlsplit(address)
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=READY_WITHIN_S)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise Failed(f"The server was not ready within {READY_WITHIN_S:.0f} s:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    """Give what the server said last, but for its good answers."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line for line in lines if '"level":"info"' not in line)[-4_000:] or "(nothing but good answers)"
